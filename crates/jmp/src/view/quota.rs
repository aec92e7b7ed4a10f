//! Quotas, as whole manifests.

use jumpstarter_model::Timestamp;
use serde_json::Value;

use super::{age, manifest, name, selector};

pub(super) const HEADINGS: [&str; 9] =
    ["NAME", "CLIENTS", "EXPORTERS", "ACCOUNTS", "DEVICES", "DEVICE-TIME", "WAITING", "WEIGHT", "AGE"];

pub(super) fn to_json(object: &Value) -> Value {
    manifest(object)
}

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<String> {
    let [clients, exporters] = ["/spec/clientSelector", "/spec/exporterSelector"].map(|at| selector(object, at));
    let spec = &object["spec"];
    let number = |field: &str| spec[field].as_i64().map_or("-".to_owned(), |number| number.to_string());
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let time = match (text("maxDeviceTime"), text("period")) {
        (time, _) if time.is_empty() => "-".to_owned(),
        (time, period) => format!("{time} in {period}"),
    };
    let accounts = match (spec["accountBy"].as_str(), text("accountLabel")) {
        (Some("Label"), label) => format!("by {label}"),
        (Some("All"), _) => "one for all".to_owned(),
        _ => "by client".to_owned(),
    };
    let [devices, waiting, weight] = ["maxDevices", "maxWaiting", "weight"].map(number);
    vec![name(object), clients, exporters, accounts, devices, time, waiting, weight, age(object, now)]
}
