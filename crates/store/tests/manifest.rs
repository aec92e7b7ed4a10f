//! Export and import: what goes out comes back, and nothing half comes in.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use jumpstarter_store::{
    EmbeddedOptions, EmbeddedStore, Key, Kind, ListOptions, Object, Store, Write, manifest::ImportError,
};
use serde_json::{Value, json};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open() -> (EmbeddedStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).unwrap(), dir)
}

async fn export(store: &EmbeddedStore) -> String {
    let buffer = Buffer::default();
    store.export(buffer.clone()).await.unwrap();
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

async fn import(store: &EmbeddedStore, text: &str) -> Result<String, ImportError> {
    store.import(io::Cursor::new(text.to_owned()), "lab").await.map(|report| report.to_string())
}

async fn everything(store: &EmbeddedStore) -> Vec<Object> {
    let mut objects = Vec::new();
    for kind in Kind::ALL {
        objects.extend(store.list(kind, "", ListOptions::default()).await.unwrap().items);
    }
    objects
}

fn lab() -> Vec<Write> {
    let values = [
        json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease",
            "metadata": { "name": "running", "namespace": "lab", "labels": { "board": "x" } },
            "spec": { "clientRef": { "name": "alice" }, "selector": { "matchLabels": { "board": "x" } },
                "duration": "1h0m0s", "tags": { "ci": "yes", "n": "1e3" }, "beginTime": "2026-01-02T03:04:05Z" },
            "status": { "ended": false, "exporterRef": { "name": "rack-1" }, "beginTime": "2026-01-02T03:04:05Z",
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready", "message": "",
                    "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1 }] } }),
        json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "ExporterAccessPolicy",
            "metadata": { "name": "default", "namespace": "lab" },
            "spec": { "exporterSelector": { "matchLabels": { "board": "x" } },
                "policies": [{ "priority": -5, "from": [{ "clientSelector": {} }], "maximumDuration": "8h0m0s" }] } }),
        json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "LeaseQuota",
            "metadata": { "name": "teams", "namespace": "lab" },
            "spec": { "clientSelector": { "matchLabels": { "team": "a" } }, "maxDevices": 3,
                "maxDeviceTime": "20h0m0s", "period": "168h0m0s", "accountBy": "Label", "accountLabel": "team" } }),
        json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "MaintenanceWindow",
            "metadata": { "name": "sundays", "namespace": "lab" },
            "spec": { "exporterSelector": { "matchLabels": { "board": "x" } }, "schedule": "0 2 * * 0",
                "duration": "2h0m0s", "timeZone": "Europe/Berlin" } }),
        json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter",
            "metadata": { "name": "rack-1", "namespace": "lab", "labels": { "board": "x", "on": "off" } },
            "spec": { "enabled": true },
            "status": { "leaseRef": { "name": "running" }, "credential": { "name": "rack-1-exporter" },
                "devices": [{ "uuid": "u", "labels": { "jumpstarter.dev/name": "root" } }] } }),
        json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Client",
            "metadata": { "name": "alice", "namespace": "lab", "annotations": { "note": "multi\nline: yes\n" } },
            "spec": { "username": "dex:alice" }, "status": { "credential": { "name": "alice-client" } } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "cfg", "namespace": "lab" },
            "data": { "config": "a: 1\n---\nb: 0x10\n", "empty": "", "null": "~", "date": "2026-01-02" } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "name": "alice-client", "namespace": "lab" },
            "data": { "token": "YWJj".repeat(300) } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "name": "rack-1-exporter", "namespace": "lab" }, "data": { "token": "YWJj" } }),
    ];
    values.into_iter().map(|value| Write::Create(Object::from_value(value).unwrap())).collect()
}

/// What must survive: everything but what a store says of an object.
fn essence(object: &Object) -> Value {
    let mut value = object.value().clone();
    let metadata = value["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "ownerReferences"] {
        metadata.shift_remove(field);
    }
    for annotation in ["jumpstarter.dev/migrated-uid", "jumpstarter.dev/migrated-namespace"] {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(annotation);
        }
    }
    if metadata.get("annotations").is_some_and(|annotations| annotations == &json!({})) {
        metadata.shift_remove("annotations");
    }
    value
}

