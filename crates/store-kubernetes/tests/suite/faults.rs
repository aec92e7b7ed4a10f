//! An API server in trouble: slow, refusing, gone.

use std::time::{Duration, Instant};

use jumpstarter_kube_testkit::{Rule, Then};
use jumpstarter_store::{Kind, ListOptions, Store, StoreError, Write};
use serde_json::json;

use crate::{Lab, create, describe, edit, mentions, next, one, watch, with_endpoint, within};

fn status(code: u16) -> Then {
    Then::Status { code, retry_after: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_to_slow_down_is_obeyed() {
    let lab = Lab::new(|_| {}).await;
    let throttled = Then::Status { code: 429, retry_after: Some(1) };
    lab.proxy.add(Rule::path("/exporters", throttled).times(2));
    let started = Instant::now();
    create(&lab.store, lab.exporter("a")).await;
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(lab.proxy.seen().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_stops_asking_makes_the_store_unavailable() {
    let lab = Lab::new(|options| options.request_timeout = Duration::from_secs(2)).await;
    lab.proxy.add(Rule::every(Then::Status { code: 429, retry_after: Some(1) }));
    let refused = one(&lab.store, Write::Create(lab.exporter("a"))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    mentions(&refused, &["create exporters.jumpstarter.dev", "slow down"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_the_server_fails_is_of_unknown_outcome_and_not_repeated() {
    let lab = Lab::new(|_| {}).await;
    lab.proxy.add(Rule::path("/exporters", status(500)).writes());
    let failed = one(&lab.store, Write::Create(lab.exporter("a"))).await.unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable(_)), "{failed:?}");
    mentions(&failed, &["create exporters.jumpstarter.dev", "500"]);
    assert_eq!(lab.proxy.seen().len(), 1);
    lab.proxy.clear();
    create(&lab.store, lab.exporter("a")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_repeated() {
    let lab = Lab::new(|_| {}).await;
    let stored = create(&lab.other, lab.exporter("a")).await;
    lab.proxy.add(Rule::path("/exporters", status(500)).times(2));
    assert_eq!(within(lab.store.get(stored.key())).await.unwrap(), Some(stored));
    lab.proxy.add(Rule::path("/exporters", status(503)).times(2));
    let list = within(lab.store.list(Kind::Exporter, "", ListOptions::default())).await.unwrap();
    assert_eq!(list.items.len(), 1);
    lab.proxy.add(Rule::path("/exporters", status(500)));
    let failed = within(lab.store.list(Kind::Exporter, "", ListOptions::default())).await.unwrap_err();
    mentions(&failed, &["list exporters.jumpstarter.dev", "500"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_of_unconditional_writes_are_overcome_and_others_told() {
    let lab = Lab::new(|_| {}).await;
    let stored = create(&lab.store, lab.exporter("a")).await;
    lab.proxy.add(Rule::path("/status", status(409)).times(3));
    let write = with_endpoint(&stored, "x").unconditional();
    let written = one(&lab.store, Write::UpdateStatus(write)).await.unwrap();
    assert_eq!(written.value()["status"]["endpoint"], "x");
    lab.proxy.add(Rule::path("/status", status(409)).times(1));
    let refused = one(&lab.store, Write::UpdateStatus(with_endpoint(&written, "y"))).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_hangs_comes_to_an_end() {
    let lab = Lab::new(|options| options.request_timeout = Duration::from_secs(2)).await;
    lab.proxy.add(Rule::every(Then::Hang));
    let started = Instant::now();
    let failed = one(&lab.store, Write::Create(lab.exporter("a"))).await.unwrap_err();
    mentions(&failed, &["create exporters.jumpstarter.dev", "no answer within"]);
    let failed = within(lab.store.get(&lab.key("a"))).await.unwrap_err();
    mentions(&failed, &["get exporters.jumpstarter.dev"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // A read that hangs once does not use up its time.
    lab.proxy.clear();
    lab.proxy.add(Rule::every(Then::Hang).times(1));
    assert_eq!(within(lab.store.get(&lab.key("a"))).await.unwrap(), None);
}

/// The write was made and nobody heard: the writer is told that it may have been, and finds out by looking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_leaves_the_outcome_unknown() {
    let lab = Lab::new(|options| options.request_timeout = Duration::from_secs(1)).await;
    lab.proxy.add(Rule::path("/exporters", Then::LoseAnswer).writes().times(1));
    let lost = one(&lab.store, Write::Create(lab.exporter("a"))).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    let again = one(&lab.store, Write::Create(lab.exporter("a"))).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_outlasts_a_server_that_refuses_for_a_while() {
    let lab = Lab::new(|_| {}).await;
    let mut stream = watch(&lab.store).await;
    for then in [status(500), status(429), status(410), status(503), Then::Hang] {
        lab.proxy.add(Rule::path("watch=", then).times(2));
    }
    lab.proxy.cut();
    // The one that hangs takes the whole request timeout, twice; the reader sees none of it.
    for name in ["a", "b"] {
        create(&lab.other, lab.exporter(name)).await;
        assert_eq!(describe(&next(&mut stream).await), format!("+{name}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_schema_refuses_is_invalid_in_the_servers_words() {
    let lab = Lab::new(|_| {}).await;
    let lease = crate::object(json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease",
        "metadata": { "name": "l", "namespace": lab.namespace },
        "spec": { "clientRef": { "name": "c" }, "exporterRef": { "name": "e" }, "tags": { "a": "b" } },
    }));
    let aimless = edit(&lease, |value| value["spec"] = json!({ "clientRef": { "name": "c" } }));
    let refused = one(&lab.store, Write::Create(aimless)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
    mentions(&refused, &["one of selector or exporterRef.name is required"]);
    let stored = create(&lab.store, lease).await;
    let retagged = edit(&stored, |value| value["spec"]["tags"] = json!({ "a": "c" }));
    mentions(&one(&lab.store, Write::Update(retagged)).await.unwrap_err(), &["tags are immutable after creation"]);
    let crooked = edit(&stored, |value| value["status"] = json!({ "ended": "yes" }));
    let refused = one(&lab.store, Write::UpdateStatus(crooked)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
    mentions(&refused, &["status.ended"]);
}
