//! What the embedded store adds to the contract: one transaction, one file, one process.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures::StreamExt;
use jumpstarter_model::Timestamp;
use jumpstarter_store::{
    Clock, EmbeddedOptions, EmbeddedStore, Event, Key, Kind, ListOptions, Object, ResourceVersion, Store, StoreError,
    Write,
};
use serde_json::{Value, json};

fn object(kind: Kind, name: &str, extra: &Value) -> Object {
    let mut value = json!({
        "apiVersion": kind.api_version(), "kind": kind.name(),
        "metadata": { "name": name, "namespace": "lab" },
    });
    for (field, content) in extra.as_object().unwrap() {
        value[field] = content.clone();
    }
    Object::from_value(value).unwrap()
}

fn exporter(name: &str) -> Object {
    object(Kind::Exporter, name, &json!({ "spec": {} }))
}

fn key(name: &str) -> Key {
    Key::new(Kind::Exporter, "lab", name)
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, EmbeddedOptions::default()).unwrap()
}

fn refusal(dir: &Path) -> StoreError {
    EmbeddedStore::open(dir, EmbeddedOptions::default()).unwrap_err()
}

async fn names(store: &EmbeddedStore) -> Vec<String> {
    let list = store.list(Kind::Exporter, "", ListOptions::default()).await.unwrap();
    list.items.iter().map(|item| item.name().to_owned()).collect()
}

#[tokio::test]
async fn a_transaction_happens_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.list(Kind::Exporter, "lab", ListOptions::default()).await.unwrap().resource_version;
    let refused = store
        .transact(vec![Write::Create(exporter("a")), Write::Delete(key("absent"), None), Write::Create(exporter("b"))])
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    assert!(names(&store).await.is_empty());
    // Nobody hears of what did not happen, and its version is not lost.
    let mut watch = store.watch(&Kind::ALL, before).await.unwrap();
    let created = store.transact(vec![Write::Create(exporter("c"))]).await.unwrap();
    assert_eq!(created[0].resource_version().0, before.0 + 1);
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Added(created[0].clone()));
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let created = store.transact(vec![Write::Create(exporter("a")), Write::Create(exporter("b"))]).await.unwrap();
    let mut watch = store.watch(&[Kind::Exporter], ResourceVersion::ZERO).await.unwrap();
    drop(store);
    // The watch outlives the store: it tells what it knows or says that it is over, and holds nothing open.
    while let Some(event) = watch.next().await {
        assert!(!matches!(event, Err(StoreError::Gone { .. })));
    }

    let store = open(dir.path());
    assert_eq!(store.get(&key("a")).await.unwrap().as_ref(), Some(&created[0]));
    let mut watch = store.watch(&[Kind::Exporter], created[0].resource_version()).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), Event::Added(created[1].clone()));
    let next = store.transact(vec![Write::Create(exporter("c"))]).await.unwrap();
    assert!(next[0].resource_version() > created[1].resource_version());
    assert!(next[0].uid() > created[1].uid(), "uids sort by creation");
    assert_eq!(store.integrity_check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn time_comes_from_the_clock_given() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::from_fn(|| "2031-02-03T04:05:06.789Z".parse().unwrap());
    let store = EmbeddedStore::open(dir.path(), EmbeddedOptions { clock, ..Default::default() }).unwrap();
    let created = store.transact(vec![Write::Create(exporter("a")), Write::Create(exporter("b"))]).await.unwrap();
    assert_eq!(created[0].value()["metadata"]["creationTimestamp"], "2031-02-03T04:05:06Z");
    assert!(created[0].uid() < created[1].uid(), "in one millisecond too");
}

#[tokio::test]
async fn old_and_future_versions_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { history: 100, ..Default::default() };
    let store = EmbeddedStore::open(dir.path(), options.clone()).unwrap();
    let mut slow = store.watch(&[Kind::Exporter], ResourceVersion::ZERO).await.unwrap();
    for round in 0..60 {
        let writes = (0..100).map(|number| Write::Create(exporter(&format!("e{round}-{number}")))).collect();
        store.transact(writes).await.unwrap();
    }
    // What is in memory still reaches back; after a restart only the file does.
    let recent = ResourceVersion(5_990);
    assert!(store.watch(&[Kind::Exporter], recent).await.is_ok());
    assert!(matches!(slow.next().await, Some(Err(StoreError::Gone { requested: 0, .. }))));
    assert!(slow.next().await.is_none(), "an error ends the watch");
    let token = store
        .list(Kind::Exporter, "lab", ListOptions { limit: Some(1), ..Default::default() })
        .await
        .unwrap()
        .continue_token;
    drop(store);

    let store = EmbeddedStore::open(dir.path(), options).unwrap();
    let old = store.watch(&[Kind::Exporter], ResourceVersion(1)).await.err().unwrap();
    assert!(matches!(old, StoreError::Gone { requested: 1, oldest } if oldest >= 5_000), "{old}");
    let future = store.watch(&[Kind::Exporter], ResourceVersion(1_000_000)).await.err().unwrap();
    assert!(matches!(future, StoreError::Gone { .. }), "{future}");
    let mut resumed = store.watch(&[Kind::Exporter], recent).await.unwrap();
    assert_eq!(resumed.next().await.unwrap().unwrap().resource_version().0, 5_991);

    // A page that began before history does is not continued.
    for round in 0..5 {
        let writes = (0..100).map(|number| Write::Create(exporter(&format!("f{round}-{number}")))).collect();
        store.transact(writes).await.unwrap();
    }
    let options = ListOptions { limit: Some(1), continue_token: token, ..Default::default() };
    let expired = store.list(Kind::Exporter, "lab", options).await.unwrap_err();
    assert!(matches!(expired, StoreError::Gone { .. }), "{expired}");
}

