//! Reading objects that somebody else wrote, one by one (kubernetes.md §0, "Poison value").

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An object that cannot be read. It says which, so that the others of its list can be served meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("{kind} `{namespace}/{name}` cannot be read")]
pub struct DecodeError {
    /// Kind as written in the object.
    pub kind: String,
    /// Namespace of the object; empty when it has none.
    pub namespace: String,
    /// Name of the object; empty when it has none.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub source: serde_json::Error,
}

/// Reads one object as an API server would: nulls count as absent, and so does a missing `spec`.
pub fn decode<K: DeserializeOwned>(mut object: Value) -> Result<K, DecodeError> {
    drop_nulls(&mut object);
    if let Value::Object(fields) = &mut object {
        fields.entry("spec").or_insert_with(|| Value::Object(Map::new()));
    }
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    serde_json::from_value(object).map_err(|source| DecodeError { kind, namespace, name, source })
}

/// Reads the items of a list; a bad object is an error in its own place only. A value without `items` has none.
pub fn decode_list<K: DeserializeOwned>(mut list: Value) -> Vec<Result<K, DecodeError>> {
    let items = list.get_mut("items").map(Value::take);
    let Some(Value::Array(items)) = items else {
        return Vec::new();
    };
    items.into_iter().map(decode).collect()
}

/// Removes null members. Recursion is as deep as the value, which `serde_json` bounds at 128 levels when parsing.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, member| !member.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
