//! Writes: which requests they make, and what remains of half a write.

use http::Method;
use jumpstarter_kube_testkit::{Rule, Then};
use jumpstarter_store::{Key, Kind, ListOptions, Store, StoreError, Write};
use serde_json::{Value, json};

use crate::{Lab, create, describe, edit, exporter, next, one, watch, with_endpoint, within};

/// Method and last part of the path of each request that changed something.
fn changes(lab: &Lab) -> Vec<String> {
    let seen = lab.proxy.seen().into_iter().filter(|seen| seen.method != Method::GET);
    seen.map(|seen| {
        let path = seen.uri.split('?').next().unwrap_or_default().to_owned();
        format!("{} {}", seen.method, path.rsplit('/').next().unwrap_or_default())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_half_is_written_by_its_own_request() {
    let lab = Lab::new(|_| {}).await;
    let stored = create(&lab.store, with_endpoint(&lab.exporter("a"), "x")).await;
    assert_eq!(changes(&lab), ["POST exporters", "PUT status"]);

    lab.proxy.forget_seen();
    let stored = one(&lab.store, Write::UpdateStatus(with_endpoint(&stored, "y"))).await.unwrap();
    assert_eq!(changes(&lab), ["PUT status"]);

    lab.proxy.forget_seen();
    let relabelled = edit(&stored, |value| value["metadata"]["labels"] = json!({ "board": "x" }));
    let stored = one(&lab.store, Write::Update(relabelled)).await.unwrap();
    assert_eq!(changes(&lab), ["PUT a"]);

    lab.proxy.forget_seen();
    let both = edit(&with_endpoint(&stored, "z"), |value| value["spec"]["enabled"] = json!(false));
    one(&lab.store, Write::Replace(both)).await.unwrap();
    assert_eq!(changes(&lab), ["PUT status", "PUT a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_written_in_one_name() {
    let lab = Lab::new(|_| {}).await;
    let stored = create(&lab.store, with_endpoint(&lab.exporter("a"), "x")).await;
    let both = edit(&with_endpoint(&stored, "y"), |value| value["metadata"]["labels"] = json!({ "board": "x" }));
    one(&lab.store, Write::Replace(both)).await.unwrap();
    let namespace = lab.namespace.as_str();
    let text = lab.server.kubectl(&["get", "-n", namespace, "exporter", "a", "-o", "json", "--show-managed-fields"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    let managers: Vec<(&str, &str)> = value["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["manager"].as_str().unwrap(), entry["subresource"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(managers.len(), 2, "{managers:?}");
    for part in ["", "status"] {
        assert!(managers.contains(&("jumpstarter-controller", part)), "{managers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_nothing_is_not_sent() {
    let lab = Lab::new(|_| {}).await;
    let mut stream = watch(&lab.store).await;
    let stored = create(&lab.store, with_endpoint(&lab.exporter("a"), "x")).await;
    assert_eq!(describe(&next(&mut stream).await), "+a");
    assert_eq!(describe(&next(&mut stream).await), "~a");
    lab.proxy.forget_seen();
    for write in [Write::Update, Write::UpdateStatus, Write::Replace] {
        assert_eq!(one(&lab.store, write(stored.clone())).await.unwrap(), stored);
        assert_eq!(one(&lab.store, write(stored.clone().unconditional())).await.unwrap(), stored);
    }
    assert_eq!(changes(&lab), Vec::<String>::new());
    let other = one(&lab.store, Write::Replace(with_endpoint(&stored, "y"))).await.unwrap();
    assert_eq!(changes(&lab), ["PUT status"], "the half that changes, and no other");
    assert_eq!(other.value()["status"]["endpoint"], "y");
}

/// The status comes first: a lease that says that it has ended can be finished by anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_replace_is_the_half_that_can_be_finished() {
    let lab = Lab::new(|_| {}).await;
    let stored = create(&lab.store, lab.exporter("a")).await;
    let both = edit(&with_endpoint(&stored, "x"), |value| value["metadata"]["labels"] = json!({ "board": "x" }));
    lab.proxy.add(Rule::path("/exporters/a?", Then::Status { code: 500, retry_after: None }).writes().times(1));
    let failed = one(&lab.store, Write::Replace(both.clone())).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    let half = within(lab.other.get(stored.key())).await.unwrap().unwrap();
    assert_eq!((&half.value()["status"]["endpoint"], half.label("board")), (&json!("x"), None));
    // Whoever still thinks of the old state is told, and who reads again finishes.
    let stale = one(&lab.store, Write::Replace(both.clone())).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    let whole = one(&lab.store, Write::Replace(both.unconditional())).await.unwrap();
    assert_eq!(whole.label("board"), Some("x"));
}

/// A transaction stops at the first failure, and what came before remains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_makes_a_prefix() {
    let lab = Lab::new(|_| {}).await;
    let stored = create(&lab.store, lab.exporter("a")).await;
    let claim = with_endpoint(&stored, "x");
    let writes =
        vec![Write::UpdateStatus(claim.clone()), Write::UpdateStatus(claim), Write::Create(lab.exporter("never"))];
    let refused = within(lab.store.transact(writes)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let list = within(lab.store.list(Kind::Exporter, "", ListOptions::default())).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].value()["status"]["endpoint"], "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finalizers_of_others_stay() {
    let lab = Lab::new(|_| {}).await;
    create(&lab.store, lab.exporter("a")).await;
    let namespace = lab.namespace.as_str();
    let patch = json!({ "metadata": { "finalizers": ["example.com/wait"] } }).to_string();
    let _ = lab.server.kubectl(&["patch", "-n", namespace, "exporter", "a", "--type=merge", "-p", &patch]);
    let disabled = edit(&lab.exporter("a"), |value| value["spec"]["enabled"] = json!(false));
    let written = one(&lab.store, Write::Update(disabled)).await.unwrap();
    assert_eq!(written.value()["metadata"]["finalizers"], json!(["example.com/wait"]));
    let again = edit(&written, |value| value["spec"]["enabled"] = json!(true));
    let written = one(&lab.store, Write::Update(again)).await.unwrap();
    assert_eq!(written.value()["metadata"]["finalizers"], json!(["example.com/wait"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_for_what_is_gone_is_not_found() {
    let lab = Lab::new(|_| {}).await;
    let stored = create(&lab.store, lab.exporter("a")).await;
    one(&lab.other, Write::Delete(lab.key("a"), None)).await.unwrap();
    for write in [Write::Update, Write::UpdateStatus, Write::Replace] {
        let refused = one(&lab.store, write(with_endpoint(&stored, "x"))).await;
        assert!(matches!(&refused, Err(StoreError::NotFound(key)) if key == stored.key()), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_namespace_and_only_names_exist() {
    let lab = Lab::new(|_| {}).await;
    create(&lab.store, lab.exporter("a")).await;
    lab.proxy.forget_seen();
    let elsewhere = one(&lab.store, Write::Create(exporter("default", "a"))).await;
    assert!(matches!(elsewhere, Err(StoreError::Invalid(_))), "{elsewhere:?}");
    assert_eq!(within(lab.store.get(&Key::new(Kind::Exporter, "default", "a"))).await.unwrap(), None);
    for name in ["", "..", "a/status", "a?watch=1", "A", "a%2f"] {
        assert_eq!(within(lab.store.get(&lab.key(name))).await.unwrap(), None, "{name}");
        let absent = one(&lab.store, Write::Delete(lab.key(name), None)).await;
        assert!(matches!(absent, Err(StoreError::NotFound(_))), "{name}: {absent:?}");
    }
    assert_eq!(lab.proxy.seen(), []);
    let crooked = one(&lab.store, Write::Create(lab.exporter("a/b"))).await;
    assert!(matches!(crooked, Err(StoreError::Invalid(_))), "{crooked:?}");
}
