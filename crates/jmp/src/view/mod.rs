//! How objects are shown: the JSON of `-o json|yaml`, rows of the table, and names.
//!
//! Objects are taken as JSON rather than as types, so that an object with one bad field is still shown.

mod age;
mod client;
mod exporter;
mod lease;
mod policy;
mod quota;
#[cfg(test)]
mod tests;
mod window;

use jumpstarter_model::{Selector, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::cluster::Kind;

/// One object or a list of them, ready to be printed.
#[derive(Debug)]
pub(crate) struct View {
    /// For `-o json` and `-o yaml`.
    pub(crate) json: Value,
    /// Headings of the table.
    pub(crate) headings: Vec<&'static str>,
    /// Rows of the table.
    pub(crate) rows: Vec<Vec<String>>,
    /// For `-o name`.
    pub(crate) names: Vec<String>,
}

/// What differs from one question to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// A row for each device of an exporter.
    pub(crate) devices: bool,
    /// The present, for ages.
    pub(crate) now: Timestamp,
}

impl Options {
    /// The usual table, at this moment.
    pub(crate) fn now() -> Self {
        Self { devices: false, now: Timestamp::now() }
    }
}

/// Shows one object.
pub(crate) fn one(kind: Kind, object: &Value, options: Options) -> View {
    View { json: to_json(kind, object), ..table(kind, std::slice::from_ref(object), options) }
}

/// Shows a list.
pub(crate) fn list(kind: Kind, objects: &[Value], options: Options) -> View {
    let items = objects.iter().map(|object| to_json(kind, object)).collect::<Vec<_>>();
    View {
        json: json!({
            "apiVersion": jumpstarter_model::API_VERSION,
            "items": items,
            "kind": format!("{}List", kind.name()),
        }),
        ..table(kind, objects, options)
    }
}

fn table(kind: Kind, objects: &[Value], options: Options) -> View {
    let mut headings = headings(kind, options);
    let mut rows = objects.iter().map(|object| (object, rows(kind, object, options))).collect::<Vec<_>>();
    if matches!(kind, Kind::Exporter) && objects.iter().any(exporter::is_quarantined) {
        headings.extend(exporter::QUARANTINE_HEADINGS);
        for (object, rows) in &mut rows {
            for row in rows {
                row.extend(exporter::quarantine_cells(object));
            }
        }
    }
    View {
        json: Value::Null,
        headings,
        rows: rows.into_iter().flat_map(|(_, rows)| rows).collect(),
        names: objects.iter().map(|object| qualified_name(kind, object)).collect(),
    }
}

/// `kind.jumpstarter.dev/name`.
fn qualified_name(kind: Kind, object: &Value) -> String {
    format!("{}.{}/{}", kind.singular(), jumpstarter_model::GROUP, name(object))
}

fn to_json(kind: Kind, object: &Value) -> Value {
    match kind {
        Kind::Client => client::to_json(object),
        Kind::Exporter => exporter::to_json(object),
        Kind::Lease => lease::to_json(object),
        Kind::Policy => policy::to_json(object),
        Kind::Quota => quota::to_json(object),
        Kind::Window => window::to_json(object),
    }
}

fn headings(kind: Kind, options: Options) -> Vec<&'static str> {
    match kind {
        Kind::Client => client::HEADINGS.to_vec(),
        Kind::Exporter if options.devices => exporter::DEVICE_HEADINGS.to_vec(),
        Kind::Exporter => exporter::HEADINGS.to_vec(),
        Kind::Lease => lease::HEADINGS.to_vec(),
        Kind::Policy => policy::HEADINGS.to_vec(),
        Kind::Quota => quota::HEADINGS.to_vec(),
        Kind::Window => window::HEADINGS.to_vec(),
    }
}

fn rows(kind: Kind, object: &Value, options: Options) -> Vec<Vec<String>> {
    match kind {
        Kind::Client => vec![client::row(object)],
        Kind::Exporter if options.devices => exporter::device_rows(object, options.now),
        Kind::Exporter => vec![exporter::row(object, options.now)],
        Kind::Lease => vec![lease::row(object, options.now)],
        Kind::Policy => vec![policy::row(object, options.now)],
        Kind::Quota => vec![quota::row(object, options.now)],
        Kind::Window => vec![window::row(object, options.now)],
    }
}

/// The envelope that existing readers get: kind, and the parts of the metadata that a server fills in.
fn envelope(object: &Value) -> Map<String, Value> {
    const SHOWN: [&str; 6] = ["creationTimestamp", "generation", "name", "namespace", "resourceVersion", "uid"];
    let metadata = SHOWN.into_iter().filter_map(|key| Some((key.to_owned(), object["metadata"].get(key)?.clone())));
    let mut fields = Map::new();
    fields.insert("apiVersion".to_owned(), object["apiVersion"].clone());
    fields.insert("kind".to_owned(), object["kind"].clone());
    fields.insert("metadata".to_owned(), Value::Object(metadata.collect()));
    fields
}

/// The manifest, ready to be changed and applied.
fn manifest(object: &Value) -> Value {
    let mut fields = envelope(object);
    fields.insert("spec".to_owned(), object["spec"].clone());
    Value::Object(fields)
}

/// A selector as text; `*` is everything.
fn selector(object: &Value, pointer: &str) -> String {
    let Some(selector) = object.pointer(pointer) else {
        return "*".to_owned();
    };
    let selector = LabelSelector::deserialize(selector).ok();
    match selector.and_then(|selector| Selector::from_label_selector(&selector).ok()) {
        Some(selector) if selector.is_empty() => "*".to_owned(),
        Some(selector) => selector.to_string(),
        None => "<invalid>".to_owned(),
    }
}

/// A reference by name, or null.
fn reference(value: &Value) -> Value {
    value["name"].as_str().filter(|name| !name.is_empty()).map_or(Value::Null, |name| json!({ "name": name }))
}

fn name(object: &Value) -> String {
    text(object, "/metadata/name")
}

/// The text at a place, or nothing.
fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Labels as `key:value`, joined with commas.
fn labels(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}:{}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

/// How long an object has existed.
fn age(object: &Value, now: Timestamp) -> String {
    let created = text(object, "/metadata/creationTimestamp").parse::<Timestamp>();
    created.map(|created| age::since(created, now)).unwrap_or_default()
}
