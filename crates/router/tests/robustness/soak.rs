//! Many streams at once for a while, with halves and whole routers that are killed at random.
//!
//! A few seconds of it run with all other tests. For longer:
//! `JUMPSTARTER_SOAK_SECONDS=300 cargo test -p jumpstarter-router --test robustness soak -- --nocapture`; the seed that
//! it prints, given as `JUMPSTARTER_SOAK_SEED`, makes the same choices again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use jumpstarter_auth::Side;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::child::{Routing, Setup};
use crate::choices::Choices;
use crate::lab::{Digest, End, GOAWAY, Link, Peer, Reader, Writer, data, soon, ticket};

const ROUTERS: usize = 2;
const WORKERS: u64 = 10;

/// The next message of a half whose choices these are.
fn message(choices: &mut Choices) -> Bytes {
    let length = match choices.below(4) {
        0 => choices.below(64),
        1 | 2 => choices.below(4_000),
        _ => choices.below(64 * 1024),
    };
    let first = choices.next().to_be_bytes();
    let payload: Vec<u8> =
        (0..usize::try_from(length).unwrap()).map(|at| first[at % 8] ^ u8::try_from(at / 8 % 256).unwrap()).collect();
    data(&payload)
}

/// A router that is killed and started again at the same address.
struct Mortal {
    address: SocketAddr,
    process: Mutex<Option<Routing>>,
    /// Grows by one before it is killed, and by one when it is there again.
    lives: AtomicU64,
}

#[derive(Default, Debug)]
struct Score {
    whole: AtomicU64,
    broken: AtomicU64,
    bytes: AtomicU64,
    kills: AtomicU64,
}

/// How a half behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Finish,
    Reset,
    /// Its connection is dropped.
    Cut,
}

/// Sends what the seed says, while it compares what comes with what the other's seed says.
async fn half(peer: Peer, mine: Choices, theirs: Choices, messages: u64, fate: Fate) -> Half {
    let Peer { writer, reader } = peer;
    let (sent, received) = tokio::join!(send(writer, mine, messages, fate), receive(reader, theirs));
    Half { sent, ..received }
}

struct Half {
    /// What was sent, if all of it was.
    sent: Option<Digest>,
    received: Digest,
    end: End,
}

async fn send(mut writer: Writer, mut choices: Choices, messages: u64, fate: Fate) -> Option<Digest> {
    let mut digest = Digest::default();
    for _ in 0..messages {
        let message = message(&mut choices);
        digest.add(&message);
        soon(writer.send(message)).await.ok()?;
    }
    match fate {
        Fate::Finish => writer.finish().ok()?,
        Fate::Reset | Fate::Cut => writer.reset(Reason::CANCEL),
    }
    Some(digest)
}

/// Panics at the first byte that the other half did not send.
async fn receive(mut reader: Reader, mut choices: Choices) -> Half {
    let mut received = Digest::default();
    let mut expected = Bytes::new();
    let mut goodbye = false;
    let end = loop {
        let mut chunk = match soon(reader.chunk()).await {
            Ok(chunk) => chunk,
            Err(end) => break end,
        };
        // The goodbye that the router says; no message of ours has its length.
        if chunk.ends_with(GOAWAY) && !goodbye {
            chunk.truncate(chunk.len() - GOAWAY.len());
            goodbye = true;
        }
        received.add(&chunk);
        while !chunk.is_empty() {
            if expected.is_empty() {
                expected = message(&mut choices);
            }
            let count = chunk.len().min(expected.len());
            assert_eq!(chunk.split_to(count), expected.split_to(count), "bytes that its partner did not send");
        }
    };
    Half { sent: None, received, end }
}

