//! The form of a manifest: known fields of the right types.
//!
//! The schemas are those that the CRDs are generated from, so there is no second description of the kinds.

use std::sync::LazyLock;

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, MaintenanceWindow, Timestamp};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::{Fault, FaultKind};
use crate::Kind;

/// Deepest nesting that is looked at; no kind has so many levels.
const MAX_DEPTH: usize = 32;

static SCHEMAS: LazyLock<Vec<(Kind, Value)>> =
    LazyLock::new(|| Kind::ALL.into_iter().map(|kind| (kind, build(kind))).collect());
static METADATA: LazyLock<Value> = LazyLock::new(json_schema::<ObjectMeta>);

/// Unknown fields, missing fields, wrong types.
pub(super) fn faults(kind: Kind, value: &Value) -> Vec<Fault> {
    let mut walk = Walk { root: &Value::Null, faults: Vec::new() };
    let Some(fields) = value.as_object() else {
        return vec![Fault::new(FaultKind::Type, "", "the manifest is not an object")];
    };
    match fields.get("metadata") {
        Some(metadata) => {
            walk.root = &METADATA;
            walk.value(&METADATA, metadata, "metadata", 0);
        }
        None => walk.fault(FaultKind::Required, "metadata", "an object has metadata"),
    }
    if let Some((_, schema)) = SCHEMAS.iter().find(|(known, _)| *known == kind) {
        walk.root = schema;
        let rest: Map<String, Value> = fields
            .iter()
            .filter(|(field, _)| !["apiVersion", "kind", "metadata"].contains(&field.as_str()))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        walk.value(schema, &Value::Object(rest), "", 0);
    }
    walk.faults
}

fn build(kind: Kind) -> Value {
    let mut schema = match kind {
        Kind::Secret => json_schema::<Secret>(),
        Kind::ConfigMap => json_schema::<ConfigMap>(),
        Kind::Client => custom::<Client>(),
        Kind::Exporter => custom::<Exporter>(),
        Kind::ExporterAccessPolicy => custom::<ExporterAccessPolicy>(),
        Kind::LeaseQuota => custom::<LeaseQuota>(),
        Kind::MaintenanceWindow => custom::<MaintenanceWindow>(),
        Kind::Lease => custom::<Lease>(),
    };
    if let Some(schema) = schema.as_object_mut() {
        // Metadata has its own walk; a missing spec is filled in before.
        schema.shift_remove("required");
    }
    schema
}

fn custom<K: CustomResourceExt>() -> Value {
    let crd = K::crd();
    let version = crd.spec.versions.into_iter().next();
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    serde_json::to_value(schema).unwrap_or_default()
}

fn json_schema<T: schemars::JsonSchema>() -> Value {
    schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<T>().to_value()
}

struct Walk<'a> {
    root: &'a Value,
    faults: Vec<Fault>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value, path: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return self.fault(FaultKind::Invalid, path, "nested too deeply");
        }
        if value.is_null() {
            return; // The same as absent.
        }
        let schema = self.resolve(schema);
        let type_ = schema_type(schema);
        if let Some(expected) = type_.filter(|expected| !is_a(expected, value)) {
            let found = describe(value);
            return self.fault(FaultKind::Type, path, &format!("{found}: must be of type {expected}"));
        }
        match value {
            Value::Object(fields) => self.object(schema, fields, path, depth),
            Value::Array(items) => {
                if let Some(item_schema) = schema.get("items") {
                    for (number, item) in items.iter().enumerate() {
                        self.value(item_schema, item, &format!("{path}[{number}]"), depth + 1);
                    }
                }
            }
            Value::String(text) => self.text(schema, text, path),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn object(&mut self, schema: &'a Value, fields: &Map<String, Value>, path: &str, depth: usize) {
        let known = schema.get("properties").and_then(Value::as_object);
        let open = schema.get("additionalProperties").filter(|open| **open != Value::Bool(false));
        let preserved = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        for (field, value) in fields {
            let path = join(path, field, known.is_none());
            match (known.and_then(|known| known.get(field)), open) {
                (None, Some(Value::Bool(_))) => {}
                (Some(schema), _) | (None, Some(schema)) => self.value(schema, value, &path, depth + 1),
                (None, None) if preserved => {}
                (None, None) => self.fault(FaultKind::Unknown, &path, "there is no such field"),
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(required) = required.as_str() else { continue };
            if fields.get(required).is_none_or(Value::is_null) {
                self.fault(FaultKind::Required, &join(path, required, false), "the field is missing");
            }
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.iter().any(|allowed| allowed.as_str() == Some(text))
        {
            let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
            self.fault(FaultKind::Invalid, path, &format!("\"{text}\": use one of {}", allowed.join(", ")));
        }
        if schema.get("format").and_then(Value::as_str) == Some("date-time") && text.parse::<Timestamp>().is_err() {
            self.fault(FaultKind::Invalid, path, &format!("\"{text}\": use a time such as 2026-01-02T03:04:05Z"));
        }
    }

    /// Follows references, and unwraps what is optional.
    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..MAX_DEPTH {
            let inner = if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
                reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer))
            } else {
                ["allOf", "anyOf", "oneOf"]
                    .iter()
                    .filter(|_| schema.get("properties").is_none())
                    .find_map(|field| schema.get(field)?.as_array())
                    .and_then(|options| {
                        match options.iter().filter(|option| !is_null_type(option)).collect::<Vec<_>>()[..] {
                            [only] => Some(only),
                            _ => None,
                        }
                    })
            };
            match inner {
                Some(inner) => schema = inner,
                None => break,
            }
        }
        schema
    }

    fn fault(&mut self, kind: FaultKind, path: &str, message: &str) {
        self.faults.push(Fault::new(kind, path, message));
    }
}

