//! What a write makes of an object: pure, and the same for every backend.

use jumpstarter_model::Timestamp;
use serde_json::{Map, Value};

use crate::{Key, Object, Precondition, ResourceVersion, StoreError};

/// Largest object that is taken, in bytes of JSON: what the Kubernetes API server takes.
pub(crate) const MAX_OBJECT: usize = 1_500_000;

/// The halves of an object that a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is asked for: everything but the status.
    Desired,
    /// The status alone.
    Status,
    /// Everything.
    Both,
}

/// Metadata that belongs to whoever writes the object.
const WRITERS_METADATA: [&str; 3] = ["labels", "annotations", "ownerReferences"];
/// Top-level fields that are not part of the desired state.
const FRAME: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// The first state of an object, still without a version. `key` has the final name.
///
/// # Errors
/// [`StoreError::Invalid`] when it cannot be stored as it is.
pub fn created(incoming: &Object, key: &Key, uid: &str, now: Timestamp) -> Result<Map<String, Value>, StoreError> {
    check(incoming, key)?;
    if incoming.resource_version() != ResourceVersion::ZERO {
        return Err(StoreError::Invalid(format!(
            "{key}: metadata.resourceVersion must not be set on an object to be created"
        )));
    }
    let mut metadata = Map::new();
    metadata.insert("name".into(), key.name.as_str().into());
    if let Some(prefix) = incoming.metadata().get("generateName").filter(|prefix| prefix.is_string()) {
        metadata.insert("generateName".into(), prefix.clone());
    }
    metadata.insert("namespace".into(), key.namespace.as_str().into());
    metadata.insert("uid".into(), uid.into());
    if !key.kind.is_core() {
        metadata.insert("generation".into(), 1.into());
    }
    metadata.insert("creationTimestamp".into(), seconds(now).into());
    copy_metadata(incoming.metadata(), &mut metadata);
    let mut body = frame(key, metadata);
    body.extend(desired(incoming).map(owned));
    body.extend(status(incoming).map(|status| ("status".to_owned(), status.clone())));
    Ok(body)
}

/// The next state of an object, still with the version of the last one, or nothing when the write changes nothing.
///
/// # Errors
/// [`StoreError::Conflict`] when it is not in the state that the writer saw, [`StoreError::Invalid`] when the new state
/// cannot be stored.
pub fn changed(current: &Object, incoming: &Object, part: Part) -> Result<Option<Map<String, Value>>, StoreError> {
    let key = current.key();
    check(incoming, key)?;
    let expected = Precondition {
        uid: Some(incoming.uid().to_owned()).filter(|uid| !uid.is_empty()),
        resource_version: Some(incoming.resource_version()).filter(|version| *version != ResourceVersion::ZERO),
    };
    check_precondition(current, &expected)?;
    if part != Part::Desired && key.kind.is_core() && status(incoming).is_some() {
        return Err(StoreError::Invalid(format!("{key}: this kind has no status")));
    }
    let wanted = if part == Part::Status { current } else { incoming };
    let observed = if part == Part::Desired { current } else { incoming };

    let mut metadata = current.metadata().clone();
    copy_metadata(wanted.metadata(), &mut metadata);
    let same_desired = desired_map(wanted) == desired_map(current);
    if same_desired && status(observed) == status(current) && metadata == *current.metadata() {
        return Ok(None);
    }
    if !same_desired && !key.kind.is_core() {
        metadata.insert("generation".into(), current.generation().saturating_add(1).into());
    }
    let mut body = frame(key, metadata);
    body.extend(desired(wanted).map(owned));
    body.extend(status(observed).map(|status| ("status".to_owned(), status.clone())));
    Ok(Some(body))
}

