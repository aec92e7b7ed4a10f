//! How much goes through: many bytes, many messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Effort;
use crate::link::{Link, Shape, message, spliced};
use crate::stats::{cpu_seconds, median};
use crate::subject::{Kind, Subject};
use crate::table::{Row, Table};

/// What flows before it is measured: until the buffers on the way are as full as they get.
fn warm_up(streams: usize) -> Duration {
    Duration::from_millis(250 + 20 * streams as u64)
}

/// One way to load a router.
struct Load {
    /// Sent over and over, each as one DATA frame.
    frames: Vec<Bytes>,
    streams: usize,
    shape: Shape,
}

/// What was reached.
#[derive(Clone, Copy)]
struct Rate {
    bytes_per_second: f64,
    bytes_per_cpu_second: f64,
}

/// `total` bytes of messages of `size`, in frames of at most `frame`.
fn frames(size: usize, total: usize, frame: usize) -> Vec<Bytes> {
    let all: Vec<u8> = message(size).iter().copied().cycle().take(total).collect();
    all.chunks(frame).map(Bytes::copy_from_slice).collect()
}

pub(crate) async fn bulk(effort: &Effort, table: &mut Table) {
    let kinds = Kind::present(&[Kind::Tcp, Kind::Tls, Kind::Decoding, Kind::Router, Kind::Peer]);
    for (streams, frame) in [(1, 16), (1, 64), (64, 16), (64, 64)] {
        let frame = frame * 1024;
        let load = Load { frames: frames(65_536, 65_536, frame), streams, shape: Shape::with_frame(frame as u32) };
        let rates = measure(effort, &kinds, &load).await;
        let name = format!("bulk, {streams} stream(s), frames of {} KiB", frame / 1024);
        let values = |of: fn(&Rate) -> f64| rates.iter().map(|(kind, rate)| (*kind, of(rate) / 1e6)).collect();
        table.add(Row { what: name.clone(), unit: "MB/s", values: values(|rate| rate.bytes_per_second), aim: "" });
        table.add(Row {
            what: name,
            unit: "MB/CPU-s",
            values: values(|rate| rate.bytes_per_cpu_second),
            aim: "≥ 0.9 (b)",
        });
    }
}

pub(crate) async fn small(effort: &Effort, table: &mut Table) {
    let kinds = Kind::present(&[Kind::Decoding, Kind::Router, Kind::Peer]);
    for (size, packed) in [(64, false), (64, true), (1024, false), (1024, true)] {
        // On the wire a message of 64 bytes has 7 more.
        let length = size + if size < 128 { 7 } else { 8 };
        let load = if packed {
            let count = 16_384 / length;
            Load {
                frames: frames(length, count * length, count * length),
                streams: 8,
                shape: Shape::with_frame(16_384),
            }
        } else {
            Load { frames: frames(length, length, length), streams: 8, shape: Shape::with_frame(16_384) }
        };
        let rates = measure(effort, &kinds, &load).await;
        let per_cpu = |rate: &Rate| rate.bytes_per_cpu_second / length as f64 / 1e6;
        table.add(Row {
            what: format!("messages of {size} B, {}", if packed { "packed to 16 KiB" } else { "one a frame" }),
            unit: "M/CPU-s",
            values: rates.iter().map(|(kind, rate)| (*kind, per_cpu(rate))).collect(),
            aim: "≥ 1.4 (c)",
        });
    }
}