fn join(path: &str, field: &str, is_key: bool) -> String {
    match path {
        "" => field.to_owned(),
        _ if is_key => format!("{path}[{field}]"),
        _ => format!("{path}.{field}"),
    }
}

fn is_null_type(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

fn schema_type(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(type_) => Some(type_),
        Value::Array(types) => {
            match types.iter().filter_map(Value::as_str).filter(|type_| *type_ != "null").collect::<Vec<_>>()[..] {
                [only] => Some(only),
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_a(type_: &str, value: &Value) -> bool {
    match type_ {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "\"boolean\"",
        Value::Number(_) => "\"number\"",
        Value::String(_) => "\"string\"",
        Value::Array(_) => "\"array\"",
        Value::Object(_) => "\"object\"",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(kind: Kind, mut value: Value, expected: &[&str]) {
        value["metadata"] = json!({ "name": "x" });
        let faults: Vec<String> = faults(kind, &value).iter().map(ToString::to_string).collect();
        assert_eq!(faults, expected, "{value}");
    }

    #[test]
    fn every_kind_has_a_schema() {
        for (kind, schema) in &*SCHEMAS {
            assert!(schema.get("properties").is_some_and(|fields| fields.as_object().is_some()), "{kind}: {schema}");
        }
        assert!(METADATA.pointer("/properties/labels").is_some());
    }

    #[test]
    fn known_fields_pass() {
        check(Kind::Client, json!({ "spec": { "username": "u" }, "status": { "credential": { "name": "s" } } }), &[]);
        check(Kind::Client, json!({ "spec": { "username": null } }), &[]);
        let device = json!({ "uuid": "u", "parent_uuid": "p", "labels": { "any/key": "v" } });
        check(Kind::Exporter, json!({ "spec": { "enabled": true }, "status": { "devices": [device] } }), &[]);
        check(Kind::Exporter, json!({ "status": { "devices": [{ "uuid": null, "labels": {} }] } }), &[]);
        check(Kind::Secret, json!({ "type": "Opaque", "data": { "a": "YQ==" }, "immutable": false }), &[]);
        check(Kind::ConfigMap, json!({ "data": { "a": "b" }, "binaryData": { "c": "YQ==" } }), &[]);
        let spec = json!({ "clientRef": { "name": "c" }, "selector": {}, "beginTime": "2026-01-02T03:04:05.5Z" });
        check(Kind::Lease, json!({ "spec": spec, "status": { "ended": true, "priority": -3 } }), &[]);
        let policy = json!({ "priority": -1, "from": [{ "clientSelector": { "matchLabels": { "a": "b" } } }] });
        check(Kind::ExporterAccessPolicy, json!({ "spec": { "policies": [policy] } }), &[]);
    }

    #[test]
    fn the_rest_is_named() {
        check(Kind::Client, json!({ "spec": { "user": "u" } }), &["unknown field \"spec.user\""]);
        check(Kind::Client, json!({ "spec": [] }), &["spec: Invalid value: \"array\": must be of type object"]);
        check(
            Kind::Exporter,
            json!({ "status": { "devices": [{}, { "labels": { "a": 1 } }, { "x": 1 }] } }),
            &[
                "status.devices[1].labels[a]: Invalid value: \"number\": must be of type string",
                "unknown field \"status.devices[2].x\"",
            ],
        );
        check(
            Kind::Lease,
            json!({ "spec": { "selector": {} } }),
            &["spec.clientRef: Required value: the field is missing"],
        );
        check(
            Kind::Lease,
            json!({ "spec": { "clientRef": {}, "selector": { "matchExpressions": [{ "key": "a" }] } } }),
            &["spec.selector.matchExpressions[0].operator: Required value: the field is missing"],
        );
        check(
            Kind::Lease,
            json!({ "spec": { "clientRef": {}, "selector": {}, "release": "yes", "endTime": "soon" } }),
            &[
                "spec.release: Invalid value: \"string\": must be of type boolean",
                "spec.endTime: Invalid value: \"soon\": use a time such as 2026-01-02T03:04:05Z",
            ],
        );
        check(
            Kind::Secret,
            json!({ "data": { "a": 1 } }),
            &["data[a]: Invalid value: \"number\": must be of type string"],
        );
        check(Kind::Secret, json!({ "dat": {} }), &["unknown field \"dat\""]);
    }
}
