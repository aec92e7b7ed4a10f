//! Leases.

use jumpstarter_model::Timestamp;
use serde_json::{Map, Value, json};

use super::{age, envelope, labels, name, reference, text};

pub(super) const HEADINGS: [&str; 10] =
    ["NAME", "CLIENT", "SELECTOR", "EXPORTER", "DURATION", "STATUS", "REASON", "BEGIN", "END", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    let (spec, status) = (&object["spec"], &object["status"]);
    let or_null = |value: &Value, key: &str| value.get(key).cloned().unwrap_or_default();
    let selector = spec.pointer("/selector/matchLabels").cloned().unwrap_or_else(|| json!({}));
    let mut fields = envelope(object);
    fields.insert(
        "spec".to_owned(),
        json!({
            "client": reference(&spec["clientRef"]),
            "duration": or_null(spec, "duration"),
            "selector": { "matchLabels": selector },
        }),
    );
    fields.insert(
        "status".to_owned(),
        json!({
            "beginTime": or_null(status, "beginTime"),
            "conditions": conditions(object).map(condition).collect::<Vec<_>>(),
            "endTime": or_null(status, "endTime"),
            "ended": ended(object),
            "exporter": reference(&status["exporterRef"]),
        }),
    );
    Value::Object(fields)
}

/// The fields of a condition, in alphabetical order, as readers get them.
fn condition(value: &Value) -> Value {
    const SHOWN: [&str; 6] = ["lastTransitionTime", "message", "observedGeneration", "reason", "status", "type"];
    let fields = SHOWN.into_iter().filter_map(|key| Some((key.to_owned(), value.get(key)?.clone())));
    Value::Object(fields.collect::<Map<_, _>>())
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    let selector = labels(&object["spec"]["selector"]["matchLabels"]);
    vec![
        name(object),
        text(object, "/spec/clientRef/name"),
        if selector.is_empty() { "*".to_owned() } else { selector },
        text(object, "/status/exporterRef/name"),
        text(object, "/spec/duration"),
        if ended(object) { "Ended" } else { "InProgress" }.to_owned(),
        reason(object),
        text(object, "/status/beginTime"),
        text(object, "/status/endTime"),
        age(object, now),
    ]
}

/// The last condition tells the state, in two cases in other words than its reason.
fn reason(object: &Value) -> String {
    let Some(last) = conditions(object).last() else {
        return "Unknown".to_owned();
    };
    let is_true = text(last, "/status") == "True";
    match (text(last, "/reason").as_str(), is_true) {
        ("Ready", false) => "Waiting".to_owned(),
        ("Expired", false) => "Complete".to_owned(),
        (reason, _) => reason.to_owned(),
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn ended(object: &Value) -> bool {
    object.pointer("/status/ended").and_then(Value::as_bool).unwrap_or(false)
}