/// Twice the work per processor second that two threads do, over that of one: what two cores would do that had
/// nothing else to do, lost to locks and to waking each other.
pub(crate) async fn scaling(effort: &Effort, table: &mut Table) {
    let loads = [
        (
            "bulk, 64 streams",
            Load { frames: frames(65_536, 65_536, 16_384), streams: 64, shape: Shape::with_frame(16_384) },
        ),
        (
            "1 KiB messages, 64 streams",
            Load { frames: frames(1032, 1032, 1032), streams: 64, shape: Shape::with_frame(16_384) },
        ),
    ];
    for (name, load) in loads {
        let mut scale = Vec::new();
        for _ in 0..effort.rounds {
            let one = once(&Subject::with_threads(Kind::Router, 1), &load, effort.span).await;
            let two = once(&Subject::with_threads(Kind::Router, 2), &load, effort.span).await;
            scale.push(2.0 * two.bytes_per_cpu_second / one.bytes_per_cpu_second);
        }
        table.add(Row {
            what: format!("one to two cores, {name}"),
            unit: "×",
            values: vec![(Kind::Router, median(scale))],
            aim: "≥ 1.8",
        });
    }
}

/// In turns, so that a change of the machine's mood meets all of them.
async fn measure(effort: &Effort, kinds: &[Kind], load: &Load) -> Vec<(Kind, Rate)> {
    let mut all: Vec<(Kind, Vec<Rate>)> = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
    for _ in 0..effort.rounds {
        for (kind, rates) in &mut all {
            rates.push(once(&Subject::start(*kind), load, effort.span).await);
        }
    }
    let middle = |rates: &[Rate], of: fn(&Rate) -> f64| median(rates.iter().map(of).collect());
    all.iter()
        .map(|(kind, rates)| {
            let bytes_per_second = middle(rates, |rate| rate.bytes_per_second);
            (*kind, Rate { bytes_per_second, bytes_per_cpu_second: middle(rates, |rate| rate.bytes_per_cpu_second) })
        })
        .collect()
}

async fn once(subject: &Subject, load: &Load, span: Duration) -> Rate {
    let received = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    // Nothing flows before all are there: a busy router takes those for far that come late.
    let begin = Arc::new(Semaphore::new(0));
    for n in 0..load.streams {
        start_stream(subject, load, n, (&received, &begin), &mut tasks).await;
    }
    begin.add_permits(load.streams);
    tokio::time::sleep(warm_up(load.streams)).await;
    let cpu = || subject.pid.map_or(f64::NAN, cpu_seconds);
    let (bytes_before, cpu_before, started) = (received.load(Ordering::Relaxed), cpu(), Instant::now());
    tokio::time::sleep(span).await;
    let bytes = (received.load(Ordering::Relaxed) - bytes_before) as f64;
    let (cpu_used, took) = (cpu() - cpu_before, started.elapsed());
    tasks.shutdown().await;
    Rate { bytes_per_second: bytes / took.as_secs_f64(), bytes_per_cpu_second: bytes / cpu_used }
}

/// One source and one sink, each on a connection of its own.
async fn start_stream(
    subject: &Subject,
    load: &Load,
    n: usize,
    (received, begin): (&Arc<AtomicU64>, &Arc<Semaphore>),
    tasks: &mut JoinSet<()>,
) {
    let (frames, received, begin) = (load.frames.clone(), received.clone(), begin.clone());
    if subject.kind.routes() {
        let tickets = subject.tickets();
        let source = Link::connect(subject.address, load.shape).await;
        let sink = Link::connect(subject.address, load.shape).await;
        let mut writing = source.open(&tickets[0]).await;
        let mut reading = sink.open(&tickets[1]).await;
        tasks.spawn(async move {
            let _link = source;
            begin.acquire().await.unwrap().forget();
            loop {
                for frame in &frames {
                    writing.writer.send(frame.clone()).await;
                }
            }
        });
        tasks.spawn(async move {
            let _link = sink;
            loop {
                let chunk = reading.reader.chunk().await;
                received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
    } else {
        let [mut source, mut sink] = spliced(subject.address, subject.kind == Kind::Tls, n).await;
        tasks.spawn(async move {
            begin.acquire().await.unwrap().forget();
            loop {
                for frame in &frames {
                    source.write_all(frame).await.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let length = sink.read(&mut buffer).await.unwrap();
                received.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
    }
}
