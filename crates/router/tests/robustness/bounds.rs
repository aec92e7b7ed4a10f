//! What slow readers can make the router keep.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jumpstarter_auth::Side;
use uuid::Uuid;

use crate::child::{Routing, Setup};
use crate::lab::{Link, Peer, data, message, soon, ticket};

/// When nothing was taken for so long, nothing more will be; too short a time makes a test easier, never fail.
const QUIET: Duration = Duration::from_millis(300);

/// Opens `count` streams between two connections.
async fn streams(writers: &Link, readers: &Link, count: usize) -> Vec<(Peer, Peer)> {
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = Uuid::new_v4();
        let mut writer = writers.open(&ticket(stream, Side::Exporter)).await;
        let mut reader = readers.open(&ticket(stream, Side::Client)).await;
        writer.accepted().await;
        reader.accepted().await;
        pairs.push((writer, reader));
    }
    pairs
}

/// Lets every writer send until nothing is taken any more; what was taken in all.
async fn fill(pairs: &mut [(Peer, Peer)], chunk: &Bytes) -> u64 {
    let sent = AtomicU64::new(0);
    let mut writing: FuturesUnordered<_> = pairs
        .iter_mut()
        .map(|(writer, _)| {
            let sent = &sent;
            async move {
                // A message that is taken in part has filled the stream as well.
                while writer.writer.send(chunk.clone()).await.is_ok() {
                    sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                }
                panic!("the router reads no more, rather than later");
            }
        })
        .collect();
    let mut before = 1;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        // None of them ever ends.
        drop(tokio::time::timeout(QUIET, writing.next()).await);
    }
    before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_that_nobody_reads_take_bounded_memory() {
    const STREAMS: usize = 1_000;
    const PER_CONNECTION: usize = 250;
    // What HTTP/2 lets each writer have on its way: the stream's window in the router, what is buffered for the reader
    // (whose windows of 1 MiB take all of it), and the bookkeeping of both.
    const PER_STREAM: u64 = 640 * 1024;
    let mut router = Routing::start(&Setup::default());
    let before = router.usage().memory;
    let mut held = Vec::new();
    let mut sent = 0;
    for _ in 0..STREAMS / PER_CONNECTION {
        let (writers, readers) = (Link::new(router.address).await, Link::new(router.address).await);
        let mut pairs = streams(&writers, &readers, PER_CONNECTION).await;
        sent += fill(&mut pairs, &data(&vec![7; 60_000])).await;
        held.push((writers, readers, pairs));
    }
    let usage = router.usage();
    let grown = usage.memory.saturating_sub(before);
    println!("{STREAMS} unread streams: {sent} bytes sent, {grown} bytes of memory, {} each", grown / STREAMS as u64);
    assert_eq!(usage.open, STREAMS as u64);
    assert!(grown <= STREAMS as u64 * PER_STREAM, "{grown} bytes for {STREAMS} streams");
    // Others go on meanwhile.
    let others = (Link::new(router.address).await, Link::new(router.address).await);
    let mut pairs = streams(&others.0, &others.1, 1).await;
    let (writer, reader) = &mut pairs[0];
    for _ in 0..200 {
        let bytes = data(&vec![9; 50_000]);
        soon(async { tokio::join!(writer.send(bytes.clone()), reader.expect(&bytes)) }).await;
    }
    // And what was kept is given back.
    drop((held, pairs, others));
    router.await_usage("empty", |usage| usage.open + usage.waiting == 0 && usage.connections == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_frames_of_a_waiting_half_are_stopped_by_flow_control_alone() {
    // From the smallest that can be sent to what an idle tunnel really carries.
    for length in [1, 3, 8, 20] {
        let mut router = Routing::start(&Setup::default());
        let before = router.usage().memory;
        let mut link = Link::new(router.address).await;
        let stream = Uuid::new_v4();
        let mut waiting = link.open(&ticket(stream, Side::Exporter)).await;
        waiting.accepted().await;
        // A long message in pieces, so that any length is sound.
        let whole = message(&vec![5; 1 << 20]);
        let mut sent = 0;
        while sent + length < whole.len() {
            let piece = whole.slice(sent..sent + length);
            let sending = waiting.writer.send(piece);
            match tokio::time::timeout(QUIET, sending).await {
                Ok(Ok(())) => sent += length,
                Ok(Err(_)) => panic!("{length}-byte frames: cut after {sent} bytes: {:?}", link.closed().await),
                Err(_) => break,
            }
        }
        assert!(sent + length < whole.len(), "{length}-byte frames: never stopped");
        assert!(link.answers().await, "{length}-byte frames: the connection died after {sent} bytes");
        let grown = router.usage().memory.saturating_sub(before);
        println!("{length}-byte frames: {sent} bytes taken, {grown} bytes of memory");
        assert!(grown < 64 << 20, "{length}-byte frames: {grown} bytes of memory for {sent}");
        // Nothing was lost.
        let other = Link::new(router.address).await;
        let mut partner = other.open(&ticket(stream, Side::Client)).await;
        partner.expect(&whole[..sent]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_unread_frames_of_many_streams_leave_their_connection_alive() {
    const STREAMS: usize = 32;
    let mut router = Routing::start(&Setup::default());
    let (mut writers, readers) = (Link::new(router.address).await, Link::new(router.address).await);
    let mut pairs = streams(&writers, &readers, STREAMS).await;
    // A console's line; its viewer sleeps.
    let line = data(&[b'x'; 57]);
    let sent = fill(&mut pairs, &line).await;
    assert!(writers.answers().await, "the connection died after {sent} bytes in frames of {}", line.len());
    println!("{STREAMS} consoles, {sent} bytes in frames of {}: {:?}", line.len(), router.usage());
    for (writer, reader) in &mut pairs {
        writer.finish();
        reader.finish();
        let (bytes, _) = reader.end().await;
        assert!(bytes.len() > line.len());
    }
}
