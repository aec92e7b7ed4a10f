//! Writes: identity, halves, versions, conditions, owners.

use std::sync::Arc;

use jumpstarter_model::Exporter;
use serde_json::{Value, json};

use super::{core, create, edit, exporter, get, gone, lease, one, with_status, within};
use crate::{Key, Kind, Object, Precondition, ResourceVersion, Store, StoreError, Write};

/// `uid`, `creationTimestamp` in whole seconds, version, generation 1; the status given is kept.
pub async fn a_new_object_gets_an_identity(store: Arc<dyn Store>, namespace: String) {
    let new = with_status(&exporter(&namespace, "a"), json!({ "endpoint": "x" }));
    let stored = create(&*store, new).await;
    assert!(!stored.uid().is_empty());
    assert_ne!(stored.resource_version(), ResourceVersion::ZERO);
    assert_eq!(stored.generation(), 1);
    let created = stored.value()["metadata"]["creationTimestamp"].as_str().expect("a time").to_owned();
    assert!(created.ends_with('Z') && created.len() == "2026-01-02T03:04:05Z".len(), "{created}");
    assert_eq!(get(&*store, stored.key()).await, Some(stored.clone()));
    let typed: Exporter = stored.decode().expect("an exporter");
    assert_eq!(typed.status.expect("a status").endpoint.as_deref(), Some("x"));
}

/// A second object of the name is refused, and the first is left alone.
pub async fn a_name_is_taken_once(store: Arc<dyn Store>, namespace: String) {
    let first = create(&*store, exporter(&namespace, "a")).await;
    let second = one(&*store, Write::Create(exporter(&namespace, "a"))).await;
    assert!(matches!(second, Err(StoreError::AlreadyExists(_))), "{second:?}");
    assert_eq!(get(&*store, first.key()).await, Some(first));
    create(&*store, core(Kind::Secret, &namespace, "a", &json!({}))).await;
}

/// `generateName` gives each object another name.
pub async fn names_are_generated(store: Arc<dyn Store>, namespace: String) {
    let nameless = edit(&exporter(&namespace, ""), |value| {
        value["metadata"] = json!({ "generateName": "rack-", "namespace": namespace });
    });
    let first = create(&*store, nameless.clone()).await;
    let second = create(&*store, nameless).await;
    assert!(first.name().starts_with("rack-") && first.name().len() > "rack-".len(), "{}", first.name());
    assert_ne!(first.name(), second.name());
    let neither = edit(&exporter(&namespace, ""), |value| value["metadata"] = json!({ "namespace": namespace }));
    let refused = one(&*store, Write::Create(neither)).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
}

/// A create with a `resourceVersion` is a mistake.
pub async fn a_version_is_no_part_of_a_new_object(store: Arc<dyn Store>, namespace: String) {
    let new = edit(&exporter(&namespace, "a"), |value| value["metadata"]["resourceVersion"] = json!("1"));
    let refused = one(&*store, Write::Create(new)).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
}

/// `Update` leaves the status, `UpdateStatus` leaves the rest, and only a new spec makes a new generation.
pub async fn desired_and_observed_are_written_apart(store: Arc<dyn Store>, namespace: String) {
    let stored = create(&*store, exporter(&namespace, "a")).await;
    let both = edit(&stored, |value| {
        value["metadata"]["labels"] = json!({ "board": "x" });
        value["spec"]["enabled"] = json!(false);
        value["status"] = json!({ "endpoint": "x" });
    });

    let observed = one(&*store, Write::UpdateStatus(both.clone().unconditional())).await.expect("update status");
    assert_eq!(observed.value()["status"]["endpoint"], "x");
    assert_eq!(observed.value()["spec"]["enabled"], true);
    assert_eq!(observed.label("board"), None);
    assert_eq!(observed.generation(), 1);
    assert!(observed.resource_version() > stored.resource_version());

    let other = with_status(&both, json!({ "endpoint": "y" })).unconditional();
    let desired = one(&*store, Write::Update(other)).await.expect("update");
    assert_eq!(desired.value()["status"]["endpoint"], "x");
    assert_eq!(desired.value()["spec"]["enabled"], false);
    assert_eq!(desired.label("board"), Some("x"));
    assert_eq!(desired.generation(), 2);

    let relabelled = edit(&desired, |value| value["metadata"]["labels"] = json!({}));
    let relabelled = one(&*store, Write::Update(relabelled)).await.expect("update labels");
    assert_eq!(relabelled.label("board"), None);
    assert_eq!(relabelled.generation(), 2);
    assert_eq!(get(&*store, stored.key()).await, Some(relabelled));
}

