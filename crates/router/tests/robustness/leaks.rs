//! What thousands of streams and connections leave behind: nothing.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use h2::Reason;
use jumpstarter_auth::Side;
use jumpstarter_transport::connect::{ChannelOptions, ChannelTls, connect};
use uuid::Uuid;

use crate::child::{Routing, Setup, Usage};
use crate::lab::{Link, data, soon, ticket};

/// Used tickets are remembered until they would be refused for their age; two for each stream.
const REMEMBERED: u64 = 128;

/// The HTTP/2 library of these peers gives a connection up after a thousand frames that came too late for their stream.
const PER_CONNECTION: u32 = 250;
/// Peers at once, each with two connections.
const CROWD: u32 = 4;

/// So many streams one after the other, of every kind.
async fn short_streams(address: SocketAddr, count: u32) {
    let mut links = [Link::new(address).await, Link::new(address).await];
    for round in 0..count {
        if (round + 1).is_multiple_of(PER_CONNECTION) {
            links = [Link::new(address).await, Link::new(address).await];
        }
        let stream = Uuid::new_v4();
        let (mut client, mut exporter) =
            (links[0].open(&ticket(stream, Side::Client)).await, links[1].open(&ticket(stream, Side::Exporter)).await);
        client.send_data(b"ping").await;
        exporter.expect(&data(b"ping")).await;
        match round % 6 {
            0 => client.reset(Reason::CANCEL),
            1 => exporter.reset(Reason::INTERNAL_ERROR),
            2 => client.finish(),
            3 => {
                client.finish();
                exporter.finish();
            }
            // Dropped with bytes on their way.
            4 => exporter.queue(data(&[7; 5_000])),
            _ => {
                soon(client.send(Bytes::from_static(&[0, 0, 0, 1, 0, 3]))).await;
                exporter.finish();
            }
        }
        // Some never find a partner, some are refused.
        if round % 10 == 0 {
            drop(links[0].open(&ticket(Uuid::new_v4(), Side::Client)).await);
            drop(links[1].open("garbage").await);
        }
    }
}

async fn crowd(address: SocketAddr, streams: u32) {
    let mut peers = tokio::task::JoinSet::new();
    for _ in 0..CROWD {
        peers.spawn(short_streams(address, streams / CROWD));
    }
    while let Some(peer) = peers.join_next().await {
        peer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_short_streams_leave_nothing_behind() {
    const STREAMS: u32 = 10_000;
    const FIRST: u32 = 2_000;
    let mut router = Routing::start(&Setup::default());
    let idle = router.settled_usage();
    let as_at_its_start = |usage: &Usage| {
        (usage.open, usage.waiting, usage.connections) == (0, 0, 0)
            && usage.tasks == idle.tasks
            && usage.files == idle.files
    };
    // Its allocator and tables have their size afterwards.
    crowd(router.address, FIRST).await;
    let warm = router.await_usage("as at its start", as_at_its_start);
    crowd(router.address, STREAMS - FIRST).await;
    let now = router.await_usage("as at its start again", as_at_its_start);
    let grown = now.memory.saturating_sub(warm.memory);
    let tickets = u64::from(STREAMS - FIRST) * 2 * REMEMBERED;
    println!("{grown} bytes more after {STREAMS} streams; used tickets may take {tickets}");
    assert!(grown <= tickets + (4 << 20), "{grown} bytes have leaked");
}

/// What scanners, probes and impatient peers do.
fn knock(address: SocketAddr, round: usize) {
    let mut socket = TcpStream::connect(address).unwrap();
    let hello: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8];
    // The router may have hung up by then.
    let _ = match round % 5 {
        0 => Ok(()),
        1 => socket.write_all(hello),
        2 => socket.write_all(b"GET / HTTP/1.1\r\n\r\n"),
        3 => socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        _ => socket.write_all(&[0x16, 3, 1, 0xff, 0xff, 0]),
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut router = Routing::start(&Setup { tls: Some(directory.path()), ..Setup::default() });
    let idle = router.settled_usage();
    jumpstarter_transport::install_crypto_provider();
    let tls = ChannelTls {
        ca_pem: Some(std::fs::read_to_string(directory.path().join("ca.crt")).unwrap()),
        ..ChannelTls::default()
    };
    let endpoint = format!("localhost:{}", router.address.port());
    let address = router.address;
    let churn = async |rounds: usize| {
        for round in 0..rounds {
            knock(address, round);
            if round % 10 == 0 {
                // A whole handshake, too; dropped as soon as it is done.
                drop(connect(&endpoint, &tls, &ChannelOptions::default()).await.unwrap());
            }
        }
    };
    churn(500).await;
    let warm = router.await_usage("without connections", |usage| usage.connections == 0);
    churn(3_000).await;
    let now = router.await_usage("without connections again", |usage| {
        usage.connections == 0 && usage.tasks == idle.tasks && usage.files == idle.files
    });
    let grown = now.memory.saturating_sub(warm.memory);
    println!("{grown} bytes more after 3,300 connections");
    assert!(grown <= 8 << 20, "{grown} bytes have leaked");
}