#[tokio::test]
async fn a_slow_watch_reads_on_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut slow = store.watch(&[Kind::Exporter], ResourceVersion::ZERO).await.unwrap();
    for round in 0..60 {
        let writes = (0..100).map(|number| Write::Create(exporter(&format!("e{round}-{number}")))).collect();
        store.transact(writes).await.unwrap();
    }
    for version in 1..=6_000 {
        assert_eq!(slow.next().await.unwrap().unwrap().resource_version().0, version);
    }
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = refusal(dir.path()).to_string();
    assert!(error.contains("in use by process") && error.contains(&std::process::id().to_string()), "{error}");
    drop(store);
    open(dir.path());
}

#[tokio::test]
async fn a_successor_can_wait_for_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let path = dir.path().to_owned();
    let successor = tokio::task::spawn_blocking(move || {
        let lock_patience = std::time::Duration::from_secs(30);
        EmbeddedStore::open(&path, EmbeddedOptions { lock_patience, ..Default::default() })
    });
    drop(store);
    successor.await.unwrap().unwrap();
}

#[tokio::test]
async fn files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    let store = open(&data);
    store.transact(vec![Write::Create(exporter("a"))]).await.unwrap();
    store.backup(&dir.path().join("backup")).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&dir.path().join("backup")), 0o600);
    let mut files = 0;
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3, "the store, its log and the lock");
}

#[test]
fn a_file_that_is_no_sound_store_is_refused_and_left_alone() {
    fn sqlite(path: &Path, script: &str) {
        rusqlite::Connection::open(path).unwrap().execute_batch(script).unwrap();
    }
    type Damage = fn(&Path);
    let cases: [(&str, Damage, &str); 6] = [
        ("empty", |path| fs::write(path, b"").unwrap(), "not a store file"),
        ("text", |path| fs::write(path, b"hello, this is not a database at all").unwrap(), "not a store file"),
        (
            "foreign",
            |path| sqlite(path, "PRAGMA application_id = 7; CREATE TABLE t (x)"),
            "not a store of this program",
        ),
        ("newer", |path| sqlite(path, "PRAGMA user_version = 99"), "newer than"),
        (
            "scribbled",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                let end = bytes.len();
                bytes[4096 + 8..end].fill(0xa5);
                fs::write(path, bytes).unwrap();
            },
            "",
        ),
        (
            "truncated",
            |path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            "",
        ),
    ];
    for (name, damage, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = open(dir.path()).path().to_owned();
        damage(&path);
        let damaged = fs::read(&path).unwrap();
        for _ in 0..2 {
            let error = refusal(dir.path());
            assert!(matches!(error, StoreError::Corrupt(_)), "{name}: {error}");
            let text = error.to_string();
            assert!(text.contains("restore a backup") && text.contains(expected), "{name}: {text}");
        }
        assert_eq!(fs::read(&path).unwrap(), damaged, "{name}: the file changed");
    }
}

#[test]
fn a_lost_file_is_not_replaced_by_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = open(dir.path()).path().to_owned();
    fs::rename(&path, dir.path().join("store.sqlite-wal")).unwrap();
    let error = refusal(dir.path()).to_string();
    assert!(error.contains("missing"), "{error}");
}