/// Waits until a router lives another life, and a while for its old streams to end by themselves.
async fn reborn(router: &Mortal, life: u64) {
    while router.lives.load(Ordering::SeqCst) <= life + 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// One stream from its opening to its end.
async fn stream(router: &Mortal, choices: &mut Choices, score: &Score) -> Result<(), h2::Error> {
    let life = router.lives.load(Ordering::SeqCst);
    let links = [Link::try_new(router.address).await, Link::try_new(router.address).await];
    let ([Ok(one), Ok(other)], true) = (links, life.is_multiple_of(2)) else {
        // It is being killed.
        tokio::time::sleep(Duration::from_millis(10)).await;
        return Ok(());
    };
    let id = Uuid::new_v4();
    let sides = if choices.below(2) == 0 { [Side::Client, Side::Exporter] } else { [Side::Exporter, Side::Client] };
    let mut first = one.try_open(&ticket(id, sides[0])).await?;
    let mut second = other.try_open(&ticket(id, sides[1])).await?;
    for half in [&mut first, &mut second] {
        // Who leaves before its partner came leaves it waiting, which is right, and not what is looked at here.
        if soon(half.reader.received()).await.is_err() {
            score.broken.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    }
    let seeds = [Choices(choices.next()), Choices(choices.next())];
    let fate = |choices: &mut Choices| match choices.below(8) {
        0 => Fate::Reset,
        1 => Fate::Cut,
        _ => Fate::Finish,
    };
    let fates = [fate(choices), fate(choices)];
    let counts = [choices.below(60), choices.below(60)];
    let cut_after = Duration::from_millis(choices.below(40));
    let [mut one, mut other] = [Some(one), Some(other)];
    let cut = async {
        tokio::time::sleep(cut_after).await;
        if fates[0] == Fate::Cut {
            one = None;
        }
        if fates[1] == Fate::Cut {
            other = None;
        }
    };
    let both = async {
        tokio::join!(
            half(first, seeds[0].clone(), seeds[1].clone(), counts[0], fates[0]),
            half(second, seeds[1].clone(), seeds[0].clone(), counts[1], fates[1]),
            cut,
        )
    };
    // A half that came to a router after its partner died with the life before waits in vain: it dials again.
    let (first, second, ()) = tokio::select! {
        ended = both => ended,
        () = reborn(router, life) => {
            score.broken.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    };
    score.bytes.fetch_add(first.received.length + second.received.length, Ordering::Relaxed);
    let undisturbed = router.lives.load(Ordering::SeqCst) == life && fates == [Fate::Finish; 2];
    if !undisturbed {
        score.broken.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    for (sender, receiver) in [(&first, &second), (&second, &first)] {
        let sent = sender.sent.as_ref().expect("all was taken");
        assert_eq!(receiver.end, End::ok());
        assert_eq!((sent.length, sent.value()), (receiver.received.length, receiver.received.value()));
    }
    score.whole.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn kill_now_and_then(routers: Arc<Vec<Mortal>>, mut choices: Choices, until: Instant, score: Arc<Score>) {
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(300 + choices.below(1_200))).await;
        let router = &routers[usize::try_from(choices.below(ROUTERS as u64)).unwrap()];
        let mut process = router.process.lock().await;
        router.lives.fetch_add(1, Ordering::SeqCst);
        if let Some(running) = process.take() {
            running.kill();
        }
        let listen = router.address.to_string();
        *process = Some(tokio::task::block_in_place(|| Routing::start(&Setup { listen: &listen, ..Setup::default() })));
        router.lives.fetch_add(1, Ordering::SeqCst);
        score.kills.fetch_add(1, Ordering::Relaxed);
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a whole number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_survive_each_other() {
    let seconds = variable("JUMPSTARTER_SOAK_SECONDS").unwrap_or(8);
    let seed = variable("JUMPSTARTER_SOAK_SEED")
        .unwrap_or_else(|| u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap());
    println!("soak: {seconds} s, JUMPSTARTER_SOAK_SEED={seed}");
    let until = Instant::now() + Duration::from_secs(seconds);
    let routers: Vec<Mortal> = (0..ROUTERS)
        .map(|_| {
            let process = Routing::start(&Setup::default());
            Mortal { address: process.address, process: Mutex::new(Some(process)), lives: AtomicU64::new(0) }
        })
        .collect();
    let routers = Arc::new(routers);
    let score = Arc::new(Score::default());
    let mut tasks = JoinSet::new();
    for worker in 0..WORKERS {
        let (routers, score) = (Arc::clone(&routers), Arc::clone(&score));
        let mut choices = Choices(seed.wrapping_add(worker.wrapping_mul(0x1234_5678_9abc)));
        tasks.spawn(async move {
            while Instant::now() < until {
                let router = &routers[usize::try_from(choices.below(ROUTERS as u64)).unwrap()];
                if stream(router, &mut choices, &score).await.is_err() {
                    score.broken.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    tasks.spawn(kill_now_and_then(Arc::clone(&routers), Choices(!seed), until, Arc::clone(&score)));
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    for router in routers.iter() {
        let mut process = router.process.lock().await;
        let process = process.as_mut().unwrap();
        let usage =
            process.await_usage("empty at the end", |usage| usage.open + usage.waiting + usage.connections == 0);
        println!("{usage:?}");
    }
    println!("{score:?}");
    assert!(score.whole.load(Ordering::Relaxed) > 0, "nothing went through");
    assert!(score.kills.load(Ordering::Relaxed) > 0, "no router was killed");
}
