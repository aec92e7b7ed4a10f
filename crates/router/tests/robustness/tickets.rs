//! Tickets over the life of a router: keys that change, clocks that differ, floods of bad ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use jumpstarter_auth::{Side, TicketIssuer, TicketVerifier};
use jumpstarter_router::Config;
use uuid::Uuid;

use crate::child::{Routing, Setup};
use crate::lab::{KEY, Lab, Link, data, keys, soon, ticket};

const UNAUTHENTICATED: i32 = 16;

fn issued(key: &str, stream: Uuid, side: Side, at: Timestamp) -> String {
    TicketIssuer::new(&keys(key)).issue(stream, side, SignedDuration::from_mins(30), at).unwrap()
}

#[tokio::test]
async fn a_key_is_changed_while_tickets_of_the_old_one_are_about() {
    // In the middle of a rotation: the new key is here before the controller signs with it.
    let both = keys("the new key").accepting(jumpstarter_auth::TicketKey::from_bytes("the old key").unwrap());
    let lab = Lab::with_tickets(Config::default(), Arc::new(TicketVerifier::new(&both)), &both).await;
    let now = Timestamp::now();
    for (client_key, exporter_key) in
        [("the old key", "the old key"), ("the new key", "the new key"), ("the old key", "the new key")]
    {
        let stream = Uuid::new_v4();
        let mut client = lab.open(&issued(client_key, stream, Side::Client, now)).await;
        let mut exporter = lab.open(&issued(exporter_key, stream, Side::Exporter, now)).await;
        client.send_data(b"through").await;
        exporter.expect(&data(b"through")).await;
    }
    let mut foreign = lab.open(&issued("a third key", Uuid::new_v4(), Side::Client, now)).await;
    assert_eq!(foreign.end().await.1.code(), UNAUTHENTICATED);
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let lab = Lab::start(Config::default()).await;
    let now = Timestamp::now();
    for (ahead, code) in [(-1_700, None), (55, None), (75, Some(UNAUTHENTICATED)), (-1_805, Some(UNAUTHENTICATED))] {
        let ticket = issued(KEY, Uuid::new_v4(), Side::Client, now + SignedDuration::from_secs(ahead));
        let mut peer = lab.open(&ticket).await;
        match code {
            None => peer.accepted().await,
            Some(code) => assert_eq!(peer.end().await.1.code(), code, "{ahead} s ahead"),
        }
    }
}

#[tokio::test]
async fn tickets_of_different_streams_do_not_meet() {
    let lab = Lab::start(Config::default()).await;
    let [[client, exporter], [other_client, other_exporter]] = [lab.tickets(), lab.tickets()];
    let mut client = lab.open(&client).await;
    let mut other_exporter = lab.open(&other_exporter).await;
    client.send_data(b"for mine").await;
    other_exporter.send_data(b"for mine, too").await;
    let (mut exporter, mut other_client) = (lab.open(&exporter).await, lab.open(&other_client).await);
    exporter.expect(&data(b"for mine")).await;
    other_client.expect(&data(b"for mine, too")).await;
}