#[tokio::test]
async fn a_backup_is_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&dir.path().join("data")));
    store.transact((0..500).map(|number| Write::Create(exporter(&format!("e{number}")))).collect()).await.unwrap();
    let path = dir.path().join("backup.sqlite");
    // Writes go on meanwhile: the copy is of one moment, pairs whole.
    let writer = {
        let store = Arc::clone(&store);
        async move {
            for number in 0..50 {
                let pair = ["l", "r"].map(|side| Write::Create(exporter(&format!("{side}{number}"))));
                store.transact(pair.to_vec()).await.unwrap();
            }
        }
    };
    let (copied, ()) = futures::join!(store.backup(&path), writer);
    copied.unwrap();

    let exists = store.backup(&path).await.unwrap_err();
    assert!(matches!(&exists, StoreError::Invalid(text) if text.contains("exists already")), "{exists}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing but the store and the backup: {left:?}");

    let restored = dir.path().join("restored");
    fs::create_dir(&restored).unwrap();
    fs::copy(&path, restored.join("store.sqlite")).unwrap();
    let restored = open(&restored);
    let found = names(&restored).await;
    assert!(found.len() >= 500);
    let sides = |side| found.iter().filter(|name| name.starts_with(side)).count();
    assert_eq!(sides("l"), sides("r"));
    assert_eq!(restored.integrity_check().await.unwrap(), Vec::<String>::new());
    assert_eq!(restored.get(&key("e7")).await.unwrap(), store.get(&key("e7")).await.unwrap());
    // What the lost store said after the backup never happened here: its versions mean nothing.
    let before = store.list(Kind::Exporter, "lab", ListOptions::default()).await.unwrap().resource_version;
    let after = restored.transact(vec![Write::Create(exporter("after"))]).await.unwrap();
    assert!(after[0].resource_version() > before);
    let stale = restored.watch(&[Kind::Exporter], before).await.err().unwrap();
    assert!(matches!(stale, StoreError::Gone { .. }), "{stale}");
}

#[tokio::test]
async fn a_full_store_says_so_keeps_what_it_has_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { max_bytes: Some(1 << 20), history: 8, ..Default::default() };
    let store = EmbeddedStore::open(dir.path(), options).unwrap();
    let big = |name: &str| {
        let text = "x".repeat(50_000);
        object(Kind::ConfigMap, name, &json!({ "data": { "text": text } }))
    };
    let mut kept = 0;
    let error = loop {
        let pair = vec![Write::Create(big(&format!("a{kept}"))), Write::Create(exporter(&format!("b{kept}")))];
        match store.transact(pair).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100, "the limit holds");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(error.to_string().contains("nothing was written"), "{error}");
    assert_eq!(names(&store).await.len(), kept, "no half of the last pair");
    assert_eq!(store.get(&key(&format!("b{kept}"))).await.unwrap(), None);

    // A small transaction beside a large one goes through or fails on its own.
    let large = store.transact(vec![Write::Create(big("large"))]);
    let small = store.transact(vec![Write::Delete(Key::new(Kind::ConfigMap, "lab", "a0"), None)]);
    let (large, small) = futures::join!(large, small);
    assert!(matches!(large, Err(StoreError::Full(_))), "{large:?}");
    small.unwrap();
    for number in 1..kept {
        store
            .transact(vec![Write::Delete(Key::new(Kind::ConfigMap, "lab", format!("a{number}")), None)])
            .await
            .unwrap();
    }
    store.transact(vec![Write::Create(big("again"))]).await.unwrap();
    assert_eq!(store.integrity_check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_oversized_object_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let huge = object(Kind::ConfigMap, "huge", &json!({ "data": { "text": "x".repeat(1_600_000) } }));
    let refused = store.transact(vec![Write::Create(huge)]).await;
    assert!(matches!(&refused, Err(StoreError::Invalid(text)) if text.contains("bytes")), "{refused:?}");
}

#[tokio::test]
async fn ended_leases_go_when_their_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let clock = {
        let now = Arc::clone(&now);
        Clock::from_fn(move || Timestamp::from_second(now.load(Ordering::Relaxed)).unwrap())
    };
    let store = EmbeddedStore::open(dir.path(), EmbeddedOptions { clock, ..Default::default() }).unwrap();
    let lease = |name: &str, status: Value| object(Kind::Lease, name, &json!({ "spec": {}, "status": status }));
    let mut writes: Vec<Write> = (0..450)
        .map(|number| {
            Write::Create(lease(&format!("old{number}"), json!({ "ended": true, "endTime": "2026-01-01T00:00:00Z" })))
        })
        .collect();
    writes.push(Write::Create(lease("recent", json!({ "ended": true, "endTime": "2026-01-03T00:00:00Z" }))));
    writes.push(Write::Create(lease("running", json!({ "ended": false, "beginTime": "2025-01-01T00:00:00Z" }))));
    writes.push(Write::Create(lease("timeless", json!({ "ended": true }))));
    store.transact(writes).await.unwrap();
    assert_eq!(store.prune_ended("2026-01-02T00:00:00Z".parse().unwrap()).await.unwrap(), 451);
    let left = store.list(Kind::Lease, "lab", ListOptions::default()).await.unwrap();
    let left: Vec<_> = left.items.iter().map(Object::name).collect();
    assert_eq!(left, ["recent", "running"]);
}

#[tokio::test]
async fn damage_inside_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.transact(vec![Write::Create(exporter("a")), Write::Create(exporter("b"))]).await.unwrap();
    let path = store.path().to_owned();
    drop(store);
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE obj SET body = '{}' WHERE name = 'a'; UPDATE obj SET rv = 77 WHERE name = 'b'")
        .unwrap();
    let store = open(dir.path());
    let faults = store.integrity_check().await.unwrap();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(matches!(store.get(&key("a")).await, Err(StoreError::Corrupt(_))));
}
