//! How fast streams are set up: from opening the first half to the first bytes at the other end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Effort;
use crate::link::{Link, Shape, message, read, spliced, write};
use crate::stats::{cpu_seconds, median, percentile};
use crate::subject::{Kind, Subject};
use crate::table::{Row, Table};

/// Set-ups at one time.
const AT_ONCE: usize = 16;

struct Result {
    per_second: f64,
    per_cpu_second: f64,
    p99: f64,
}

pub(crate) async fn setup(effort: &Effort, table: &mut Table) {
    for (fresh, kinds, on) in [
        (false, Kind::present(&[Kind::Decoding, Kind::Router, Kind::Peer]), "on open connections"),
        (
            true,
            Kind::present(&[Kind::Tcp, Kind::Tls, Kind::Decoding, Kind::Router, Kind::Peer]),
            "with two new connections",
        ),
    ] {
        let mut all: Vec<(Kind, Vec<Result>)> = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
        for _ in 0..effort.rounds.min(3) {
            for (kind, results) in &mut all {
                results.push(round(Subject::start(*kind), fresh, effort.setups / if fresh { 3 } else { 1 }).await);
            }
        }
        let name = format!("stream set-ups {on}");
        let mut add = |what: String, unit, of: fn(&Result) -> f64| {
            let values = all.iter().map(|(kind, results)| (*kind, median(results.iter().map(of).collect())));
            table.add(Row { what, unit, values: values.collect(), aim: "" });
        };
        add(name.clone(), "/s", |result| result.per_second);
        add(name.clone(), "/CPU-s", |result| result.per_cpu_second);
        add(format!("{name}, {AT_ONCE} at once, p99"), "µs", |result| result.p99);
    }
}

async fn round(subject: Subject, fresh: bool, count: usize) -> Result {
    let subject = Arc::new(subject);
    let shape = Shape::with_frame(16_384);
    let links = if fresh {
        None
    } else {
        let one = Link::connect(subject.address, shape).await;
        Some(Arc::new([one, Link::connect(subject.address, shape).await]))
    };
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let cpu = || subject.pid.map_or(f64::NAN, cpu_seconds);
    let (started, cpu_before) = (Instant::now(), cpu());
    for _ in 0..AT_ONCE {
        let (subject, links, next) = (subject.clone(), links.clone(), next.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                times.push(once(&subject, links.as_deref()).await);
            }
            times
        });
    }
    let mut times = tasks.join_all().await.concat();
    let (took, cpu_used) = (started.elapsed().as_secs_f64(), cpu() - cpu_before);
    Result {
        per_second: times.len() as f64 / took,
        per_cpu_second: times.len() as f64 / cpu_used,
        p99: percentile(&mut times, 0.99),
    }
}

async fn once(subject: &Subject, links: Option<&[Link; 2]>) -> Duration {
    let hello = message(71);
    let started = Instant::now();
    if !subject.kind.routes() {
        let [mut one, mut other] = spliced(subject.address, subject.kind == Kind::Tls, 0).await;
        write(&mut one, &hello).await.unwrap();
        read(&mut other, hello.len()).await.unwrap();
        return started.elapsed();
    }
    let tickets = subject.tickets();
    let shape = Shape::with_frame(16_384);
    let own;
    let [client, exporter] = match links {
        Some(links) => links,
        None => {
            let (one, other) =
                tokio::join!(Link::connect(subject.address, shape), Link::connect(subject.address, shape));
            own = [one, other];
            &own
        }
    };
    let (mut one, mut other) = (client.open(&tickets[0]).await, exporter.open(&tickets[1]).await);
    one.writer.send(hello.clone()).await;
    other.reader.skip(hello.len()).await;
    started.elapsed()
}
