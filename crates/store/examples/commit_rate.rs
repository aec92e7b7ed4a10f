//! Durable claims a second: each writes an exporter and a lease in one transaction, as the controller does.
//!
//! `cargo run --profile fastrel -p jumpstarter-store --example commit_rate [DIR]`

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Kind, Object, Store, StoreError, Write};
use serde_json::{Value, json};

const FOR: Duration = Duration::from_secs(3);

fn object(kind: Kind, name: &str, status: &Value) -> Result<Object, StoreError> {
    Object::from_value(json!({
        "apiVersion": kind.api_version(), "kind": kind.name(),
        "metadata": { "name": name, "namespace": "lab", "labels": { "board": "x", "rack": "r1" } },
        "spec": { "clientRef": { "name": "client" }, "selector": { "matchLabels": { "board": "x" } } },
        "status": status,
    }))
    .map_err(|error| StoreError::Invalid(error.to_string()))
}

async fn claims(store: &EmbeddedStore, writer: usize, until: Instant) -> Result<Vec<Duration>, StoreError> {
    let (exporter, lease) = (format!("e{writer}"), format!("l{writer}"));
    let mut times = Vec::new();
    while Instant::now() < until {
        let number = times.len();
        let started = Instant::now();
        let claim = json!({ "leaseRef": { "name": lease }, "statusMessage": number.to_string() });
        let held = json!({ "ended": false, "exporterRef": { "name": exporter }, "priority": number });
        let writes = vec![
            Write::UpdateStatus(object(Kind::Exporter, &exporter, &claim)?),
            Write::UpdateStatus(object(Kind::Lease, &lease, &held)?),
        ];
        store.transact(writes).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}

#[tokio::main]
async fn main() -> Result<(), StoreError> {
    let dir = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join(format!("commit-rate-{}", std::process::id())), PathBuf::from);
    let store = EmbeddedStore::open(&dir, EmbeddedOptions::default())?;
    println!("{:>8} {:>12} {:>10} {:>10} {:>8}", "writers", "commits/s", "p50", "p99", "ratio");
    let mut single = None;
    for writers in [1, 16, 64] {
        for writer in 0..writers {
            for (kind, prefix) in [(Kind::Exporter, "e"), (Kind::Lease, "l")] {
                let create = Write::Create(object(kind, &format!("{prefix}{writer}"), &json!({}))?);
                match store.transact(vec![create]).await {
                    Ok(_) | Err(StoreError::AlreadyExists(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let started = Instant::now();
        let until = started + FOR;
        let outcomes = futures::future::join_all((0..writers).map(|writer| claims(&store, writer, until))).await;
        let mut times = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let rate = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX)) / started.elapsed().as_secs_f64();
        times.sort_unstable();
        let quantile = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        let ratio = rate / *single.get_or_insert(rate);
        println!("{writers:>8} {rate:>12.0} {:>10.2?} {:>10.2?} {ratio:>7.1}x", quantile(50), quantile(99));
    }
    println!("{} bytes in {}", std::fs::metadata(store.path()).map_or(0, |file| file.len()), store.path().display());
    Ok(())
}
