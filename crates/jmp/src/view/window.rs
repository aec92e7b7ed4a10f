//! Maintenance windows, as whole manifests.

use jumpstarter_model::{MaintenanceWindowSpec, Timestamp, window::Schedule};
use serde::Deserialize as _;
use serde_json::Value;

use super::{age, manifest, name, selector, text};

pub(super) const HEADINGS: [&str; 6] = ["NAME", "EXPORTERS", "NEXT", "DURATION", "REASON", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    manifest(object)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    vec![
        name(object),
        exporters(object),
        next(object, now),
        text(object, "/spec/duration"),
        text(object, "/spec/reason"),
        age(object, now),
    ]
}

fn exporters(object: &Value) -> String {
    let names = object.pointer("/spec/exporters").and_then(Value::as_array).into_iter().flatten();
    let names = names.filter_map(Value::as_str).map(str::to_owned);
    let labels = object.pointer("/spec/exporterSelector").map(|_| selector(object, "/spec/exporterSelector"));
    labels.into_iter().chain(names).collect::<Vec<_>>().join(",")
}

/// When it opens next, or that it is open.
fn next(object: &Value, now: Timestamp) -> String {
    let Ok(spec) = MaintenanceWindowSpec::deserialize(&object["spec"]) else { return "<invalid>".to_owned() };
    match Schedule::of(&spec).map(|schedule| schedule.open_after(now)) {
        Err(_) => "<invalid>".to_owned(),
        Ok(None) => "over".to_owned(),
        Ok(Some(open)) if open.begin <= now => format!("open until {}", open.end),
        Ok(Some(open)) => open.begin.to_string(),
    }
}
