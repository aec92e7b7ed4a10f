//! Access policies. Unlike the other kinds they are shown as whole manifests, ready to be changed and applied.

use jumpstarter_model::Timestamp;
use serde_json::Value;

use super::{age, manifest, name, selector};

pub(super) const HEADINGS: [&str; 4] = ["NAME", "EXPORTERS", "RULES", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    manifest(object)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    let rules = object.pointer("/spec/policies").and_then(Value::as_array).map_or(0, Vec::len);
    vec![name(object), selector(object, "/spec/exporterSelector"), rules.to_string(), age(object, now)]
}
