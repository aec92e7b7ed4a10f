//! Halves that arrive, send, end, break off and lose their connections in any order, all at once, on real sockets.
//!
//! Whatever happens: a half gets what its partner sent, once and in order, nothing else, and is told of the end; whole
//! unless its partner broke off; and nobody else's bytes ever.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::Reason;
use jumpstarter_auth::Side;
use jumpstarter_router::Config;
use proptest::prelude::*;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::lab::{Digest, End, GOAWAY, Lab, Link, Reader, Writer, data, soon};

const LINKS: usize = 3;
const UNAVAILABLE: i32 = 14;

/// What a half does once it is let in.
#[derive(Debug, Clone)]
struct Script {
    /// Lengths of its messages.
    messages: Vec<usize>,
    /// Bytes in one DATA frame, at most.
    piece: usize,
    last: Last,
    /// The connection that it shares, or one of its own.
    link: Option<usize>,
}

/// How it stops sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Finish,
    GoodbyeAndFinish,
    Reset,
    /// In the middle of a message.
    ResetShort,
    FinishShort,
}

#[derive(Debug, Clone)]
struct Case {
    /// The halves by stream and side; some never come.
    halves: Vec<[Option<Script>; 2]>,
    /// The order in which they arrive, and whether the next waits for the answer.
    order: Vec<(prop::sample::Index, bool)>,
    /// A connection that is cut in the middle of it all, and after how many microseconds.
    cut: Option<(usize, u64)>,
}

fn script() -> impl Strategy<Value = Script> {
    let length = prop_oneof![4 => 0usize..64, 3 => 64usize..5_000, 1 => 20_000usize..70_000];
    let last = prop_oneof![
        6 => Just(Last::Finish),
        4 => Just(Last::GoodbyeAndFinish),
        2 => Just(Last::Reset),
        1 => Just(Last::ResetShort),
        1 => Just(Last::FinishShort),
    ];
    let piece = prop_oneof![1 => 1usize..40, 4 => 1_000usize..100_000];
    let link = prop_oneof![2 => (0..LINKS).prop_map(Some), 1 => Just(None)];
    (prop::collection::vec(length, 0..8), piece, last, link).prop_map(|(messages, piece, last, link)| {
        // A thousand frames at most.
        let piece = piece.max(messages.iter().sum::<usize>() / 1_000);
        Script { messages, piece, last, link }
    })
}

fn case() -> impl Strategy<Value = Case> {
    let half = || prop::option::weighted(0.93, script());
    let halves = prop::collection::vec([half(), half()], 1..8);
    let order = prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 16);
    let cut = prop::option::weighted(0.4, (0..LINKS, 0u64..20_000));
    (halves, order, cut).prop_map(|(halves, order, cut)| Case { halves, order, cut })
}

/// All that a half wants to send; its bytes say whose they are.
fn bytes_of(stream: usize, side: usize, script: &Script) -> Bytes {
    let mut bytes = BytesMut::new();
    for (index, length) in script.messages.iter().enumerate() {
        let mark = u8::try_from((stream * 31 + side * 7 + index) % 251).unwrap();
        let payload: Vec<u8> = (0..*length).map(|at| mark ^ u8::try_from(at % 256).unwrap()).collect();
        bytes.extend_from_slice(&data(&payload));
    }
    match script.last {
        Last::Finish | Last::Reset => {}
        Last::GoodbyeAndFinish => bytes.extend_from_slice(GOAWAY),
        Last::ResetShort | Last::FinishShort => bytes.extend_from_slice(&data(b"cut short")[..9]),
    }
    bytes.freeze()
}

/// What a half saw.
#[derive(Debug)]
struct Seen {
    received: Bytes,
    end: End,
    /// Everything was handed to the connection, the end as well.
    sent_all: bool,
}

async fn play(
    mut writer: Writer,
    mut reader: Reader,
    bytes: Bytes,
    script: Script,
    accepted: oneshot::Sender<()>,
) -> Seen {
    let write = async {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(script.piece.min(rest.len()));
            if writer.send(piece).await.is_err() {
                return false;
            }
        }
        match script.last {
            Last::Finish | Last::GoodbyeAndFinish | Last::FinishShort => writer.finish().is_ok(),
            Last::Reset | Last::ResetShort => {
                writer.reset(Reason::CANCEL);
                true
            }
        }
    };
    let read = async {
        drop(reader.received().await);
        // Nobody waits for it any more once the test has failed.
        let _ = accepted.send(());
        reader.end().await
    };
    let ((received, end), sent_all) = tokio::join!(read, write);
    Seen { received, end, sent_all }
}

