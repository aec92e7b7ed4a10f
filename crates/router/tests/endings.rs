//! How one side's end reaches the other.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, in its helpers too")]

mod lab;

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use jumpstarter_router::Config;
use lab::{End, GOAWAY, Lab, Peer, data, message, soon, until};

const UNAVAILABLE: i32 = 14;
const INVALID_ARGUMENT: i32 = 3;

/// Both orders of arrival and both sides: `case` gets the peer that ends first, and the other.
async fn each_way<F: AsyncFn(&Lab, Peer, Peer)>(case: F) {
    let lab = Lab::start(Config::default()).await;
    for exporter_first in [false, true] {
        for exporter_ends in [false, true] {
            let [client, exporter] = lab.tickets();
            let (client, exporter) = if exporter_first {
                let exporter = lab.open(&exporter).await;
                until(|| lab.router.stats().waiting == 1).await;
                (lab.open(&client).await, exporter)
            } else {
                let client = lab.open(&client).await;
                until(|| lab.router.stats().waiting == 1).await;
                (client, lab.open(&exporter).await)
            };
            until(|| lab.router.stats().open == 1).await;
            let (mut one, mut other) = if exporter_ends { (exporter, client) } else { (client, exporter) };
            one.send_data(b"hello").await;
            other.expect(&data(b"hello")).await;
            case(&lab, one, other).await;
            lab.quiet().await;
        }
    }
}

#[tokio::test]
async fn a_half_close_with_goodbye_leaves_the_other_direction_open() {
    each_way(async |lab, mut one, mut other| {
        soon(one.send(Bytes::from_static(GOAWAY))).await;
        one.finish();
        other.expect(GOAWAY).await;
        other.send_data(b"still here").await;
        one.expect(&data(b"still here")).await;
        assert_eq!(lab.router.stats().open, 1);
        soon(other.send(Bytes::from_static(GOAWAY))).await;
        other.finish();
        assert_eq!(one.end().await, (Bytes::from_static(GOAWAY), End::ok()));
        // No second goodbye.
        assert_eq!(other.end().await, (Bytes::new(), End::ok()));
    })
    .await;
}

