//! Objects for tests.

use jumpstarter_store::Object;
use serde_json::json;

pub(super) fn secret(name: &str, uid: &str, version: u64) -> Object {
    let metadata = json!({ "name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string() });
    Object::from_value(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata })).unwrap()
}
