//! Exporters, and their devices.

use jumpstarter_model::Timestamp;
use serde_json::{Value, json};

use super::{age, envelope, labels, name, reference, text};

pub(super) const HEADINGS: [&str; 5] = ["NAME", "STATUS", "ENDPOINT", "DEVICES", "AGE"];
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
    if let Some(why) = quarantine(object) {
        status["quarantine"] = Value::from(why);
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
    if quarantine(object).is_some() { format!("{status}, Quarantined") } else { status }
}

/// Why it is quarantined, if it is.
fn quarantine(object: &Value) -> Option<String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut holding = conditions.filter(|it| it["type"] == "Quarantined" && it["status"] == "True");
    holding.next().map(|condition| text(condition, "/message"))
}
