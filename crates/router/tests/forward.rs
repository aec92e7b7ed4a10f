//! Bytes through a router on real sockets: whole, in order, in both directions, within bounds.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, in its helpers too")]

mod lab;

use std::time::Duration;

use bytes::Bytes;
use jumpstarter_protocol::v1::router_service_client::RouterServiceClient;
use jumpstarter_protocol::v1::{FrameType, StreamRequest};
use jumpstarter_router::Config;
use lab::{Digest, End, GOAWAY, Lab, Peer, data, message, soon};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// Bytes that differ from place to place.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_in_both_directions_at_once_arrives_whole() {
    const MESSAGES: u64 = 400;
    let lab = Lab::start(Config::default()).await;
    let (client, exporter) = lab.pair().await;
    let run = |mut peer: Peer, seed: u64| async move {
        let mut digest = Digest::default();
        // Each peer writes and reads at once, as real ones do.
        let (bytes, mut queue) = mpsc::channel::<Bytes>(4);
        let make = async move {
            for index in 0..MESSAGES {
                let length = [64 * 1024, 1, 1_000, 40_000, 0][usize::try_from(index).unwrap() % 5];
                let message = data(&noise(seed + index, length));
                digest.add(&message);
                bytes.send(message).await.unwrap();
            }
            digest
        };
        let mut received = Digest::default();
        let carry = async {
            let mut sending = true;
            loop {
                tokio::select! {
                    // Both are cancel safe: a channel's receiver, and a body's next frame.
                    message = queue.recv(), if sending => if let Some(message) = message {
                        peer.queue(message);
                    } else {
                        peer.finish();
                        sending = false;
                    },
                    chunk = peer.chunk() => match chunk {
                        Ok(chunk) => received.add(&chunk),
                        Err(end) => return (received, end),
                    },
                }
            }
        };
        let (sent, (received, end)) = tokio::join!(make, carry);
        (sent, received, end)
    };
    let (client, exporter) = soon(async { tokio::join!(run(client, 1), run(exporter, 7)) }).await;
    for ((sent, ..), (_, received, end)) in [(&client, &exporter), (&exporter, &client)] {
        assert_eq!(*end, End::ok());
        // The goodbye that the router says for a peer that ended without one.
        let mut expected = sent.clone();
        expected.add(GOAWAY);
        assert_eq!((received.length, received.value()), (expected.length, expected.value()));
    }
    lab.quiet().await;
    let stats = lab.router.stats();
    assert_eq!(stats.bytes_from_clients, client.0.length);
    assert_eq!(stats.bytes_from_exporters, exporter.0.length);
}

