//! Clients.

use serde_json::{Value, json};

use super::{envelope, name, reference, text};

pub(super) const HEADINGS: [&str; 2] = ["NAME", "ENDPOINT"];

pub(super) fn to_json(object: &Value) -> Value {
    let status = &object["status"];
    let status = if status.is_object() {
        json!({ "credential": reference(&status["credential"]), "endpoint": text(status, "/endpoint") })
    } else {
        Value::Null
    };
    let mut fields = envelope(object);
    fields.insert("status".to_owned(), status);
    Value::Object(fields)
}

pub(super) fn row(object: &Value) -> Vec<String> {
    vec![name(object), text(object, "/status/endpoint")]
}
