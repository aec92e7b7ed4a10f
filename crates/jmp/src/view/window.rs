//! Maintenance windows, as whole manifests.

use jumpstarter_model::{
    MaintenanceWindowSpec, Timestamp,
    window::{Opening, Schedule},
};
use serde::Deserialize as _;
use serde_json::Value;

use super::{age, manifest, name, selector, text};

pub(super) const HEADINGS: [&str; 6] = ["NAME", "EXPORTERS", "NEXT", "DURATION", "REASON", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    manifest(object)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    // One that makes no sense blocks nothing, which is more than why it was made.
    let (next, reason) = match schedule(object) {
        Ok(schedule) => (next(schedule.open_after(now), now), text(object, "/spec/reason")),
        Err(fault) => ("<invalid>".to_owned(), format!("blocks nothing: {fault}")),
    };
    vec![name(object), exporters(object), next, text(object, "/spec/duration"), reason, age(object, now)]
}

/// When it is open, or what is wrong with it.
fn schedule(object: &Value) -> Result<Schedule, String> {
    let spec = MaintenanceWindowSpec::deserialize(&object["spec"]).map_err(|error| error.to_string())?;
    Schedule::of(&spec).map_err(|error| error.to_string())
}

fn exporters(object: &Value) -> String {
    let names = object.pointer("/spec/exporters").and_then(Value::as_array).into_iter().flatten();
    let names = names.filter_map(Value::as_str).map(str::to_owned);
    let labels = object.pointer("/spec/exporterSelector").map(|_| selector(object, "/spec/exporterSelector"));
    labels.into_iter().chain(names).collect::<Vec<_>>().join(",")
}

/// When it opens next, or that it is open.
fn next(opening: Option<Opening>, now: Timestamp) -> String {
    match opening {
        None => "over".to_owned(),
        Some(open) if open.begin <= now => format!("open until {}", open.end),
        Some(open) => open.begin.to_string(),
    }
}
