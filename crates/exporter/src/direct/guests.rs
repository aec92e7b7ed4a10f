//! Which clients are expected at the door, and which have come.
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jumpstarter_transport::direct::Digest;
use tokio::{sync::oneshot, time::Instant};

/// Tickets remembered, used ones included until they would no longer be good; beyond it clients come by the router.
const MAX_EXPECTED: usize = 1024;
/// No ticket is good for longer, whatever the controller says.
const LONGEST: Duration = Duration::from_mins(5);

/// The tickets of this moment. `T` is what a client brings.
pub(super) struct Guests<T> {
    expected: HashMap<Digest, Expected<T>>,
    open: HashSet<u64>,
    next: u64,
}

struct Expected<T> {
    lease: u64,
    until: Instant,
    /// None once the ticket was shown.
    seat: Option<oneshot::Sender<T>>,
}

/// What becomes of a ticket that the controller announces.
pub(super) enum Expectation<T> {
    /// Its holder will be brought here.
    New(oneshot::Receiver<T>),
    /// It was announced before; there is nothing more to do for it.
    Known,
    /// There is no room for it.
    Full,
}

/// What becomes of a ticket that somebody shows.
pub(super) enum Greeting<T> {
    /// Its holder goes here.
    Welcome(oneshot::Sender<T>),
    /// It was used, or its time is over.
    Spent,
    /// It was never announced, or not yet.
    Unknown,
}

impl<T> Default for Guests<T> {
    fn default() -> Self {
        Self { expected: HashMap::new(), open: HashSet::new(), next: 0 }
    }
}

impl<T> Guests<T> {
    /// A lease begins; its number.
    pub(super) fn open(&mut self) -> u64 {
        self.next += 1;
        self.open.insert(self.next);
        self.next
    }

    /// A lease ends, and with it what its tickets were good for.
    pub(super) fn close(&mut self, lease: u64) {
        self.open.remove(&lease);
        self.expected.retain(|_, expected| expected.lease != lease);
    }

    /// Some lease is there whose clients may come.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The holder of a ticket is going to come.
    pub(super) fn expect(&mut self, lease: u64, ticket: Digest, lifetime: Duration, now: Instant) -> Expectation<T> {
        self.expected.retain(|_, expected| expected.until > now);
        if self.expected.contains_key(&ticket) {
            return Expectation::Known;
        }
        if self.expected.len() >= MAX_EXPECTED {
            return Expectation::Full;
        }
        let (seat, guest) = oneshot::channel();
        let until = now + lifetime.min(LONGEST);
        self.expected.insert(ticket, Expected { lease, until, seat: Some(seat) });
        Expectation::New(guest)
    }

    /// Somebody shows a ticket, which is used up by that.
    pub(super) fn greet(&mut self, ticket: Digest, now: Instant) -> Greeting<T> {
        match self.expected.get_mut(&ticket) {
            None => Greeting::Unknown,
            Some(expected) if expected.until <= now => Greeting::Spent,
            Some(expected) => match expected.seat.take() {
                Some(seat) if !seat.is_closed() => Greeting::Welcome(seat),
                _ => Greeting::Spent,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(30);

    fn digest(n: u32) -> Digest {
        Digest::of(&n.to_be_bytes())
    }

    fn welcome(guests: &mut Guests<()>, n: u32, now: Instant) -> bool {
        matches!(guests.greet(digest(n), now), Greeting::Welcome(_))
    }

    #[test]
    fn a_ticket_is_good_once_and_for_its_time_and_for_its_lease() {
        let now = Instant::now();
        let mut guests = Guests::<()>::default();
        assert!(!guests.is_open());
        let (one, two) = (guests.open(), guests.open());
        let Expectation::New(_first) = guests.expect(one, digest(1), LIFE, now) else { panic!("the first is new") };
        let Expectation::New(_second) = guests.expect(one, digest(2), LIFE, now) else { panic!("the second is new") };
        let Expectation::New(_third) = guests.expect(two, digest(3), LIFE, now) else { panic!("the third is new") };

        assert!(matches!(guests.greet(digest(9), now), Greeting::Unknown));
        assert!(welcome(&mut guests, 1, now));
        assert!(matches!(guests.greet(digest(1), now), Greeting::Spent), "a second time");
        assert!(matches!(guests.expect(one, digest(1), LIFE, now), Expectation::Known), "nor does it come back");
        assert!(matches!(guests.greet(digest(2), now + LIFE), Greeting::Spent), "too late");
        guests.close(two);
        assert!(matches!(guests.greet(digest(3), now), Greeting::Unknown), "its lease is over");
        guests.close(one);
        assert!(!guests.is_open() && guests.expected.is_empty());
    }

    #[test]
    fn nobody_is_led_to_a_seat_that_was_given_up() {
        let now = Instant::now();
        let mut guests = Guests::<()>::default();
        let lease = guests.open();
        drop(guests.expect(lease, digest(1), LIFE, now));
        assert!(matches!(guests.greet(digest(1), now), Greeting::Spent));
    }

    #[test]
    fn tickets_are_forgotten_in_time_and_never_too_many() {
        let now = Instant::now();
        let mut guests = Guests::<()>::default();
        let lease = guests.open();
        let mut seats = Vec::new();
        for n in 0..u32::try_from(MAX_EXPECTED).unwrap() {
            let Expectation::New(seat) = guests.expect(lease, digest(n), LIFE, now) else { panic!("{n} has room") };
            seats.push(seat);
        }
        assert!(matches!(guests.expect(lease, digest(u32::MAX), LIFE, now), Expectation::Full));
        let hour = Duration::from_hours(1);
        assert!(matches!(guests.expect(lease, digest(u32::MAX), hour, now + LIFE), Expectation::New(_)));
        assert_eq!(guests.expected.len(), 1);
        assert!(guests.expected.values().all(|expected| expected.until == now + LIFE + LONGEST));
    }
}
