//! What every backend must do, as test cases that any backend can run.
//!
//! Each case gets a store and a namespace of its own. [`conformance_tests!`](crate::conformance_tests) makes one test
//! of each; the path it takes names an `async fn() -> (Arc<dyn Store>, String, impl Sized)` whose third value lives as
//! long as the case.

#![expect(clippy::missing_panics_doc, reason = "a test case panics when the store is wrong")]

mod objects;
mod queries;
mod watches;

use std::{future::Future, time::Duration};

use jumpstarter_model::{Exporter, ExporterSpec, Lease, LeaseSpec, LocalObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

pub use objects::*;
pub use queries::*;
pub use watches::*;

use crate::{Key, Kind, Object, Store, StoreError, Write};

/// Longest that a case waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// One `#[tokio::test]` for each case.
#[macro_export]
macro_rules! conformance_tests {
    ($setup:path) => {
        $crate::conformance_tests!(
            $setup:
            a_new_object_gets_an_identity, a_name_is_taken_once, names_are_generated, a_version_is_no_part_of_a_new_object,
            desired_and_observed_are_written_apart, a_replace_writes_both_halves, a_write_of_nothing_makes_no_version,
            a_stale_version_conflicts, another_uid_conflicts, one_of_many_claimants_wins, what_is_not_there_is_not_found,
            a_delete_honours_its_conditions, a_name_used_again_is_another_object, core_kinds_keep_data,
            later_writes_see_earlier_ones, owners_take_their_dependents, the_last_owner_takes_the_dependent,
            metadata_of_the_store_is_not_the_writers,
            lists_are_sorted_and_scoped, lists_select_by_label, lists_come_in_pages, a_bad_token_is_refused,
            one_object_that_does_not_decode_spoils_no_other,
            a_watch_continues_a_list, a_watch_resumes_anywhere, a_watch_shows_only_its_kinds,
            a_watch_has_no_gap_and_no_repeat
        );
    };
    ($setup:path: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, namespace, _guard) = $setup().await;
                $crate::conformance::$case(store, namespace).await;
            }
        )*
    };
}

/// An exporter with every field that a backend with schemas would fill in, so that all backends keep the same.
fn exporter(namespace: &str, name: &str) -> Object {
    let mut exporter = Exporter::new(name, ExporterSpec { enabled: Some(true), ..ExporterSpec::default() });
    exporter.metadata.namespace = Some(namespace.to_owned());
    Object::from_resource(&exporter)
}

fn lease(namespace: &str, name: &str, client: &str) -> Object {
    let spec = LeaseSpec {
        client_ref: LocalObjectReference::new(client),
        exporter_ref: Some(LocalObjectReference::new("any")),
        ..Default::default()
    };
    let metadata =
        ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..Default::default() };
    Object::from_resource(&Lease { metadata, spec, status: None })
}

fn core(kind: Kind, namespace: &str, name: &str, data: &Value) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": kind.name(),
        "metadata": { "name": name, "namespace": namespace },
        "data": data,
    }))
}

fn object(value: Value) -> Object {
    Object::from_value(value).expect("the case writes an object")
}

/// The object, changed.
fn edit(object: &Object, change: impl FnOnce(&mut Value)) -> Object {
    let mut value = object.value().clone();
    change(&mut value);
    self::object(value)
}

/// The object in another state.
fn with_status(object: &Object, status: Value) -> Object {
    edit(object, |value| value["status"] = status)
}

async fn one(store: &dyn Store, write: Write) -> Result<Object, StoreError> {
    within(store.transact(vec![write])).await.map(|mut objects| {
        assert_eq!(objects.len(), 1, "one object for one write");
        objects.remove(0)
    })
}

async fn create(store: &dyn Store, object: Object) -> Object {
    one(store, Write::Create(object)).await.expect("create")
}

async fn get(store: &dyn Store, key: &Key) -> Option<Object> {
    within(store.get(key)).await.expect("get")
}

/// Waits until the object is gone: at once where the store cascades itself, later where a garbage collector does.
async fn gone(store: &dyn Store, key: &Key) {
    within(async {
        while store.get(key).await.expect("get").is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the store answers in time")
}