/// `Replace` takes everything that is a writer's.
pub async fn a_replace_writes_both_halves(store: Arc<dyn Store>, namespace: String) {
    let stored = create(&*store, exporter(&namespace, "a")).await;
    let next = edit(&stored, |value| {
        value["metadata"]["annotations"] = json!({ "note": "n" });
        value["spec"] = json!({ "username": "u", "enabled": true });
        value["status"] = json!({ "endpoint": "e" });
    });
    let replaced = one(&*store, Write::Replace(next.clone())).await.expect("replace");
    for field in ["spec", "status"] {
        assert_eq!(replaced.value()[field], next.value()[field]);
    }
    assert_eq!(replaced.annotations().get("note").map(String::as_str), Some("n"));
    assert_eq!((replaced.uid(), replaced.generation()), (stored.uid(), 2));
}

/// The same again is not a change.
pub async fn a_write_of_nothing_makes_no_version(store: Arc<dyn Store>, namespace: String) {
    let stored = create(&*store, with_status(&exporter(&namespace, "a"), json!({ "endpoint": "x" }))).await;
    for write in [Write::Update, Write::UpdateStatus, Write::Replace] {
        let same = one(&*store, write(stored.clone())).await.expect("write");
        assert_eq!(same, stored);
    }
    let padded = edit(&stored, |value| value["metadata"]["labels"] = json!({}));
    assert_eq!(one(&*store, Write::Update(padded)).await.expect("write"), stored);
}

/// A write that carries a version holds for that version only.
pub async fn a_stale_version_conflicts(store: Arc<dyn Store>, namespace: String) {
    let old = create(&*store, exporter(&namespace, "a")).await;
    let new = one(&*store, Write::UpdateStatus(with_status(&old, json!({ "endpoint": "x" })))).await.expect("write");
    let stale = with_status(&edit(&old, |value| value["spec"]["enabled"] = json!(false)), json!({ "endpoint": "y" }));
    for write in [Write::Update, Write::UpdateStatus, Write::Replace] {
        let refused = one(&*store, write(stale.clone())).await;
        assert!(matches!(&refused, Err(StoreError::Conflict { key, .. }) if key == old.key()), "{refused:?}");
        assert_eq!(get(&*store, old.key()).await.as_ref(), Some(&new));
    }
    one(&*store, Write::Replace(stale.unconditional())).await.expect("an unconditional write");
}

/// A write for an object of the same name that is gone does not reach its successor.
pub async fn another_uid_conflicts(store: Arc<dyn Store>, namespace: String) {
    let first = create(&*store, exporter(&namespace, "a")).await;
    one(&*store, Write::Delete(first.key().clone(), None)).await.expect("delete");
    create(&*store, exporter(&namespace, "a")).await;
    let write = with_status(&first, json!({ "endpoint": "x" })).unconditional();
    let refused = one(&*store, Write::UpdateStatus(write)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

/// Compare-and-swap under contention: of many writers that saw the exporter free, exactly one claims it.
pub async fn one_of_many_claimants_wins(store: Arc<dyn Store>, namespace: String) {
    let free = create(&*store, exporter(&namespace, "a")).await;
    let claims = (0..16).map(|number| {
        let claim = with_status(&free, json!({ "leaseRef": { "name": format!("lease-{number}") } }));
        let store = &store;
        async move { (claim.clone(), one(&**store, Write::UpdateStatus(claim)).await) }
    });
    let outcomes = futures::future::join_all(claims).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|(_, outcome)| outcome.is_ok());
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|(_, outcome)| matches!(outcome, Err(StoreError::Conflict { .. }))), "{lost:?}");
    let holder = get(&*store, free.key()).await.expect("the exporter");
    assert_eq!(holder.value()["status"], won[0].0.value()["status"]);
}

