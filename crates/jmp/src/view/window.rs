//! Maintenance windows, as whole manifests.

use jumpstarter_model::Timestamp;
use serde_json::Value;

use super::{age, manifest, name, selector};

pub(super) const HEADINGS: [&str; 3] = ["NAME", "EXPORTERS", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    manifest(object)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    vec![name(object), selector(object, "/spec/exporterSelector"), age(object, now)]
}