/// Fails unless the object is in the state that a writer expects.
///
/// # Errors
/// [`StoreError::Conflict`] with what was expected and what is there.
pub fn check_precondition(current: &Object, expected: &Precondition) -> Result<(), StoreError> {
    let conflict = |detail| Err(StoreError::Conflict { key: current.key().clone(), detail });
    if let Some(uid) = expected.uid.as_ref().filter(|uid| *uid != current.uid()) {
        return conflict(format!("uid {uid} was expected, it is {}", current.uid()));
    }
    if let Some(version) = expected.resource_version.filter(|version| *version != current.resource_version()) {
        return conflict(format!("version {version} was expected, it is {}", current.resource_version()));
    }
    Ok(())
}

/// The object with this version.
///
/// # Errors
/// [`StoreError::Invalid`] when the body is no object.
pub fn stamped(mut body: Map<String, Value>, version: ResourceVersion) -> Result<Object, StoreError> {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), version.to_string().into());
    }
    Object::from_value(Value::Object(body)).map_err(|error| StoreError::Invalid(error.to_string()))
}

/// `uid`s of the owners, sorted.
#[must_use]
pub fn owners(object: &Object) -> Vec<&str> {
    let references = object.metadata().get("ownerReferences").and_then(Value::as_array);
    let mut uids: Vec<&str> = references
        .into_iter()
        .flatten()
        .filter_map(|reference| reference.get("uid")?.as_str())
        .filter(|uid| !uid.is_empty())
        .collect();
    uids.sort_unstable();
    uids.dedup();
    uids
}

/// The object without its reference to one owner.
#[must_use]
pub fn without_owner(object: &Object, uid: &str) -> Map<String, Value> {
    let mut body = object.value().as_object().cloned().unwrap_or_default();
    let references =
        body.get_mut("metadata").and_then(|metadata| metadata.get_mut("ownerReferences")).and_then(Value::as_array_mut);
    if let Some(references) = references {
        references.retain(|reference| reference.get("uid").and_then(Value::as_str) != Some(uid));
    }
    body
}

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn check(incoming: &Object, key: &Key) -> Result<(), StoreError> {
    let finalizers = incoming.metadata().get("finalizers").and_then(Value::as_array);
    if finalizers.is_some_and(|finalizers| !finalizers.is_empty()) {
        return Err(StoreError::Invalid(format!("{key}: metadata.finalizers are not supported by this store")));
    }
    if key.namespace.is_empty() {
        return Err(StoreError::Invalid(format!("{key}: metadata.namespace is missing")));
    }
    Ok(())
}

/// What every object begins with.
#[must_use]
pub fn frame(key: &Key, metadata: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([
        ("apiVersion".to_owned(), key.kind.api_version().into()),
        ("kind".to_owned(), key.kind.name().into()),
        ("metadata".to_owned(), Value::Object(metadata)),
    ])
}

fn desired(object: &Object) -> impl Iterator<Item = (&String, &Value)> {
    let fields = object.value().as_object().into_iter().flatten();
    fields.filter(|(field, value)| !FRAME.contains(&field.as_str()) && !value.is_null())
}

/// The desired state: every field but `apiVersion`, `kind`, `metadata` and `status`.
#[must_use]
pub fn desired_map(object: &Object) -> Map<String, Value> {
    desired(object).map(owned).collect()
}

/// The observed state, if there is any.
#[must_use]
pub fn status(object: &Object) -> Option<&Value> {
    object.value().get("status").filter(|status| !status.is_null())
}

fn owned((field, value): (&String, &Value)) -> (String, Value) {
    (field.clone(), value.clone())
}

/// The labels, annotations and owner references of an object, where there are any: what is its writer's of the metadata.
#[must_use]
pub fn writers_metadata(object: &Object) -> Map<String, Value> {
    let mut metadata = Map::new();
    copy_metadata(object.metadata(), &mut metadata);
    metadata
}

fn copy_metadata(from: &Map<String, Value>, to: &mut Map<String, Value>) {
    for field in WRITERS_METADATA {
        match from.get(field).filter(|value| !is_empty(value)) {
            Some(value) => to.insert(field.to_owned(), value.clone()),
            None => to.shift_remove(field),
        };
    }
}

/// Whether a value says nothing: null, or without entries.
#[must_use]
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