/// Every write but a create needs its object.
pub async fn what_is_not_there_is_not_found(store: Arc<dyn Store>, namespace: String) {
    let absent = exporter(&namespace, "absent");
    assert_eq!(get(&*store, absent.key()).await, None);
    let writes = [
        Write::Update(absent.clone()),
        Write::UpdateStatus(absent.clone()),
        Write::Replace(absent.clone()),
        Write::Delete(absent.key().clone(), None),
    ];
    for write in writes {
        let refused = one(&*store, write).await;
        assert!(matches!(&refused, Err(StoreError::NotFound(key)) if key == absent.key()), "{refused:?}");
    }
}

/// A delete with a version or uid holds for that state only.
pub async fn a_delete_honours_its_conditions(store: Arc<dyn Store>, namespace: String) {
    let old = create(&*store, exporter(&namespace, "a")).await;
    let new = one(&*store, Write::UpdateStatus(with_status(&old, json!({ "endpoint": "x" })))).await.expect("write");
    let stale = Precondition { uid: None, resource_version: Some(old.resource_version()) };
    let foreign = Precondition { uid: Some("00000000-0000-0000-0000-000000000000".into()), resource_version: None };
    for expected in [stale, foreign] {
        let refused = one(&*store, Write::Delete(old.key().clone(), Some(expected))).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    }
    let exact = Precondition { uid: Some(new.uid().to_owned()), resource_version: Some(new.resource_version()) };
    let last = one(&*store, Write::Delete(old.key().clone(), Some(exact))).await.expect("delete");
    assert_eq!(last.uid(), old.uid());
    assert_eq!(get(&*store, old.key()).await, None);
}

/// The name can be used again, for an object with another `uid`.
pub async fn a_name_used_again_is_another_object(store: Arc<dyn Store>, namespace: String) {
    let first = create(&*store, exporter(&namespace, "a")).await;
    one(&*store, Write::Delete(first.key().clone(), None)).await.expect("delete");
    let second = create(&*store, exporter(&namespace, "a")).await;
    assert_ne!(first.uid(), second.uid());
    assert_eq!(second.generation(), 1);
    assert!(second.resource_version() > first.resource_version());
}

/// Secrets and `ConfigMap`s have data, and neither status nor generation.
pub async fn core_kinds_keep_data(store: Arc<dyn Store>, namespace: String) {
    let secret = create(&*store, core(Kind::Secret, &namespace, "s", &json!({ "token": "YQ==" }))).await;
    let next = edit(&secret, |value| value["data"] = json!({ "token": "Yg==", "more": "Yw==" }));
    let secret = one(&*store, Write::Update(next)).await.expect("update");
    assert_eq!(secret.value()["data"], json!({ "token": "Yg==", "more": "Yw==" }));
    assert_eq!(secret.generation(), 0);
    let typed: k8s_openapi::api::core::v1::Secret = secret.decode().expect("a secret");
    assert_eq!(typed.data.expect("data")["token"].0, b"b");
    assert!(!format!("{secret:?}").contains("Yg=="), "secrets do not print");

    let map = create(&*store, core(Kind::ConfigMap, &namespace, "c", &json!({ "config": "a: 1" }))).await;
    assert_eq!(map.value()["data"]["config"], "a: 1");
    assert!(map.decode::<Exporter>().is_err(), "a ConfigMap is no exporter");
}