async fn run(case: Case) -> Result<(), TestCaseError> {
    let lab = Lab::start(Config::default()).await;
    let mut links = Vec::new();
    for _ in 0..LINKS {
        links.push(Some(lab.link().await));
    }
    let mut arrivals: Vec<(usize, usize)> = case
        .halves
        .iter()
        .enumerate()
        .flat_map(|(stream, halves)| (0..2).filter(|side| halves[*side].is_some()).map(move |side| (stream, side)))
        .collect();
    for (index, (other, _)) in case.order.iter().enumerate() {
        if index < arrivals.len() {
            let other = other.index(arrivals.len());
            arrivals.swap(index, other);
        }
    }
    let names: Vec<Uuid> = case.halves.iter().map(|_| Uuid::new_v4()).collect();
    let mut playing = tokio::task::JoinSet::new();
    let mut accepted = Vec::new();
    let mut cut = case.cut.map(|(link, after)| (link, tokio::time::Instant::now() + Duration::from_micros(after)));
    let mut cut_links = [false; LINKS];
    for (index, (stream, side)) in arrivals.iter().copied().enumerate() {
        if let Some((link, at)) = cut
            && tokio::time::Instant::now() >= at
        {
            links[link] = None;
            cut_links[link] = true;
            cut = None;
        }
        let script = case.halves[stream][side].clone().unwrap();
        let ticket = lab.ticket(names[stream], [Side::Client, Side::Exporter][side]);
        let peer = match script.link {
            Some(link) => match &links[link] {
                Some(link) => link.try_open(&ticket).await.ok(),
                None => None,
            },
            None => {
                let link: Link = lab.link().await;
                Some(link.open(&ticket).await.owning(link))
            }
        };
        let Some(mut peer) = peer else { continue };
        if case.order[index % case.order.len()].1 && script.link.is_none_or(|link| !cut_links[link]) {
            peer.accepted().await;
        }
        let bytes = bytes_of(stream, side, &script);
        let (told, answer) = oneshot::channel();
        accepted.push(answer);
        playing.spawn(async move { ((stream, side), play(peer.writer, peer.reader, bytes, script, told).await) });
    }
    // Everybody is in, or gone; who has no partner is told by the draining.
    for accepted in accepted {
        drop(soon(accepted).await);
    }
    if let Some((link, _)) = cut {
        links[link] = None;
        cut_links[link] = true;
    }
    lab.router.drain();
    let mut seen: std::collections::HashMap<(usize, usize), Seen> = std::collections::HashMap::new();
    while let Some(played) = soon(playing.join_next()).await {
        let (who, what) = played.unwrap();
        seen.insert(who, what);
    }
    for ((stream, side), got) in &seen {
        let mine = case.halves[*stream][*side].clone().unwrap();
        let theirs = case.halves[*stream][1 - *side].clone();
        judge(&case, cut_links, (*stream, *side), &mine, theirs.as_ref(), got, seen.get(&(*stream, 1 - *side)))?;
    }
    lab.quiet().await;
    Ok(())
}

fn judge(
    case: &Case,
    cut_links: [bool; LINKS],
    (stream, side): (usize, usize),
    mine: &Script,
    theirs: Option<&Script>,
    got: &Seen,
    partner: Option<&Seen>,
) -> Result<(), TestCaseError> {
    let broke = |script: &Script| {
        matches!(script.last, Last::Reset | Last::ResetShort) || script.link.is_some_and(|link| cut_links[link])
    };
    let name = format!("half {side} of stream {stream} got {} bytes and {:?}", got.received.len(), got.end);
    let Some(theirs) = theirs else {
        prop_assert!(got.received.is_empty() || got.received == GOAWAY, "{name}: bytes of nobody");
        return Ok(());
    };
    let sent = bytes_of(stream, 1 - side, theirs);
    let body = got.received.strip_suffix(GOAWAY).unwrap_or(&got.received);
    prop_assert!(sent.starts_with(body) || sent == got.received, "{name}: not what its partner sent");
    if broke(mine) {
        return Ok(());
    }
    // It did nothing wrong, so it is told in good order.
    let End::Status(code, _) = &got.end else { return Err(TestCaseError::fail(format!("{name}: no status"))) };
    if broke(theirs) || partner.is_none() {
        prop_assert!([0, UNAVAILABLE].contains(code), "{name}");
        return Ok(());
    }
    // Both did all they wanted to: everything is there, and a goodbye once.
    let short = theirs.last == Last::FinishShort;
    let mut whole = sent.to_vec();
    if !short && theirs.last != Last::GoodbyeAndFinish {
        whole.extend_from_slice(GOAWAY);
    }
    // Half a message ends its receiver's call with an error, and with that what comes back.
    if mine.last == Last::FinishShort {
        prop_assert!([0, UNAVAILABLE].contains(code), "{name}");
        return Ok(());
    }
    prop_assert_eq!(got.received.len(), whole.len(), "{}: not whole ({:?})", name, case.halves[stream]);
    let mut digests = [Digest::default(), Digest::default()];
    digests[0].add(&got.received);
    digests[1].add(&whole);
    prop_assert_eq!(digests[0].value(), digests[1].value(), "{}", name);
    prop_assert_eq!(*code, if short { UNAVAILABLE } else { 0 }, "{}", name);
    prop_assert!(got.sent_all || short, "{}: not all was taken", name);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn halves_get_what_their_partner_sent(case in case()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(case))?;
    }
}
