//! What an API server refuses to store: unknown fields, wrong types, and what the kinds' rules forbid.

mod rules;
mod schema;

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value};

use crate::{Kind, Object};

/// The class of a fault, as Kubernetes names its causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No such field: a mistake in the text rather than in what it says.
    Unknown,
    /// A required field is missing.
    Required,
    /// The field has another type.
    Type,
    /// The value is not allowed.
    Invalid,
    /// More entries or bytes than allowed.
    TooLong,
}

impl FaultKind {
    /// The `reason` of a cause in a `Status` body.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "FieldValueNotSupported",
            Self::Required => "FieldValueRequired",
            Self::Type => "FieldValueTypeInvalid",
            Self::Invalid => "FieldValueInvalid",
            Self::TooLong => "FieldValueTooLong",
        }
    }
}

/// One thing that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its class.
    pub kind: FaultKind,
    /// Path of the field, such as `spec.policies[0].priority`.
    pub field: String,
    /// Why it is refused.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FaultKind::Unknown => write!(f, "unknown field \"{}\"", self.field),
            FaultKind::Required => write!(f, "{}: Required value: {}", self.field, self.message),
            FaultKind::Type | FaultKind::Invalid => write!(f, "{}: Invalid value: {}", self.field, self.message),
            FaultKind::TooLong => write!(f, "{}: Too many: {}", self.field, self.message),
        }
    }
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, field: field.into(), message: message.into() }
    }
}

/// Adds what the kinds' schemas give as defaults, so that a manifest may leave it out, and turns a Secret's
/// `stringData` into `data`.
pub fn apply_defaults(kind: Kind, value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    match kind {
        Kind::Secret => secret_defaults(fields),
        Kind::ConfigMap => {}
        Kind::Client | Kind::Exporter | Kind::ExporterAccessPolicy | Kind::LeaseQuota | Kind::MaintenanceWindow => {
            object_at(fields, "spec");
        }
        Kind::Lease => {
            if let Some(spec) = object_at(fields, "spec") {
                object_at(spec, "selector");
            }
        }
    }
    if fields.get("status").is_some_and(Value::is_null) {
        fields.shift_remove("status");
    }
}

/// The object in this field, made if there is none; nothing if something else is there.
fn object_at<'a>(fields: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    let value = fields.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn secret_defaults(fields: &mut Map<String, Value>) {
    if fields.get("type").is_none_or(Value::is_null) {
        fields.insert("type".to_owned(), "Opaque".into());
    }
    let texts = |data: &Value| data.as_object().is_some_and(|data| data.values().all(Value::is_string));
    // What has another form is left for the check to find.
    if !fields.get("stringData").is_some_and(texts) {
        return;
    }
    let Some(Value::Object(plain)) = fields.shift_remove("stringData") else { return };
    let Some(data) = object_at(fields, "data") else { return };
    for (key, text) in plain {
        let encoded = BASE64_STANDARD.encode(text.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

/// Everything that is wrong with a manifest of this kind, form first: rules are looked at once the form is right.
pub fn manifest_faults(kind: Kind, value: &Value) -> Vec<Fault> {
    let mut faults = schema::faults(kind, value);
    if faults.is_empty() {
        faults = rules::faults(kind, value);
    }
    faults
}

/// What of an update the kind forbids, given what was there.
pub fn update_faults(current: &Object, next: &Value) -> Vec<Fault> {
    rules::update_faults(current.kind(), current.value(), next)
}
