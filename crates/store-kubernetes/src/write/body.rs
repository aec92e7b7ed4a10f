//! What goes out with a write: pure.

use jumpstarter_store::{
    Key, Object,
    semantics::{desired_map, frame, is_empty, writers_metadata},
};
use serde_json::{Map, Value};

pub(super) use jumpstarter_store::semantics::status;

/// A body for `POST`: everything but the status.
pub(super) fn creation(object: &Object) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "generateName", "namespace"] {
        if let Some(text) = metadata_of(object, field).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            metadata.insert(field.to_owned(), text.into());
        }
    }
    metadata.extend(writers_metadata(object));
    let mut body = frame(object.key(), metadata);
    body.extend(desired_map(object));
    Value::Object(body)
}

/// A body for `PUT` of the main resource, for the state `version` of the object `uid`.
pub(super) fn desired_update(object: &Object, uid: &str, version: &str) -> Value {
    let mut metadata = identity(object.key(), uid, version);
    metadata.extend(writers_metadata(object));
    // Other people's; a write without them would remove them.
    if let Some(finalizers) = metadata_of(object, "finalizers").filter(|value| !is_empty(value)) {
        metadata.insert("finalizers".to_owned(), finalizers.clone());
    }
    let mut body = frame(object.key(), metadata);
    body.extend(desired_map(object));
    Value::Object(body)
}

/// A body for `PUT` of the status, for the state `version` of the object `uid`.
pub(super) fn status_update(object: &Object, uid: &str, version: &str) -> Value {
    let mut body = frame(object.key(), identity(object.key(), uid, version));
    body.extend(status(object).map(|status| ("status".to_owned(), status.clone())));
    Value::Object(body)
}

/// Whether both say the same of the status.
pub(super) fn same_status(a: &Object, b: &Object) -> bool {
    status(a) == status(b)
}

/// Whether both say the same of everything else that is a writer's.
pub(super) fn same_desired(a: &Object, b: &Object) -> bool {
    writers_metadata(a) == writers_metadata(b) && desired_map(a) == desired_map(b)
}

/// The object with the finalizers of another, which are not this writer's.
pub(super) fn with_finalizers_of(object: Object, current: &Object) -> Object {
    let kept = metadata_of(current, "finalizers").cloned();
    if metadata_of(&object, "finalizers") == kept.as_ref() {
        return object;
    }
    let mut value = object.clone().into_value();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        match kept {
            Some(kept) => metadata.insert("finalizers".to_owned(), kept),
            None => metadata.shift_remove("finalizers"),
        };
    }
    // Only one field has changed, to what an object of the store had there.
    Object::from_value(value).unwrap_or(object)
}

fn metadata_of<'a>(object: &'a Object, field: &str) -> Option<&'a Value> {
    object.value().get("metadata")?.get(field)
}

fn identity(key: &Key, uid: &str, version: &str) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), key.name.as_str().into());
    metadata.insert("namespace".to_owned(), key.namespace.as_str().into());
    if !uid.is_empty() {
        metadata.insert("uid".to_owned(), uid.into());
    }
    metadata.insert("resourceVersion".to_owned(), version.into());
    metadata
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Object {
        Object::from_value(json!({
            "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-01-02T03:04:05Z", "labels": { "board": "x" }, "annotations": {},
                "finalizers": ["example.com/f"],
            },
            "spec": { "enabled": false }, "status": { "endpoint": "e" },
        }))
        .unwrap()
    }

    #[test]
    fn a_write_carries_its_half_and_no_more() {
        let created = creation(&object());
        assert_eq!(created["metadata"], json!({ "name": "a", "namespace": "n", "labels": { "board": "x" } }));
        assert!(created.get("status").is_none());

        let desired = desired_update(&object(), "u", "7");
        let metadata = json!({
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": { "board": "x" },
            "finalizers": ["example.com/f"],
        });
        assert_eq!(desired["metadata"], metadata);
        assert_eq!((&desired["spec"], desired.get("status")), (&json!({ "enabled": false }), None));

        let observed = status_update(&object(), "", "7");
        assert_eq!(observed["metadata"], json!({ "name": "a", "namespace": "n", "resourceVersion": "7" }));
        assert_eq!((observed.get("spec"), &observed["status"]), (None, &json!({ "endpoint": "e" })));
    }

    #[test]
    fn finalizers_of_others_are_kept() {
        let mut without = object().into_value();
        without["metadata"]["finalizers"].take();
        let without = Object::from_value(without).unwrap();
        let kept = with_finalizers_of(without, &object());
        assert_eq!(desired_update(&kept, "u", "7")["metadata"]["finalizers"], json!(["example.com/f"]));
    }
}
