//! Limits of a connection, and halves whose other end is gone without a word.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use jumpstarter_router::Config;
use jumpstarter_transport::ServeLimits;

use crate::lab::{End, GOAWAY, Lab, Link, data, soon, until};
use crate::wire::{Quality, Wire};

#[tokio::test]
async fn a_connection_that_is_full_keeps_its_caller_waiting() {
    let limits = ServeLimits { max_concurrent_streams: 3, ..ServeLimits::default() };
    let lab = Lab::with_limits(Config::default(), limits).await;
    let link = lab.link().await;
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = link.open(&lab.tickets()[0]).await;
        peer.accepted().await;
        peers.push(peer);
    }
    // The library holds the call back: no error, and no call that the router would have to refuse.
    let [client, exporter] = lab.tickets();
    let fourth = link.open(&client);
    tokio::pin!(fourth);
    let mut exporter = lab.open(&exporter).await;
    exporter.accepted().await;
    let early = tokio::select! {
        biased;
        mut peer = &mut fourth => {
            peer.queue(data(b"late"));
            Some(peer)
        }
        () = tokio::time::sleep(Duration::from_millis(50)) => None,
    };
    assert_eq!(lab.router.stats().waiting, 4, "three of the full connection and the exporter of the fourth");
    peers.pop().unwrap().reset(h2::Reason::CANCEL);
    let mut fourth = match early {
        Some(peer) => peer,
        None => {
            let mut peer = soon(fourth).await;
            peer.queue(data(b"late"));
            peer
        }
    };
    exporter.expect(&data(b"late")).await;
    fourth.accepted().await;
}

#[tokio::test]
async fn long_headers_are_refused_and_harm_nobody_else() {
    let lab = Lab::start(Config::default()).await;
    let mut link = lab.link().await;
    let [client, exporter] = lab.tickets();
    let (mut client, mut exporter) = (link.open(&client).await, lab.open(&exporter).await);
    for length in [9_000, 31_000, 70_000] {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", "x".repeat(length)).parse().unwrap());
        let mut odd = link.open_with(headers).await;
        let refused = match soon(odd.reader.received_any()).await {
            Ok((status, code)) => (status == 431 || code == Some(16)).then_some(()),
            Err(End::Reset(_)) => Some(()),
            Err(End::Status(..)) => None,
        };
        assert!(refused.is_some(), "headers of {length} bytes");
        client.send_data(b"still here").await;
        exporter.expect(&data(b"still here")).await;
    }
    assert!(link.answers().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_falls_silent_is_given_up_and_its_partner_told() {
    let second = Duration::from_secs(1);
    let limits = ServeLimits { keepalive_interval: second, keepalive_timeout: 2 * second, ..ServeLimits::default() };
    let lab = Lab::with_limits(Config::default(), limits).await;
    let wire = Wire::to(lab.address, Quality::default()).await;
    let link = Link::new(wire.address).await;
    let [client, exporter] = lab.tickets();
    let (mut client, mut exporter) = (link.open(&client).await, lab.open(&exporter).await);
    client.send_data(b"hello").await;
    exporter.expect(&data(b"hello")).await;
    let mut waiting = link.open(&lab.tickets()[0]).await;
    waiting.accepted().await;
    // An honest pair that only idles is left alone.
    let (mut idle, mut partner) = lab.pair().await;
    idle.accepted().await;
    until(|| lab.router.stats().open == 2 && lab.router.stats().waiting == 1).await;

    wire.die();
    let since = tokio::time::Instant::now();
    assert_eq!(exporter.end().await, (Bytes::from_static(GOAWAY), End::ok()));
    println!("told {:?} after the silence began", since.elapsed());
    until(|| lab.router.stats().open == 1 && lab.router.stats().waiting == 0).await;
    idle.send_data(b"still here").await;
    partner.expect(&data(b"still here")).await;
}