#[tokio::test]
async fn a_lab_moves_whole() {
    let (old, _old_dir) = open();
    old.transact(lab()).await.unwrap();
    let text = export(&old).await;
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    let wanted = ["Secret", "Secret", "ConfigMap", "Client", "Exporter", "ExporterAccessPolicy"];
    assert_eq!(kinds, [&wanted[..], &["LeaseQuota", "MaintenanceWindow", "Lease"]].concat());
    for absent in ["resourceVersion", "creationTimestamp", "ownerReferences", "\n  uid:"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }

    // What an API server drops travels in an annotation too.
    let documents: Vec<&str> = text.split("\n---\n").collect();
    for document in documents {
        let carried = document.contains("\n    jumpstarter.dev/migrated-status: ");
        assert_eq!(carried, document.contains("kind: Lease\n") || document.contains("kind: Exporter\n"), "{document}");
    }

    let (new, _new_dir) = open();
    let report = import(&new, &text).await.unwrap();
    assert_eq!(
        report,
        "2 secrets, 1 configmaps, 1 clients, 1 exporters, 1 exporteraccesspolicies, 1 leasequotas, \
         1 maintenancewindows, 1 leases"
    );
    let essences = |objects: &[Object]| objects.iter().map(essence).collect::<Vec<_>>();
    let (was, is) = (everything(&old).await, everything(&new).await);
    assert_eq!(essences(&is), essences(&was));

    // Tokens stay valid: the identity that they name is carried, also through a second move.
    let alice = Key::new(Kind::Client, "lab", "alice");
    let uid = old.get(&alice).await.unwrap().unwrap().uid().to_owned();
    let moved = new.get(&alice).await.unwrap().unwrap();
    assert_ne!(moved.uid(), uid);
    assert_eq!(moved.annotations()["jumpstarter.dev/migrated-uid"], uid);
    assert_eq!(moved.annotations()["jumpstarter.dev/migrated-namespace"], "lab");
    let again = export(&new).await;
    assert_eq!(again, text);

    // Owners are found again: with the exporter go its credential and its lease.
    new.transact(vec![Write::Delete(Key::new(Kind::Exporter, "lab", "rack-1"), None)]).await.unwrap();
    assert_eq!(new.get(&Key::new(Kind::Secret, "lab", "rack-1-exporter")).await.unwrap(), None);
    assert_eq!(new.get(&Key::new(Kind::Lease, "lab", "running")).await.unwrap(), None);
    assert!(new.get(&Key::new(Kind::Secret, "lab", "alice-client")).await.unwrap().is_some());
    assert_eq!(new.integrity_check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn every_fault_is_told_at_once_and_nothing_is_written() {
    let (store, _dir) = open();
    let text = r#"
apiVersion: jumpstarter.dev/v1alpha1
kind: Client
metadata: { name: fine }
---
apiVersion: jumpstarter.dev/v1alpha1
kind: Exporter
metadata: { name: typo }
spec: { enabeld: true, username: 7 }
---
# only a comment
---
apiVersion: jumpstarter.dev/v1alpha1
kind: Lease
metadata: { name: Bad_Name }
spec: { clientRef: { name: c }, duration: soon }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
---
apiVersion: v1
kind: Secret
metadata: { name: s }
data: { token: "not base64!" }
---
apiVersion: jumpstarter.dev/v1alpha1
kind: Client
metadata: { name: fine }
---
this: [is not
"#;
    let error = import(&store, text).await.unwrap_err();
    let ImportError::Faults(faults) = &error else { panic!("{error}") };
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let expected = [
        "document 2 (Exporter typo): unknown field \"spec.enabeld\"",
        "document 2 (Exporter typo): spec.username: Invalid value: \"number\": must be of type string",
        "document 3 (Lease Bad_Name): metadata.name: Invalid value: \"Bad_Name\"",
        "document 3 (Lease Bad_Name): spec.duration: Invalid value: \"soon\"",
        "document 3 (Lease Bad_Name): spec: Invalid value: \"object\": one of selector or exporterRef.name is required",
        "document 4 (Deployment web): apiVersion `apps/v1`, kind `Deployment` cannot be imported",
        "document 5 (Secret s): data",
        "document 6 (Client fine): the same object is in document 1",
        "document 7: ",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told} is not {expected}");
    }
    assert!(error.to_string().starts_with("nothing was imported, 9 faults to correct"), "{error}");
    assert!(everything(&store).await.is_empty());
}

#[tokio::test]
async fn a_quota_that_makes_no_sense_is_refused_with_every_reason() {
    let (store, _dir) = open();
    let text = r"
apiVersion: jumpstarter.dev/v1alpha1
kind: LeaseQuota
metadata: { name: q }
spec: { maxDevices: -1, maxWaiting: -2, weight: -3, period: 1s, accountBy: Label }
---
apiVersion: jumpstarter.dev/v1alpha1
kind: LeaseQuota
metadata: { name: r }
spec: { maxDeviceTime: long, period: 1h, accountBy: Team }
---
apiVersion: jumpstarter.dev/v1alpha1
kind: LeaseQuota
metadata: { name: s }
";
    let ImportError::Faults(faults) = import(&store, text).await.unwrap_err() else { panic!("no faults") };
    let told = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for expected in [
        "document 1 (LeaseQuota q): spec: Invalid value: \"object\": maxDevices must not be negative",
        "maxWaiting must not be negative",
        "weight must be from 1 to 1000",
        "maxDeviceTime and period go together",
        "period must be from 1m to 744h (31 days)",
        "accountLabel goes with accountBy: Label",
        "document 2 (LeaseQuota r): spec.",
        "document 3 (LeaseQuota s): spec: Invalid value: \"object\": one of maxDevices, maxDeviceTime, maxWaiting and \
         weight is required",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
}

#[tokio::test]
async fn what_exists_is_not_overwritten() {
    let (store, _dir) = open();
    let text = "apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\nmetadata: { name: NAME }\n";
    import(&store, &text.replace("NAME", "a")).await.unwrap();
    let both = format!("{}---\n{}", text.replace("NAME", "b"), text.replace("NAME", "a"));
    let error = import(&store, &both).await.unwrap_err().to_string();
    assert!(error.contains("document 2 (Client a): it exists already"), "{error}");
    assert_eq!(everything(&store).await.len(), 1);
}

/// What `kubectl get -o yaml` prints can be imported as it is.
#[tokio::test]
async fn a_list_from_a_cluster_is_taken() {
    let (store, _dir) = open();
    let text = r#"
apiVersion: v1
kind: List
metadata: { resourceVersion: "" }
items:
- apiVersion: jumpstarter.dev/v1alpha1
  kind: Client
  metadata:
    name: alice
    namespace: lab-a
    uid: 0d3e0b3c-0000-4000-8000-000000000001
    resourceVersion: "12345"
    generation: 3
    creationTimestamp: "2025-01-02T03:04:05Z"
    managedFields: [{ manager: kubectl, operation: Apply }]
  spec: {}
- apiVersion: v1
  kind: Secret
  metadata:
    name: alice-client
    namespace: lab-a
    ownerReferences:
    - { apiVersion: jumpstarter.dev/v1alpha1, kind: Client, name: alice, uid: 0d3e0b3c-0000-4000-8000-000000000001 }
  type: Opaque
  data: { token: YWJj }
"#;
    import(&store, text).await.unwrap();
    let alice = store.get(&Key::new(Kind::Client, "lab-a", "alice")).await.unwrap().unwrap();
    assert_eq!(alice.annotations()["jumpstarter.dev/migrated-uid"], "0d3e0b3c-0000-4000-8000-000000000001");
    assert_eq!(alice.annotations()["jumpstarter.dev/migrated-namespace"], "lab-a");
    assert_eq!(alice.generation(), 1);
}

#[tokio::test]
async fn nothing_is_an_import_too() {
    let (store, _dir) = open();
    for text in ["", "---\n---\n", "# nothing\n"] {
        assert_eq!(import(&store, text).await.unwrap(), "nothing");
    }
}
