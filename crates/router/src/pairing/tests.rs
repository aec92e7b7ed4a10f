use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const WAIT: Duration = Duration::from_secs(100);

fn limits() -> Limits {
    Limits { waiting: 3, waiting_per_connection: 2, used_tickets: 1_000, wait: WAIT }
}

fn arrival(stream: &str, side: Option<Side>, ticket: &str, ticket_ends: Instant) -> Arrival {
    Arrival { stream: StreamId::new(stream), side, one_use_id: ticket.to_owned(), ticket_ends, connection: None }
}

/// A waiting room at a standing clock, whose halves are known by the names of their tickets.
struct Room {
    pairing: Pairing<String>,
    now: Instant,
}

impl Room {
    fn new(limits: Limits) -> Self {
        Self { pairing: Pairing::new(limits), now: Instant::now() }
    }

    fn arrive(&mut self, stream: &str, side: Option<Side>, ticket: &str) -> Result<Placed<String>, Refusal> {
        let ends = self.now + Duration::from_secs(1_000);
        self.pairing.arrive(arrival(stream, side, ticket, ends), self.now, || Ok(ticket.to_owned()))
    }

    #[track_caller]
    fn waits(&mut self, stream: &str, side: Option<Side>, ticket: &str) -> Place {
        match self.arrive(stream, side, ticket) {
            Ok(Placed::Waiting(place, _)) => place,
            other => panic!("{ticket} should wait: {other:?}"),
        }
    }

    #[track_caller]
    fn joins(&mut self, stream: &str, side: Option<Side>, ticket: &str, partner: &str) {
        assert_eq!(self.arrive(stream, side, ticket), Ok(Placed::Joined(partner.to_owned())));
    }

    #[track_caller]
    fn refuses(&mut self, stream: &str, side: Option<Side>, ticket: &str, refusal: Refusal) {
        assert_eq!(self.arrive(stream, side, ticket), Err(refusal));
    }
}

const CLIENT: Option<Side> = Some(Side::Client);
const EXPORTER: Option<Side> = Some(Side::Exporter);

#[test]
fn opposite_sides_of_a_stream_join_in_either_order() {
    let mut room = Room::new(limits());
    room.waits("a", CLIENT, "a1");
    room.waits("b", EXPORTER, "b1");
    room.joins("b", CLIENT, "b2", "b1");
    room.joins("a", EXPORTER, "a2", "a1");
    assert_eq!(room.pairing.waiting(), 0);
}

#[test]
fn a_side_is_taken_once() {
    let mut room = Room::new(limits());
    room.waits("a", CLIENT, "a1");
    room.refuses("a", CLIENT, "a1", Refusal::Replayed);
    room.refuses("a", CLIENT, "a9", Refusal::SideTaken);
    room.refuses("a", None, "a8", Refusal::SidesMixed);
    // None of this disturbed the one that waits.
    room.joins("a", EXPORTER, "a2", "a1");
    room.refuses("a", CLIENT, "a1", Refusal::Replayed);
    room.refuses("a", EXPORTER, "a2", Refusal::Replayed);
}

#[test]
fn both_sides_may_share_an_id_that_is_used_once_by_each() {
    let mut room = Room::new(limits());
    room.waits("a", CLIENT, "same");
    room.joins("a", EXPORTER, "same", "same");
    room.refuses("a", EXPORTER, "same", Refusal::Replayed);
}

#[test]
fn a_ticket_without_side_joins_its_first_two_users() {
    let mut room = Room::new(limits());
    room.waits("a", None, "a");
    room.joins("a", None, "a", "a");
    room.refuses("a", None, "a", Refusal::Replayed);
}

#[test]
fn a_ticket_stays_used_after_its_half_left() {
    let mut room = Room::new(limits());
    let place = room.waits("a", CLIENT, "a1");
    assert_eq!(room.pairing.leave(&StreamId::new("a"), place), Some("a1".to_owned()));
    assert_eq!(room.pairing.leave(&StreamId::new("a"), place), None);
    room.refuses("a", CLIENT, "a1", Refusal::Replayed);
    room.waits("a", EXPORTER, "a2");
}

#[test]
fn an_old_place_does_not_take_out_who_came_later() {
    let mut room = Room::new(limits());
    let place = room.waits("a", CLIENT, "a1");
    room.joins("a", EXPORTER, "a2", "a1");
    room.waits("a", CLIENT, "a3");
    assert_eq!(room.pairing.leave(&StreamId::new("a"), place), None);
    assert_eq!(room.pairing.waiting(), 1);
}

