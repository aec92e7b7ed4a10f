//! A console beside a flash.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Effort;
use crate::delay::{self, Line};
use crate::latency::{ping, pong};
use crate::link::{Link, Shape, message};
use crate::stats::{median, percentile};
use crate::subject::{Kind, Subject};
use crate::table::{Row, Table};

/// Where the flash goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flash {
    None,
    OtherConnections,
    SameConnections,
}

pub(crate) async fn console_beside_bulk(effort: &Effort, table: &mut Table) {
    let kinds = Kind::present(&[Kind::Decoding, Kind::Router, Kind::Peer]);
    let slow = Line { round_trip: Duration::from_millis(5), bytes_per_second: 12.5e6 };
    for (line, over) in [(None, ""), (Some(slow), ", 100 Mbit/s and 5 ms to the exporter")] {
        for (flash, beside) in [
            (Flash::None, "alone"),
            (Flash::OtherConnections, "beside a flash on other connections"),
            (Flash::SameConnections, "beside a flash on the same"),
        ] {
            if line.is_some() && flash == Flash::OtherConnections {
                continue;
            }
            let mut all: Vec<(Kind, Vec<f64>)> = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
            for _ in 0..effort.rounds.min(3) {
                for (kind, high) in &mut all {
                    let mut times = round(&Subject::start(*kind), line, flash, effort.span).await;
                    high.push(percentile(&mut times, 0.99));
                }
            }
            table.add(Row {
                what: format!("console {beside}{over}, p99"),
                unit: "µs",
                values: all.into_iter().map(|(kind, high)| (kind, median(high))).collect(),
                aim: "",
            });
        }
    }
}

/// Round trips of a console.
async fn round(subject: &Subject, line: Option<Line>, flash: Flash, span: Duration) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    let shape = Shape::with_frame(16_384);
    let to_exporter = match line {
        Some(line) => delay::open(line, subject.address, &mut tasks),
        None => subject.address,
    };
    let (client, exporter) = (Link::connect(subject.address, shape).await, Link::connect(to_exporter, shape).await);
    let (other_client, other_exporter) =
        (Link::connect(subject.address, shape).await, Link::connect(to_exporter, shape).await);
    let tickets = subject.tickets();
    let (pinging, ponging) = (client.open(&tickets[0]).await, exporter.open(&tickets[1]).await);
    if flash != Flash::None {
        let (client, exporter) =
            if flash == Flash::SameConnections { (&client, &exporter) } else { (&other_client, &other_exporter) };
        let tickets = subject.tickets();
        let (mut writing, mut reading) = (client.open(&tickets[0]).await, exporter.open(&tickets[1]).await);
        let frame = message(16_384);
        tasks.spawn(async move {
            loop {
                writing.writer.send(frame.clone()).await;
            }
        });
        tasks.spawn(async move {
            loop {
                reading.reader.chunk().await;
            }
        });
    }
    tasks.spawn(async move { drop(pong(ponging).await) });
    // The flash has filled what there is to fill by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let times = ping(pinging, Arc::new(Semaphore::new(1)), span).await;
    tasks.shutdown().await;
    times
}