async fn tonic(
    lab: &Lab,
    ticket: &str,
    frames: mpsc::Receiver<StreamRequest>,
) -> tonic::Streaming<jumpstarter_protocol::v1::StreamResponse> {
    let channel: Channel = Endpoint::from_shared(format!("http://{}", lab.address)).unwrap().connect().await.unwrap();
    let mut request = Request::new(ReceiverStream::new(frames));
    request.metadata_mut().insert("authorization", format!("bearer {ticket}").parse().unwrap());
    soon(RouterServiceClient::new(channel).stream(request)).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_small_messages_stay_in_order() {
    let lab = Lab::start(Config::default()).await;
    let [client, exporter] = lab.tickets();
    let (to_exporter, frames) = mpsc::channel(64);
    let mut client = tonic(&lab, &client, frames).await;
    let (to_client, frames) = mpsc::channel(64);
    // A library's peer is accepted before its partner is there.
    let mut exporter = tonic(&lab, &exporter, frames).await;
    let write = async {
        for index in 0..10_000u32 {
            let payload = Bytes::copy_from_slice(&index.to_be_bytes());
            to_exporter.send(StreamRequest { payload, frame_type: 0 }).await.unwrap();
        }
        drop(to_exporter);
    };
    let read = async {
        for index in 0..10_000u32 {
            let frame = exporter.message().await.unwrap().expect("a frame");
            assert_eq!(*frame.payload, index.to_be_bytes());
        }
        let goaway = exporter.message().await.unwrap().expect("a goodbye");
        assert_eq!(goaway.frame_type(), FrameType::Goaway);
        drop(to_client);
        assert!(exporter.message().await.unwrap().is_none());
    };
    soon(async { tokio::join!(write, read) }).await;
    assert_eq!(client.message().await.unwrap().expect("a goodbye").frame_type(), FrameType::Goaway);
    assert!(client.message().await.unwrap().is_none());
    lab.quiet().await;
}

#[tokio::test]
async fn bytes_before_the_partner_are_kept() {
    let lab = Lab::start(Config::default()).await;
    let [client, exporter] = lab.tickets();
    let mut exporter = lab.open(&exporter).await;
    exporter.accepted().await;
    let mut sent = Vec::new();
    // Tiny frames beyond what is read ahead: flow control keeps the rest.
    for index in 0..5_000u32 {
        let message = data(&index.to_be_bytes());
        sent.extend_from_slice(&message);
        soon(exporter.send(message)).await;
        if index % 100 == 0 {
            // More than a hundred in all, and h2 gives the connection up.
            soon(exporter.send(Bytes::new())).await;
        }
    }
    exporter.finish();
    let mut client = lab.open(&client).await;
    client.expect(&sent).await;
    client.expect(GOAWAY).await;
    client.finish();
    assert_eq!(client.end().await, (Bytes::new(), End::ok()));
}

#[tokio::test]
async fn unknown_frames_pass_untouched_at_any_chunking() {
    let lab = Lab::start(Config::default()).await;
    let (mut client, mut exporter) = lab.pair().await;
    let odd = [
        message(&[0x10, 3]),
        message(&[]),
        message(&[0x10, 6, 0x0a, 2, 1, 2]),
        message(&[0x10, 99]),
        message(b"no protobuf at all \xff\xff"),
        data(&[]),
    ]
    .concat();
    for byte in &odd {
        soon(client.send(Bytes::copy_from_slice(&[*byte]))).await;
    }
    exporter.expect(&odd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_slows_its_writer() {
    // Windows of 1 MiB on both sides, and what HTTP/2 buffers before a socket.
    const BOUND: u64 = 4 << 20;
    let lab = Lab::start(Config::default()).await;
    let (mut client, mut exporter) = lab.pair().await;
    exporter.accepted().await;
    let chunk = data(&noise(3, 60_000));
    let mut sent = Digest::default();
    // Until nothing is taken for a while.
    loop {
        let sending = client.send(chunk.clone());
        if tokio::time::timeout(Duration::from_millis(500), sending).await.is_err() {
            break;
        }
        sent.add(&chunk);
        assert!(sent.length < 4 * BOUND, "the writer was never slowed");
    }
    let passed = lab.router.stats().bytes_from_clients;
    assert!(passed <= BOUND, "{passed} bytes are between router and reader");
    // Others are not slowed by it.
    let (mut quick, mut other) = lab.pair().await;
    quick.send_data(b"quick").await;
    other.expect(&data(b"quick")).await;
    // And nothing was lost: the reader gets all once it reads, the last message being cut short by the writer's timeout.
    client.reset(h2::Reason::CANCEL);
    let (length, _, end) = soon(exporter.digest()).await;
    assert!(length >= passed && length <= sent.length + chunk.len() as u64 + 7, "{length}");
    assert!(matches!(end.code(), 0 | 14), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_streams_leave_nothing_behind() {
    let lab = Lab::start(Config::default()).await;
    let (left, right) = (lab.link().await, lab.link().await);
    for round in 0..500 {
        let [client, exporter] = lab.tickets();
        let (mut client, mut exporter) = (left.open(&client).await, right.open(&exporter).await);
        client.send_data(b"ping").await;
        exporter.expect(&data(b"ping")).await;
        match round % 4 {
            0 => client.reset(h2::Reason::CANCEL),
            1 => exporter.reset(h2::Reason::INTERNAL_ERROR),
            2 => client.finish(),
            _ => {
                client.finish();
                exporter.finish();
            }
        }
    }
    lab.quiet().await;
    assert_eq!(lab.router.stats().joined, 500);
}
