//! Events about objects, as kubectl shows them.

use std::time::Duration;

use jumpstarter_store::{EventKind, EventRecorder, ObjectEvent};
use jumpstarter_store_kubernetes::{EventWriter, KubernetesEvents, KubernetesMetrics};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Lab, PATIENCE, create, within};

fn recorder(lab: &Lab, registry: &mut Registry) -> (std::sync::Arc<KubernetesEvents>, EventWriter) {
    let metrics = KubernetesMetrics::register(registry);
    KubernetesEvents::new(lab.server.admin(), lab.namespace.as_str(), "pod-1", metrics)
}

fn events(lab: &Lab) -> Vec<Value> {
    let text = lab.server.kubectl(&["get", "events", "-n", &lab.namespace, "-o", "json"]);
    serde_json::from_str::<Value>(&text).unwrap()["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_appear_where_people_look_and_count_up() {
    let lab = Lab::new(|_| {}).await;
    let exporter = create(&lab.store, lab.exporter("a")).await;
    let mut registry = Registry::default();
    let (recorder, writer) = recorder(&lab, &mut registry);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run(stop.clone()));

    let online = ObjectEvent::new(&exporter, EventKind::Normal, "exporter-controller", "ExporterOnline", "a is online");
    for _ in 0..3 {
        recorder.record(online.clone());
    }
    let long = "lost ".repeat(1000);
    recorder.record(ObjectEvent::new(&exporter, EventKind::Warning, "exporter-controller", "ExporterOffline", long));
    // What was recorded before the end is written.
    within(async {
        while !text(&registry).contains("outcome=\"created\"} 2") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    stop.cancel();
    within(tasks.join_all()).await;

    let all = events(&lab);
    assert_eq!(all.len(), 2, "{all:?}");
    let online = all.iter().find(|event| event["reason"] == "ExporterOnline").unwrap();
    assert_eq!(
        (&online["count"], &online["type"], &online["message"]),
        (&3.into(), &"Normal".into(), &"a is online".into())
    );
    assert_eq!(
        (&online["source"]["component"], &online["source"]["host"]),
        (&"exporter-controller".into(), &"pod-1".into())
    );
    assert_eq!(online["reportingComponent"], "exporter-controller");
    assert_eq!(online["reportingInstance"], "pod-1");
    let involved = &online["involvedObject"];
    assert_eq!((&involved["apiVersion"], &involved["kind"]), (&"jumpstarter.dev/v1alpha1".into(), &"Exporter".into()));
    assert_eq!((&involved["name"], &involved["uid"]), (&"a".into(), &exporter.uid().into()));
    assert_eq!(involved["resourceVersion"], exporter.resource_version().to_string());
    assert!(online["firstTimestamp"].is_string() && online["lastTimestamp"].is_string());
    let offline = all.iter().find(|event| event["reason"] == "ExporterOffline").unwrap();
    assert_eq!((&offline["type"], offline["message"].as_str().unwrap().len()), (&"Warning".into(), 1024));

    let described = lab.server.kubectl(&["describe", "exporter", "-n", &lab.namespace, "a"]);
    assert!(described.contains("ExporterOnline") && described.contains("(x3 over"), "{described}");
}

/// Nobody writes, and nobody waits: what does not fit is dropped and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_drops_and_counts() {
    let lab = Lab::new(|_| {}).await;
    let exporter = create(&lab.store, lab.exporter("a")).await;
    let mut registry = Registry::default();
    let (recorder, _writer) = recorder(&lab, &mut registry);
    for number in 0..1030 {
        recorder.record(ObjectEvent::new(&exporter, EventKind::Normal, "c", "Many", number.to_string()));
    }
    let text = text(&registry);
    assert!(text.contains("jumpstarter_kubernetes_events_total{outcome=\"dropped\"} 6\n"), "{text}");
}

/// A cluster that forbids Events costs the events and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_permission_events_are_lost_and_nothing_else() {
    let lab = Lab::new(|_| {}).await;
    let exporter = create(&lab.store, lab.exporter("a")).await;
    let token = lab.server.service_account(&lab.namespace, "nobody").await;
    let mut registry = Registry::default();
    let metrics = KubernetesMetrics::register(&mut registry);
    let client = lab.server.client(Some(&token));
    let (recorder, writer) = KubernetesEvents::new(client, lab.namespace.as_str(), "pod-1", metrics);
    recorder.record(ObjectEvent::new(&exporter, EventKind::Normal, "c", "One", "one"));
    drop(recorder);
    tokio::time::timeout(PATIENCE, writer.run(CancellationToken::new())).await.expect("it ends with its recorder");
    let text = text(&registry);
    assert!(text.contains("jumpstarter_kubernetes_events_total{outcome=\"failed\"} 1\n"), "{text}");
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}
