//! Exporters, and their devices.

use jumpstarter_model::{Timestamp, annotations, condition::exporter as condition};
use serde_json::{Value, json};

use super::{age, envelope, labels, name, reference, text};

pub(super) const HEADINGS: [&str; 5] = ["NAME", "STATUS", "ENDPOINT", "DEVICES", "AGE"];
/// Further ones where an exporter is quarantined.
pub(super) const QUARANTINE_HEADINGS: [&str; 2] = ["QUARANTINE", "UNTIL"];
pub(super) const DEVICE_HEADINGS: [&str; 6] = ["NAME", "STATUS", "ENDPOINT", "AGE", "LABELS", "UUID"];

pub(super) fn to_json(object: &Value) -> Value {
    let status = &object["status"];
    let devices = devices(object).map(|device| {
        let labels = device.get("labels").filter(|labels| labels.is_object()).cloned().unwrap_or_else(|| json!({}));
        json!({ "labels": labels, "uuid": text(device, "/uuid") })
    });
    let mut status = json!({
        "credential": reference(&status["credential"]),
        "devices": devices.collect::<Vec<_>>(),
        "endpoint": text(status, "/endpoint"),
        "exporterStatus": status["exporterStatus"],
        "statusMessage": status["statusMessage"],
    });
    if let Some(condition) = quarantine(object) {
        let (reason, message) = (text(condition, "/reason"), text(condition, "/message"));
        status["quarantine"] = json!({ "reason": reason, "message": message, "until": until(object, &reason) });
    }
    let health = &object["status"]["health"];
    if let Some(score) = health["score"].as_i64().filter(|score| *score > 0) {
        status["health"] = json!({ "score": score, "failures": health["failures"] });
    }
    let mut fields = envelope(object);
    fields.insert("status".to_owned(), status);
    Value::Object(fields)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    let count = devices(object).count().to_string();
    vec![name(object), status(object), text(object, "/status/endpoint"), count, age(object, now)]
}

pub(super) fn device_rows(object: &Value, now: Timestamp) -> Vec<Vec<String>> {
    let row = |device: &Value| {
        let (labels, uuid) = (labels(&device["labels"]), text(device, "/uuid"));
        vec![name(object), status(object), text(object, "/status/endpoint"), age(object, now), labels, uuid]
    };
    devices(object).map(row).collect()
}

fn devices(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/devices").and_then(Value::as_array).into_iter().flatten()
}

fn status(object: &Value) -> String {
    let status = text(object, "/status/exporterStatus");
    let status = if status.is_empty() { "Unknown".to_owned() } else { status };
    if is_quarantined(object) { format!("{status}, Quarantined") } else { status }
}

/// Whether it is kept back.
pub(super) fn is_quarantined(object: &Value) -> bool {
    quarantine(object).is_some()
}

/// Why it is quarantined and until when; empty for one that is not.
pub(super) fn quarantine_cells(object: &Value) -> Vec<String> {
    let Some(condition) = quarantine(object) else { return vec![String::new(); QUARANTINE_HEADINGS.len()] };
    let reason = text(condition, "/reason");
    let until = until(object, &reason).map_or("lifted".to_owned(), |until| until.to_string());
    vec![reason, until]
}

/// The condition that says why it is quarantined, if it is.
fn quarantine(object: &Value) -> Option<&Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.into_iter().find(|it| it["type"] == condition::QUARANTINED && it["status"] == "True")
}

fn until(object: &Value, reason: &str) -> Option<Timestamp> {
    let by_hand = object["metadata"]["annotations"][annotations::QUARANTINE].as_str();
    let automatic = text(object, "/status/health/quarantine/until").parse().ok();
    annotations::quarantined_until(reason, by_hand, automatic)
}
