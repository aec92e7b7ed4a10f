//! Ping-pong of 64 bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Effort;
use crate::link::{Half, Link, Shape, message, read, spliced, write};
use crate::stats::{median, percentile};
use crate::subject::{Kind, Subject};
use crate::table::{Row, Table};

/// Streams of one connection when there are many.
pub const PER_LINK: usize = 125;

pub(crate) async fn ping_pong(effort: &Effort, table: &mut Table) {
    let kinds = Kind::present(&[Kind::Tcp, Kind::Tls, Kind::Decoding, Kind::Router, Kind::Peer]);
    for (streams, shared) in [(1, false), (1_000, true), (1_000, false)] {
        let mut all: Vec<(Kind, Vec<f64>, Vec<f64>)> =
            kinds.iter().map(|kind| (*kind, Vec::new(), Vec::new())).collect();
        for _ in 0..effort.rounds.min(3) {
            for (kind, middle, high) in &mut all {
                let mut times = round(&Subject::start(*kind), streams, shared, effort.span).await;
                middle.push(percentile(&mut times, 0.5));
                high.push(percentile(&mut times, 0.99));
            }
        }
        let on = match (streams, shared) {
            (1, _) => "",
            (_, true) => ", 8 + 8 connections",
            (_, false) => ", one connection each",
        };
        let name = format!("64 B ping-pong, {streams} stream(s){on}");
        table.add(Row {
            what: format!("{name}, p50"),
            unit: "µs",
            values: all.iter().map(|(kind, middle, _)| (*kind, median(middle.clone()))).collect(),
            aim: "",
        });
        table.add(Row {
            what: format!("{name}, p99"),
            unit: "µs",
            values: all.into_iter().map(|(kind, _, high)| (kind, median(high))).collect(),
            aim: "≤ 1.5 (b)",
        });
    }
}

async fn round(subject: &Subject, streams: usize, shared: bool, span: Duration) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    let mut links = Vec::new();
    // All begin together, after the last one is there.
    let begin = Arc::new(Semaphore::new(0));
    let shape = Shape::with_frame(16_384);
    for n in 0..streams {
        if subject.kind.routes() {
            if links.is_empty() || !shared || n % PER_LINK == 0 {
                links.push([Link::connect(subject.address, shape).await, Link::connect(subject.address, shape).await]);
            }
            let [client, exporter] = links.last().unwrap();
            let tickets = subject.tickets();
            let (pinging, ponging) = (client.open(&tickets[0]).await, exporter.open(&tickets[1]).await);
            tasks.spawn(pong(ponging));
            tasks.spawn(ping(pinging, begin.clone(), span));
        } else {
            let [mut pinging, mut ponging] = spliced(subject.address, subject.kind == Kind::Tls, n).await;
            let ball = message(71);
            let other = ball.clone();
            tasks.spawn(async move {
                // Ends with the other one.
                while read(&mut ponging, other.len()).await.is_ok() && write(&mut ponging, &other).await.is_ok() {}
                Vec::new()
            });
            let begin = begin.clone();
            tasks.spawn(async move {
                begin.acquire().await.unwrap().forget();
                let (begun, mut times) = (Instant::now(), Vec::new());
                while begun.elapsed() < span {
                    let sent = Instant::now();
                    write(&mut pinging, &ball).await.unwrap();
                    read(&mut pinging, ball.len()).await.unwrap();
                    times.push(sent.elapsed());
                }
                times
            });
        }
    }
    begin.add_permits(streams);
    let mut times = Vec::new();
    let mut left = streams;
    while left > 0 {
        let measured = tasks.join_next().await.expect("as many as there are streams").unwrap();
        left -= usize::from(!measured.is_empty());
        times.extend(measured);
    }
    tasks.shutdown().await;
    times
}

/// Sends back what comes, until the other one ends.
pub async fn pong(mut half: Half) -> Vec<Duration> {
    let ball = message(71);
    while half.reader.skipped(ball.len()).await {
        half.writer.send(ball.clone()).await;
    }
    Vec::new()
}

/// The times of round trips from `begin` for `span`.
pub async fn ping(mut half: Half, begin: Arc<Semaphore>, span: Duration) -> Vec<Duration> {
    let ball = message(71);
    begin.acquire().await.unwrap().forget();
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < span {
        let sent = Instant::now();
        half.writer.send(ball.clone()).await;
        half.reader.skip(ball.len()).await;
        times.push(sent.elapsed());
    }
    times
}