#[test]
fn the_room_is_bounded_and_partners_always_fit() {
    let mut room = Room::new(limits());
    for name in ["a", "b", "c"] {
        room.waits(name, CLIENT, name);
    }
    room.refuses("d", CLIENT, "d", Refusal::TooManyWaiting);
    room.joins("a", EXPORTER, "a2", "a");
    // The refusal did not cost the ticket.
    room.waits("d", CLIENT, "d");
}

#[test]
fn a_connection_has_its_share() {
    let mut room = Room::new(limits());
    let mut from = |stream: &str, side, port: u16| {
        let mut arrival = arrival(stream, side, &format!("{stream}{side:?}"), room.now + WAIT);
        arrival.connection = Some(([127, 0, 0, 1], port).into());
        room.pairing.arrive(arrival, room.now, || Ok(String::new())).map(|_| ())
    };
    assert_eq!(from("a", CLIENT, 1), Ok(()));
    assert_eq!(from("b", CLIENT, 1), Ok(()));
    assert_eq!(from("c", CLIENT, 1), Err(Refusal::TooManyWaitingOnConnection));
    assert_eq!(from("c", CLIENT, 2), Ok(()));
    assert_eq!(from("a", EXPORTER, 2), Ok(()));
    assert_eq!(from("d", CLIENT, 1), Ok(()));
}

#[test]
fn used_tickets_are_bounded_and_forgotten_after_their_end() {
    let mut room = Room::new(Limits { used_tickets: 2, ..limits() });
    room.waits("a", CLIENT, "a1");
    room.joins("a", EXPORTER, "a2", "a1");
    room.refuses("b", CLIENT, "b1", Refusal::TooManyTickets);
    room.refuses("a", CLIENT, "a1", Refusal::Replayed);
    room.now += Duration::from_secs(1_001);
    room.waits("b", CLIENT, "b1");
    assert_eq!(room.pairing.used_tickets(), 1);
}

#[test]
fn halves_lapse_on_the_second() {
    let mut room = Room::new(limits());
    let start = room.now;
    room.waits("a", CLIENT, "a1");
    room.now += Duration::from_secs(10);
    room.waits("b", CLIENT, "b1");
    assert!(room.pairing.lapse(start + WAIT.checked_sub(Duration::from_millis(1)).unwrap()).is_empty());
    assert_eq!(room.pairing.lapse(start + WAIT), ["a1"]);
    assert_eq!(room.pairing.lapse(start + WAIT + Duration::from_secs(10)), ["b1"]);
}

#[test]
fn a_closed_room_is_empty_and_stays_so() {
    let mut room = Room::new(limits());
    room.waits("a", CLIENT, "a1");
    assert_eq!(room.pairing.close(), ["a1"]);
    room.refuses("a", EXPORTER, "a2", Refusal::Draining);
    assert_eq!(room.pairing.waiting(), 0);
}

#[test]
fn a_handle_that_cannot_be_made_costs_nothing() {
    let mut room = Room::new(limits());
    let refused =
        room.pairing.arrive(arrival("a", CLIENT, "a1", room.now + WAIT), room.now, || Err(Refusal::TooManyStreams));
    assert_eq!(refused, Err(Refusal::TooManyStreams));
    room.waits("a", CLIENT, "a1");
}

#[derive(Debug, Clone)]
enum Event {
    Arrive {
        stream: u8,
        side: Option<Side>,
        ticket: u8,
        connection: u16,
        made: bool,
    },
    /// The caller of the n-th half that was ever let in goes away, whatever became of it.
    Leave(usize),
    Pass(u64),
    Close,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let side = prop_oneof![2 => Just(CLIENT), 2 => Just(EXPORTER), 1 => Just(None)];
    let arrive = (0u8..4, side, 0u8..12, 0u16..3, prop::bool::weighted(0.9))
        .prop_map(|(stream, side, ticket, connection, made)| Event::Arrive { stream, side, ticket, connection, made });
    let event = prop_oneof![
        20 => arrive,
        6 => (0usize..40).prop_map(Event::Leave),
        4 => (0u64..80).prop_map(Event::Pass),
        1 => Just(Event::Close),
    ];
    proptest::collection::vec(event, 0..80)
}

