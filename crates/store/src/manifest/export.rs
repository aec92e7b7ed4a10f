//! Objects as YAML documents.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{MIGRATED_NAMESPACE, MIGRATED_STATUS, MIGRATED_UID};
use crate::{Kind, Object};

const HEADER: &str = "\
# Objects of a Jumpstarter service, for `kubectl apply -f` or `jumpstarter import`. Keep it private: it holds Secrets.
# Clients and exporters keep their tokens: annotations carry the identities that these were issued for.
# kubectl leaves out status; for leases and exporters an annotation carries it, so that running leases go on.
";

/// Writes the documents, in the order given.
pub(crate) fn write(objects: impl IntoIterator<Item = Object>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(HEADER.as_bytes())?;
    for object in objects {
        let text = serde_saphyr::to_string_with_options(&manifest(&object), style()).map_err(io::Error::other)?;
        // As it is: a block scalar at the end may keep its empty lines.
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        write!(out, "---\n{text}{newline}")?;
    }
    out.flush()
}

/// The object without what a store says of it, except what tokens depend on.
fn manifest(object: &Object) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), object.name().into());
    metadata.insert("namespace".into(), object.namespace().into());
    let labels = object.labels();
    if !labels.is_empty() {
        metadata.insert("labels".into(), json!(labels));
    }
    let mut annotations = object.annotations();
    if matches!(object.kind(), Kind::Client | Kind::Exporter) {
        keep(&mut annotations, MIGRATED_NAMESPACE, object.namespace());
        keep(&mut annotations, MIGRATED_UID, object.uid());
    }
    let status = object.value().get("status").filter(|status| !status.is_null());
    if let Some(status) = status
        && matches!(object.kind(), Kind::Lease | Kind::Exporter)
    {
        annotations.insert(MIGRATED_STATUS.to_owned(), status.to_string());
    }
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), json!(annotations));
    }
    // Owner references name uids that mean nothing elsewhere: a garbage collector would remove the object.
    let mut fields = object.value().as_object().cloned().unwrap_or_default();
    fields.insert("metadata".into(), Value::Object(metadata));
    Value::Object(fields)
}

/// An identity that was already carried here stays; an empty one counts as none.
fn keep(annotations: &mut std::collections::BTreeMap<String, String>, key: &str, value: &str) {
    let carried = annotations.entry(key.to_owned()).or_default();
    if carried.is_empty() {
        value.clone_into(carried);
    }
}

/// Long texts, tokens above all, stay on one line.
fn style() -> serde_saphyr::SerializerOptions {
    serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX }
}