/// A router that starts again has forgotten which tickets were used. What can be done with one until it ends: wait for
/// a partner that never comes, since the honest one has used its own ticket, too, and asks for another.
#[tokio::test]
async fn a_ticket_that_is_used_again_after_a_restart_only_waits() {
    let stream = Uuid::new_v4();
    let [client, exporter] = [ticket(stream, Side::Client), ticket(stream, Side::Exporter)];
    let first = Lab::start(Config::default()).await;
    let (mut one, mut other) = (first.open(&client).await, first.open(&exporter).await);
    one.send_data(b"before").await;
    other.expect(&data(b"before")).await;
    drop(first);
    let limit = Duration::from_millis(200);
    let second = Lab::start(Config { wait_limit: limit, ..Config::default() }).await;
    let mut replayed = second.open(&client).await;
    replayed.accepted().await;
    assert_eq!(second.open(&client).await.end().await.1.code(), UNAUTHENTICATED);
    assert_eq!(replayed.end().await.1.code(), 0);
    assert_eq!(second.router.stats().joined, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_tickets_leaves_nothing_and_stops_nobody() {
    const FLOODERS: usize = 4;
    const CALLS: usize = 1_500;
    let mut router = Routing::start(&Setup::default());
    let links = [Link::new(router.address).await, Link::new(router.address).await];
    let stream = Uuid::new_v4();
    let mut client = links[0].open(&ticket(stream, Side::Client)).await;
    let mut exporter = links[1].open(&ticket(stream, Side::Exporter)).await;
    let address = router.address;
    let flood = |rounds: usize| async move {
        let mut flooding = tokio::task::JoinSet::new();
        for flooder in 0..FLOODERS {
            flooding.spawn(async move {
                let foreign = issued("another key", Uuid::new_v4(), Side::Client, Timestamp::now());
                let used = ticket(Uuid::new_v4(), Side::Client);
                let bad = ["garbage".to_owned(), foreign, "x.".repeat(2_000), used];
                // Whoever asks for too much may be hung up on, and calls again.
                let mut link = Link::new(address).await;
                let mut waiting = None;
                for round in 0..rounds {
                    match link.try_open(&bad[(round + flooder) % bad.len()]).await {
                        Ok(mut peer) if waiting.is_none() && (round + flooder) % bad.len() == 3 => {
                            // The first use of this one is good.
                            drop(soon(peer.reader.received()).await);
                            waiting = Some(peer);
                        }
                        Ok(mut peer) => match soon(peer.reader.end()).await.1.code() {
                            UNAUTHENTICATED => {}
                            -1 => link = Link::new(address).await,
                            code => panic!("answered {code}"),
                        },
                        Err(_) => link = Link::new(address).await,
                    }
                }
            });
        }
        while let Some(flooder) = flooding.join_next().await {
            flooder.unwrap();
        }
    };
    flood(CALLS / 3).await;
    let warm = router.usage();
    let mut flooding = tokio::task::JoinSet::new();
    flooding.spawn(flood(CALLS));
    let mut exchanged = 0;
    let mut over = None;
    while over.is_none() || exchanged < 10 {
        over = over.or_else(|| flooding.try_join_next());
        client.send_data(b"in the middle of it").await;
        exporter.expect(&data(b"in the middle of it")).await;
        exchanged += 1;
    }
    over.expect("awaited").unwrap();
    let after = router.await_usage("rid of the flood", |usage| usage.connections == 2 && usage.waiting == 0);
    let grown = after.memory.saturating_sub(warm.memory);
    println!("{exchanged} round trips during the flood; {grown} bytes more after it");
    assert!(grown <= 4 << 20, "{grown} bytes have leaked");
}

/// What a refused call costs the router beside one that is let in. Run it on a quiet machine, built for speed:
/// `cargo test --profile fastrel -p jumpstarter-router --test robustness cost_of -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cost_of_refused_calls() {
    const CALLS: u32 = 20_000;
    let router = Routing::start(&Setup::default());
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", router.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // utime and stime, in hundredths of a second.
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    };
    let link = Link::new(router.address).await;
    let foreign = issued("another key", Uuid::new_v4(), Side::Client, Timestamp::now());
    let long = format!("{}.{}.{}", "x".repeat(1_300), "y".repeat(1_300), "z".repeat(1_300));
    let replayed = ticket(Uuid::new_v4(), Side::Client);
    let mut first = link.open(&replayed).await;
    first.accepted().await;
    for (name, text) in
        [("garbage", "garbage"), ("long garbage", &long), ("foreign key", &foreign), ("replayed", &replayed)]
    {
        let (started, used) = (Instant::now(), cpu());
        for _ in 0..CALLS {
            let mut peer = link.open(text).await;
            assert_eq!(peer.end().await.1.code(), UNAUTHENTICATED);
        }
        println!(
            "{name}: {:?} of processor time, {:?} on the clock each",
            cpu().saturating_sub(used) / CALLS,
            started.elapsed() / CALLS
        );
    }
    let (started, used) = (Instant::now(), cpu());
    for _ in 0..CALLS {
        let mut peer = link.open(&ticket(Uuid::new_v4(), Side::Client)).await;
        peer.accepted().await;
        peer.reset(h2::Reason::CANCEL);
    }
    println!(
        "let in, then left: {:?} of processor time, {:?} on the clock each",
        cpu().saturating_sub(used) / CALLS,
        started.elapsed() / CALLS
    );
}
