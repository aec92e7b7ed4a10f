//! Access policies. Unlike the other kinds they are shown as whole manifests, ready to be changed and applied.

use jumpstarter_model::{Selector, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize as _;
use serde_json::Value;

use super::{age, envelope, name};

pub(super) const HEADINGS: [&str; 4] = ["NAME", "EXPORTERS", "RULES", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    let mut fields = envelope(object);
    fields.insert("spec".to_owned(), object["spec"].clone());
    Value::Object(fields)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    let rules = object.pointer("/spec/policies").and_then(Value::as_array).map_or(0, Vec::len);
    vec![name(object), exporters(object), rules.to_string(), age(object, now)]
}

/// The exporters that a policy is about, as selector text.
fn exporters(object: &Value) -> String {
    let Some(selector) = object.pointer("/spec/exporterSelector") else {
        return "*".to_owned();
    };
    let selector = LabelSelector::deserialize(selector).ok();
    match selector.and_then(|selector| Selector::from_label_selector(&selector).ok()) {
        Some(selector) if selector.is_empty() => "*".to_owned(),
        Some(selector) => selector.to_string(),
        None => "<invalid>".to_owned(),
    }
}
