//! Memory of streams that nothing happens on.

use crate::Effort;
use crate::link::{Half, Link, Shape, message};
use crate::stats::resident;
use crate::subject::{Kind, Subject};
use crate::table::{Row, Table};

/// Streams of one connection, as an exporter with many devices has them.
const PER_LINK: usize = 250;

pub(crate) async fn idle(effort: &Effort, table: &mut Table) {
    let kinds = Kind::present(&[Kind::Decoding, Kind::Router, Kind::Peer]);
    for (per_link, on, aim) in [(PER_LINK, "shared connections", "≤ 24 KiB"), (1, "one connection each", "")] {
        let pairs = effort.idle_pairs.min(most_pairs(per_link));
        let mut values = Vec::new();
        for kind in &kinds {
            values.push((*kind, each(&Subject::start(*kind), pairs, per_link).await / 1024.0));
        }
        let what = format!("{pairs} idle pairs, {on}, memory a pair");
        table.add(Row { what, unit: "KiB", values, aim });
    }
}

/// As many as there are files for: each connection is one here and one in the other process.
fn most_pairs(per_link: usize) -> usize {
    let files = jumpstarter_transport::listen::raise_file_limit().unwrap_or(u64::MAX);
    (usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(500) / 2).saturating_mul(per_link)
}

/// Resident bytes a pair.
async fn each(subject: &Subject, pairs: usize, per_link: usize) -> f64 {
    let Some(pid) = subject.pid else { return f64::NAN };
    // What any number of streams needs once.
    drop(open(subject, 8, 1, 0).await);
    let before = resident(pid);
    let open = open(subject, pairs, per_link, 1).await;
    let memory = resident(pid) - before;
    drop(open);
    memory / pairs as f64
}

async fn open(subject: &Subject, pairs: usize, per_link: usize, first: usize) -> (Vec<[Link; 2]>, Vec<[Half; 2]>) {
    let (mut links, mut halves): (Vec<[Link; 2]>, Vec<[Half; 2]>) = (Vec::new(), Vec::new());
    let shape = Shape::with_frame(16_384);
    for n in 0..pairs {
        if n % per_link == 0 {
            let connect = || Link::connect_nth(subject.address, shape, first + n * 2);
            let (client, exporter) = tokio::join!(connect(), connect());
            links.push([client, exporter]);
        }
        let [client, exporter] = links.last().unwrap();
        let tickets = subject.tickets();
        let (mut one, mut other) = (client.open(&tickets[0]).await, exporter.open(&tickets[1]).await);
        // Used once in both directions, as a tunnel is that went idle.
        let hello = message(71);
        one.writer.send(hello.clone()).await;
        other.reader.skip(hello.len()).await;
        other.writer.send(hello.clone()).await;
        one.reader.skip(hello.len()).await;
        halves.push([one, other]);
    }
    (links, halves)
}