#[tokio::test]
async fn a_half_close_without_goodbye_gets_one() {
    each_way(async |_, mut one, mut other| {
        one.finish();
        other.expect(GOAWAY).await;
        other.send_data(b"still here").await;
        other.finish();
        assert_eq!(one.end().await, ([&data(b"still here"), GOAWAY].concat().into(), End::ok()));
        assert_eq!(other.end().await, (Bytes::new(), End::ok()));
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_call_ends_the_other_at_once() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        each_way(async |_, mut one, mut other| {
            one.reset(reason);
            assert_eq!(other.end().await, (Bytes::from_static(GOAWAY), End::ok()));
        })
        .await;
    }
}

#[tokio::test]
async fn a_cut_connection_ends_the_other_at_once() {
    each_way(async |_, one, mut other| {
        one.cut();
        assert_eq!(other.end().await, (Bytes::from_static(GOAWAY), End::ok()));
    })
    .await;
}

#[tokio::test]
async fn a_cancel_after_the_half_close_ends_the_other() {
    each_way(async |_, mut one, mut other| {
        soon(one.send(Bytes::from_static(GOAWAY))).await;
        one.finish();
        other.expect(GOAWAY).await;
        one.reset(Reason::CANCEL);
        assert_eq!(other.end().await, (Bytes::new(), End::ok()));
    })
    .await;
}

#[tokio::test]
async fn a_cut_in_mid_message_is_an_error() {
    each_way(async |_, mut one, mut other| {
        let part = data(b"a message of which half arrives").slice(..12);
        soon(one.send(part.clone())).await;
        other.expect(&part).await;
        one.reset(Reason::CANCEL);
        let (rest, end) = other.end().await;
        assert_eq!((rest, end.code()), (Bytes::new(), UNAVAILABLE));
    })
    .await;
}

#[tokio::test]
async fn what_was_sent_before_the_cut_arrives() {
    each_way(async |_, mut one, mut other| {
        let mut sent = Vec::new();
        for index in 0..100u8 {
            let message = data(&vec![index; 5_000]);
            sent.extend_from_slice(&message);
            soon(one.send(message)).await;
        }
        one.finish();
        other.expect(&sent).await;
        one.cut();
        assert_eq!(other.end().await, (Bytes::from_static(GOAWAY), End::ok()));
    })
    .await;
}

#[tokio::test]
async fn garbage_ends_its_own_stream_only() {
    let lab = Lab::start(Config::default()).await;
    let link = lab.link().await;
    let [client, exporter] = lab.tickets();
    // On the same connection as the garbage.
    let (mut bystander, mut partner) = (link.open(&client).await, lab.open(&exporter).await);
    let garbage: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n", &[0xff; 100], &[1, 0, 0, 0, 1, 0], &[0, 0xff, 0xff, 0xff, 0xff]];
    for bytes in garbage {
        let [client, exporter] = lab.tickets();
        let (mut one, mut other) = (link.open(&client).await, lab.open(&exporter).await);
        let sound = data(b"sound");
        soon(one.send([&sound, bytes].concat().into())).await;
        assert_eq!(one.end().await.1.code(), INVALID_ARGUMENT, "{bytes:?}");
        assert_eq!(other.end().await, ([&sound, GOAWAY].concat().into(), End::ok()), "{bytes:?}");
        bystander.send_data(bytes).await;
        partner.expect(&data(bytes)).await;
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused() {
    let lab = Lab::start(Config { max_message_bytes: 1_000, ..Config::default() }).await;
    let (mut client, mut exporter) = lab.pair().await;
    let largest = message(&[0; 1_000]);
    soon(client.send(largest.clone())).await;
    exporter.expect(&largest).await;
    soon(client.send(message(&[0; 1_001]))).await;
    let (_, end) = client.end().await;
    assert!(matches!(&end, End::Status(INVALID_ARGUMENT, text) if text.contains("1000")), "{end:?}");
    assert_eq!(exporter.end().await, (Bytes::from_static(GOAWAY), End::ok()));
}

#[tokio::test]
async fn a_waiting_half_that_half_closes_is_done_after_a_while() {
    let limit = Duration::from_millis(200);
    let lab = Lab::start(Config { half_closed_limit: limit, ..Config::default() }).await;
    for ticket in lab.tickets() {
        let mut peer = lab.open(&ticket).await;
        peer.accepted().await;
        // What a Python exporter does when its own server tires of waiting.
        peer.send_data(b"settings").await;
        soon(peer.send(Bytes::from_static(GOAWAY))).await;
        let finished = tokio::time::Instant::now();
        peer.finish();
        assert_eq!(peer.end().await, (Bytes::new(), End::ok()));
        assert!(finished.elapsed() >= limit);
        lab.quiet().await;
    }
}

#[tokio::test]
async fn who_asks_and_closes_its_side_is_still_answered() {
    let lab = Lab::start(Config::default()).await;
    for exporter_first in [false, true] {
        for goodbye in [&b""[..], GOAWAY] {
            let [client, exporter] = lab.tickets();
            let (first, second) = if exporter_first { (exporter, client) } else { (client, exporter) };
            let mut asking = lab.open(&first).await;
            asking.accepted().await;
            asking.send_data(b"question").await;
            if !goodbye.is_empty() {
                soon(asking.send(Bytes::from_static(goodbye))).await;
            }
            asking.finish();
            // On a connection of its own it is not known when the end of the requests came, so that both orders are met.
            let mut answering = lab.open(&second).await;
            answering.expect(&data(b"question")).await;
            answering.expect(GOAWAY).await;
            answering.send_data(b"answer").await;
            answering.finish();
            assert_eq!(asking.end().await, ([&data(b"answer"), GOAWAY].concat().into(), End::ok()));
            assert_eq!(answering.end().await, (Bytes::new(), End::ok()));
            lab.quiet().await;
        }
    }
}

#[tokio::test]
async fn a_waiting_half_that_goes_away_leaves_nothing() {
    let lab = Lab::start(Config::default()).await;
    for ticket in lab.tickets() {
        let mut peer = lab.open(&ticket).await;
        peer.accepted().await;
        assert_eq!(lab.router.stats().waiting, 1);
        peer.reset(Reason::CANCEL);
        lab.quiet().await;
    }
    let peers = [lab.open(&lab.tickets()[0]).await, lab.open(&lab.tickets()[1]).await];
    until(|| lab.router.stats().waiting == 2).await;
    drop(peers);
    lab.quiet().await;
}

#[tokio::test]
async fn a_half_waits_its_time_and_no_longer() {
    let lab = Lab::start(Config { wait_limit: Duration::from_millis(300), ..Config::default() }).await;
    let started = tokio::time::Instant::now();
    let [client, exporter] = lab.tickets();
    let mut peer = lab.open(&client).await;
    peer.send_data(b"anybody there?").await;
    assert_eq!(peer.end().await, (Bytes::from_static(GOAWAY), End::ok()));
    assert!(started.elapsed() >= Duration::from_millis(300));
    lab.quiet().await;
    // Who comes too late waits in vain, too.
    assert_eq!(lab.open(&exporter).await.end().await, (Bytes::from_static(GOAWAY), End::ok()));
    // The limit is for waiting only.
    let (mut client, mut exporter) = lab.pair().await;
    client.accepted().await;
    exporter.accepted().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    client.send_data(b"here").await;
    exporter.expect(&data(b"here")).await;
}

#[tokio::test]
async fn draining_sends_waiting_halves_away_and_lets_open_streams_finish() {
    let lab = Lab::start(Config::default()).await;
    let (mut client, mut exporter) = lab.pair().await;
    let mut waiting = lab.open(&lab.tickets()[0]).await;
    waiting.accepted().await;
    until(|| lab.router.stats().open == 1).await;
    let router = lab.router.clone();
    let shut_down = router.shut_down();
    let meanwhile = async {
        let (bytes, end) = waiting.end().await;
        assert_eq!((bytes, end.code()), (Bytes::from_static(GOAWAY), UNAVAILABLE));
        assert!(lab.router.is_draining());
        assert_eq!(lab.open(&lab.tickets()[0]).await.end().await.1.code(), UNAVAILABLE);
        client.send_data(b"to the end").await;
        exporter.expect(&data(b"to the end")).await;
        client.finish();
        exporter.finish();
        assert_eq!(client.end().await.1, End::ok());
        assert_eq!(exporter.end().await.1, End::ok());
    };
    soon(async { tokio::join!(shut_down, meanwhile) }).await;
    lab.quiet().await;
}

#[tokio::test]
async fn streams_that_outlast_the_grace_are_ended_kindly() {
    let lab = Lab::start(Config { drain_grace: Duration::from_millis(50), ..Config::default() }).await;
    let (mut client, mut exporter) = lab.pair().await;
    client.send_data(b"x").await;
    exporter.expect(&data(b"x")).await;
    soon(async {
        tokio::join!(lab.router.shut_down(), async {
            assert_eq!(client.end().await, (Bytes::from_static(GOAWAY), End::ok()));
            assert_eq!(exporter.end().await, (Bytes::from_static(GOAWAY), End::ok()));
        })
    })
    .await;
    lab.quiet().await;
}