/// One transaction, in order: both halves of a new object, and a pair of objects.
pub async fn later_writes_see_earlier_ones(store: Arc<dyn Store>, namespace: String) {
    let claim = with_status(&exporter(&namespace, "a"), json!({ "leaseRef": { "name": "l" } }));
    let held = with_status(&lease(&namespace, "l", "c"), json!({ "ended": false, "exporterRef": { "name": "a" } }));
    let writes = vec![
        Write::Create(exporter(&namespace, "a")),
        Write::Create(lease(&namespace, "l", "c")),
        Write::UpdateStatus(claim),
        Write::UpdateStatus(held),
    ];
    let written = within(store.transact(writes)).await.expect("transact");
    assert_eq!(written.len(), 4);
    assert!(written.windows(2).all(|pair| pair[0].resource_version() < pair[1].resource_version()));
    assert_eq!(get(&*store, written[2].key()).await.as_ref(), Some(&written[2]));
    assert_eq!(written[3].value()["status"]["exporterRef"]["name"], "a");
    assert_eq!(within(store.transact(Vec::new())).await.expect("nothing to do"), Vec::new());
}

fn owned(object: &Object, owners: &[&Object]) -> Object {
    let references: Vec<Value> = owners
        .iter()
        .enumerate()
        .map(|(number, owner)| {
            json!({
                "apiVersion": owner.kind().api_version(), "kind": owner.kind().name(), "name": owner.name(),
                "uid": owner.uid(), "controller": number == 0, "blockOwnerDeletion": true,
            })
        })
        .collect();
    edit(object, |value| value["metadata"]["ownerReferences"] = Value::Array(references))
}

/// Whoever owns goes, and takes along what it owns, and what that owns.
pub async fn owners_take_their_dependents(store: Arc<dyn Store>, namespace: String) {
    let owner = create(&*store, exporter(&namespace, "owner")).await;
    let secret = owned(&core(Kind::Secret, &namespace, "owner-exporter", &json!({})), &[&owner]);
    let secret = create(&*store, secret).await;
    // Owned later, by an update, as leases are when they are assigned.
    let held = create(&*store, lease(&namespace, "held", "c")).await;
    let held = one(&*store, Write::Update(owned(&held, &[&owner]))).await.expect("update");
    let below = create(&*store, owned(&core(Kind::ConfigMap, &namespace, "below", &json!({})), &[&held])).await;
    let other = create(&*store, core(Kind::Secret, &namespace, "other", &json!({}))).await;

    one(&*store, Write::Delete(owner.key().clone(), None)).await.expect("delete");
    for object in [&secret, &held, &below] {
        gone(&*store, object.key()).await;
    }
    assert_eq!(get(&*store, other.key()).await, Some(other));
}

/// A dependent of two stays until both are gone.
pub async fn the_last_owner_takes_the_dependent(store: Arc<dyn Store>, namespace: String) {
    let one_owner = create(&*store, exporter(&namespace, "one")).await;
    let other = create(&*store, exporter(&namespace, "other")).await;
    let secret = owned(&core(Kind::Secret, &namespace, "shared", &json!({})), &[&one_owner, &other]);
    let secret = create(&*store, secret).await;
    one(&*store, Write::Delete(one_owner.key().clone(), None)).await.expect("delete");
    within(async {
        loop {
            let left = get(&*store, secret.key()).await.expect("the secret stays");
            let owners = left.value()["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
            if owners == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    one(&*store, Write::Delete(other.key().clone(), None)).await.expect("delete");
    gone(&*store, secret.key()).await;
}

/// What the store says of an object cannot be written.
pub async fn metadata_of_the_store_is_not_the_writers(store: Arc<dyn Store>, namespace: String) {
    let stored = create(&*store, exporter(&namespace, "a")).await;
    let forged = edit(&stored, |value| {
        value["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
        value["metadata"]["generation"] = json!(77);
        value["spec"]["enabled"] = json!(false);
    });
    let written = one(&*store, Write::Update(forged)).await.expect("update");
    let metadata = |object: &Object| object.value()["metadata"]["creationTimestamp"].clone();
    assert_eq!(metadata(&written), metadata(&stored));
    assert_eq!(written.generation(), 2);
    assert_eq!(written.key(), &Key::new(Kind::Exporter, namespace, "a"));
}
