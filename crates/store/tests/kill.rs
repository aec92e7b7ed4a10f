//! `kill -9` at any moment loses nothing acknowledged and tears nothing.
//!
//! The parent starts this same test binary as a child that writes until it is killed, and reads from a pipe what the
//! child says is durable.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what tests share unwraps as they do, and the child reports"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Key, Kind, ListOptions, Object, Store, StoreError, Write};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

const DIR: &str = "JUMPSTARTER_STORE_KILL_DIR";
const ROUNDS: u32 = 200;
const EXPORTERS: usize = 8;
const WORKERS: usize = 8;
/// The rounds end here on a slow machine, as long as a good part of them was done.
const BUDGET: Duration = Duration::from_secs(30);
const AT_LEAST: u32 = 40;

fn object(kind: Kind, name: &str, status: &Value) -> Object {
    Object::from_value(json!({
        "apiVersion": kind.api_version(), "kind": kind.name(),
        "metadata": { "name": name, "namespace": "lab" }, "spec": {}, "status": status,
    }))
    .unwrap()
}

fn open(dir: &Path) -> EmbeddedStore {
    // A short history, so that kills hit compactions too.
    let options = EmbeddedOptions { history: 500, lock_patience: Duration::from_secs(10), ..Default::default() };
    EmbeddedStore::open(dir, options).unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_and_no_pair_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut acknowledged: BTreeMap<usize, u64> = BTreeMap::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(prepare(dir.path()));
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS && (started.elapsed() < BUDGET || rounds < AT_LEAST) {
        let before: u64 = acknowledged.values().sum();
        write_until_killed(dir.path(), Duration::from_micros(random.random_range(0..120_000)), &mut acknowledged);
        if acknowledged.values().sum::<u64>() > before || rounds % 8 == 0 {
            runtime.block_on(verify(dir.path(), &acknowledged));
        }
        rounds += 1;
    }
    let total: u64 = acknowledged.values().sum();
    println!("{rounds} kills, {total} commits acknowledged, none lost");
    assert!(total > u64::from(rounds), "the child writes at all");
}

async fn prepare(dir: &Path) {
    let store = open(dir);
    let exporters = (0..EXPORTERS).map(|number| object(Kind::Exporter, &format!("e{number}"), &json!({})));
    let counters = (0..WORKERS).map(|worker| object(Kind::Client, &format!("w{worker}"), &json!({ "endpoint": "0" })));
    store.transact(exporters.chain(counters).map(Write::Create).collect()).await.unwrap();
}

fn write_until_killed(dir: &Path, life: Duration, acknowledged: &mut BTreeMap<usize, u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The life counts from the first sign of it, so that most rounds see writes; some end during the opening.
    if !life.as_micros().is_multiple_of(8) {
        lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.contains("opened")));
    }
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        if let Some((worker, number)) = line.strip_prefix("ack ").and_then(|rest| rest.split_once(' ')) {
            // The last line may be cut short.
            if let (Ok(worker), Ok(number)) = (worker.parse(), number.strip_suffix(';').unwrap_or("").parse()) {
                acknowledged.insert(worker, number);
            }
        }
    }
}

async fn verify(dir: &Path, acknowledged: &BTreeMap<usize, u64>) {
    let store = open(dir);
    assert_eq!(store.integrity_check().await.unwrap(), Vec::<String>::new());
    for (worker, number) in acknowledged {
        let counter = store.get(&Key::new(Kind::Client, "lab", format!("w{worker}"))).await.unwrap().unwrap();
        let found: u64 = counter.value()["status"]["endpoint"].as_str().unwrap().parse().unwrap();
        assert!(found >= *number, "worker {worker}: {number} was acknowledged, {found} is there");
    }
    let exporters = store.list(Kind::Exporter, "lab", ListOptions::default()).await.unwrap().items;
    let leases = store.list(Kind::Lease, "lab", ListOptions::default()).await.unwrap().items;
    let claims: BTreeMap<String, String> = exporters
        .iter()
        .filter_map(|exporter| {
            let lease = exporter.value()["status"]["leaseRef"]["name"].as_str()?;
            Some((lease.to_owned(), exporter.name().to_owned()))
        })
        .collect();
    let holds: BTreeMap<String, String> = leases
        .iter()
        .filter(|lease| lease.value()["status"]["ended"] == false)
        .map(|lease| {
            let exporter = lease.value()["status"]["exporterRef"]["name"].as_str().unwrap();
            (lease.name().to_owned(), exporter.to_owned())
        })
        .collect();
    assert_eq!(claims, holds, "each claim has its lease and each lease its claim");
}

/// Claims and releases exporters, counting each commit in the same transaction and saying so once it is durable.
#[test]
#[ignore = "the child of the test above"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&dir));
        println!("opened");
        let workers = (0..WORKERS).map(|worker| work(&store, worker));
        futures::future::join_all(workers).await;
    });
}

async fn work(store: &EmbeddedStore, worker: usize) {
    let counter = Key::new(Kind::Client, "lab", format!("w{worker}"));
    let found = store.get(&counter).await.unwrap().unwrap();
    let mut number: u64 = found.value()["status"]["endpoint"].as_str().unwrap().parse().unwrap();
    let mut random = StdRng::seed_from_u64(number + worker as u64);
    loop {
        let key = Key::new(Kind::Exporter, "lab", format!("e{}", random.random_range(0..EXPORTERS)));
        let exporter = store.get(&key).await.unwrap().unwrap();
        let count = object(Kind::Client, &counter.name, &json!({ "endpoint": (number + 1).to_string() }));
        let mut next = exporter.value().clone();
        let writes = if let Some(lease) = exporter.value()["status"]["leaseRef"]["name"].as_str() {
            next["status"] = json!({});
            vec![
                Write::UpdateStatus(Object::from_value(next).unwrap()),
                Write::UpdateStatus(object(Kind::Lease, lease, &json!({ "ended": true }))),
                Write::UpdateStatus(count),
            ]
        } else {
            let lease = format!("l{worker}-{number}");
            next["status"] = json!({ "leaseRef": { "name": lease } });
            let status = json!({ "ended": false, "exporterRef": { "name": key.name } });
            vec![
                Write::UpdateStatus(Object::from_value(next).unwrap()),
                Write::Create(object(Kind::Lease, &lease, &status)),
                Write::UpdateStatus(count),
            ]
        };
        match store.transact(writes).await {
            Ok(_) => {
                number += 1;
                println!("ack {worker} {number};");
            }
            // Another worker was faster.
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