/// A half as the test knows it: what it came with, and what became of it.
#[derive(Debug, Clone)]
struct Known {
    stream: StreamId,
    side: Option<Side>,
    connection: SocketAddr,
    since: Instant,
    place: Option<Place>,
    /// In the room; otherwise it was joined or handed back.
    waiting: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn no_half_is_lost_doubled_or_joined_wrongly(events in events()) {
        let limits = Limits { used_tickets: 8, ..limits() };
        let mut pairing = Pairing::<usize>::new(limits);
        let mut now = Instant::now();
        let mut halves: Vec<Known> = Vec::new();
        let mut uses: HashMap<(u8, Option<Side>), (u32, Instant)> = HashMap::new();
        let mut closed = false;
        for event in events {
            match event {
                Event::Arrive { stream, side, ticket, connection, made } => {
                    let id = halves.len();
                    let peer = SocketAddr::from(([127, 0, 0, 1], connection));
                    let stream = StreamId::new(&stream.to_string());
                    let ends = now + Duration::from_mins(2);
                    let arrival = Arrival {
                        stream: stream.clone(), side, one_use_id: ticket.to_string(), ticket_ends: ends, connection: Some(peer),
                    };
                    let answer = pairing.arrive(arrival, now, || if made { Ok(id) } else { Err(Refusal::TooManyStreams) });
                    uses.retain(|_, (_, ends)| *ends >= now);
                    let key = (ticket, side);
                    let used = uses.get(&key).map_or(0, |(count, _)| *count);
                    match answer {
                        Err(refusal) => {
                            let allowed = if side.is_some() { 1 } else { 2 };
                            prop_assert_eq!(refusal == Refusal::Draining, closed);
                            prop_assert!(refusal != Refusal::Replayed || used >= allowed);
                            prop_assert!(refusal != Refusal::TooManyWaiting || pairing.waiting() == limits.waiting);
                            continue;
                        }
                        Ok(Placed::Waiting(place, handle)) => {
                            prop_assert_eq!(handle, id);
                            prop_assert!(made);
                            prop_assert!(!halves.iter().any(|half| half.waiting && half.stream == stream));
                            halves.push(Known { stream, side, connection: peer, since: now, place: Some(place), waiting: true });
                        }
                        Ok(Placed::Joined(partner)) => {
                            let partner = &mut halves[partner];
                            prop_assert!(partner.waiting, "joined twice");
                            prop_assert_eq!(&partner.stream, &stream);
                            prop_assert_eq!(partner.side.map(opposite), side);
                            partner.waiting = false;
                            halves.push(Known { stream, side, connection: peer, since: now, place: None, waiting: false });
                        }
                    }
                    prop_assert!(!closed);
                    let (count, _) = uses.entry(key).or_insert((0, ends));
                    *count += 1;
                    prop_assert!(*count <= if side.is_some() { 1 } else { 2 }, "ticket used too often");
                }
                Event::Leave(index) => if let Some(half) = halves.get_mut(index) && let Some(place) = half.place {
                    let left = pairing.leave(&half.stream, place);
                    prop_assert_eq!(left, half.waiting.then_some(index));
                    half.waiting = false;
                },
                Event::Pass(seconds) => {
                    now += Duration::from_secs(seconds);
                    let lapsed: HashSet<_> = pairing.lapse(now).into_iter().collect();
                    for (id, half) in halves.iter_mut().enumerate() {
                        let due = half.waiting && half.since + WAIT <= now;
                        prop_assert_eq!(lapsed.contains(&id), due);
                        half.waiting &= !due;
                    }
                }
                Event::Close => {
                    closed = true;
                    let out: HashSet<_> = pairing.close().into_iter().collect();
                    for (id, half) in halves.iter_mut().enumerate() {
                        prop_assert_eq!(out.contains(&id), half.waiting);
                        half.waiting = false;
                    }
                }
            }
            let waiting: Vec<_> = halves.iter().filter(|half| half.waiting).collect();
            prop_assert_eq!(pairing.waiting(), waiting.len());
            prop_assert!(waiting.len() <= limits.waiting);
            prop_assert!(pairing.used_tickets() <= limits.used_tickets);
            prop_assert_eq!(pairing.by_end.len(), waiting.len());
            for (peer, count) in &pairing.per_connection {
                prop_assert!(*count > 0 && *count <= limits.waiting_per_connection);
                prop_assert_eq!(*count, waiting.iter().filter(|half| half.connection == *peer).count());
            }
            prop_assert_eq!(pairing.per_connection.values().sum::<usize>(), waiting.len());
        }
    }
}
