//! Quotas, as whole manifests.

use jumpstarter_model::Timestamp;
use serde_json::Value;

use super::{age, manifest, name, selector};

pub(super) const HEADINGS: [&str; 4] = ["NAME", "CLIENTS", "EXPORTERS", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    manifest(object)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    let [clients, exporters] = ["/spec/clientSelector", "/spec/exporterSelector"].map(|at| selector(object, at));
    vec![name(object), clients, exporters, age(object, now)]
}
