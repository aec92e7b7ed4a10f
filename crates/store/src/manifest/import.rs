//! YAML documents as objects: all of them, or a list of everything that is wrong with them.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead, BufReader, Read},
};

use serde_json::{Map, Value, json};

use super::{MIGRATED_NAMESPACE, MIGRATED_STATUS, MIGRATED_UID};
use crate::{Key, Kind, Object, StoreError, validate};

/// Most bytes of one file, and of one document in it.
const MAX_FILE: u64 = 256 << 20;
const MAX_DOCUMENT: usize = 16 << 20;
/// What a store says of an object; given in manifests that were read from a cluster.
const SERVERS: [&str; 9] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
];

/// What an import wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Number of objects of each kind.
    pub created: BTreeMap<Kind, usize>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> =
            self.created.iter().map(|(kind, count)| format!("{count} {}", kind.plural())).collect();
        if counts.is_empty() { f.write_str("nothing") } else { f.write_str(&counts.join(", ")) }
    }
}

/// Something wrong with one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportFault {
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// The object, as far as it is known.
    pub object: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ImportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.document)?;
        if !self.object.is_empty() {
            write!(f, " ({})", self.object)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The manifests are at fault.
    #[error("nothing was imported, {} to correct:\n{}", count(.0.len()), lines(.0))]
    Faults(Vec<ImportFault>),
    /// The file cannot be read.
    #[error("read the manifests")]
    Read(#[source] io::Error),
    /// The store does not take them.
    #[error("write the manifests to the store")]
    Store(#[source] StoreError),
}

/// An object to import, and the document that it comes from.
pub(crate) struct Import {
    pub(crate) document: usize,
    pub(crate) object: Object,
}

/// Reads and checks every document. Objects without a namespace go to `namespace`.
pub(crate) fn parse(reader: impl Read, namespace: &str) -> Result<Vec<Import>, ImportError> {
    let mut parsed = Parsed { namespace, objects: Vec::new(), seen: BTreeMap::new(), faults: Vec::new() };
    for (document, text) in documents(reader).map_err(ImportError::Read)?.into_iter().enumerate() {
        parsed.document(document + 1, &text);
    }
    if !parsed.faults.is_empty() {
        return Err(ImportError::Faults(parsed.faults));
    }
    let mut objects = parsed.objects;
    objects.sort_by_key(|import| import.object.key().kind);
    Ok(objects)
}

struct Parsed<'a> {
    namespace: &'a str,
    objects: Vec<Import>,
    seen: BTreeMap<Key, usize>,
    faults: Vec<ImportFault>,
}

impl Parsed<'_> {
    fn document(&mut self, document: usize, text: &str) {
        // A label value `y` or `on` is text for every other reader of manifests.
        let options = serde_saphyr::options! { strict_booleans: true };
        match serde_saphyr::from_str_with_options::<Value>(text, options) {
            Ok(Value::Null) => {}
            Ok(value) => self.manifest(document, value),
            Err(error) => {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default().to_owned();
                self.fault(document, "", line);
            }
        }
    }

    fn manifest(&mut self, document: usize, mut value: Value) {
        if value["kind"] == "List"
            && value["apiVersion"] == "v1"
            && let Value::Array(items) = value["items"].take()
        {
            return items.into_iter().for_each(|item| self.manifest(document, item));
        }
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let object = format!("{kind} {name}").trim().to_owned();
        let Some(kind) = Kind::from_type(&api_version, &kind) else {
            let message = format!("apiVersion `{api_version}`, kind `{kind}` cannot be imported");
            return self.fault(document, &object, message);
        };
        validate::apply_defaults(kind, &mut value);
        let faults = validate::manifest_faults(kind, &value);
        if !faults.is_empty() {
            return faults.iter().for_each(|fault| self.fault(document, &object, fault.to_string()));
        }
        let observed = value.get("status").is_some_and(|status| !status.is_null());
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            settle(kind, metadata, self.namespace);
            if observed && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                // It would only grow old beside the status itself.
                annotations.shift_remove(MIGRATED_STATUS);
            }
        }
        match Object::from_value(value) {
            Ok(parsed) => {
                if let Some(first) = self.seen.insert(parsed.key().clone(), document) {
                    self.fault(document, &object, format!("the same object is in document {first}"));
                }
                self.objects.push(Import { document, object: parsed });
            }
            Err(error) => self.fault(document, &object, error.to_string()),
        }
    }

    fn fault(&mut self, document: usize, object: &str, message: String) {
        self.faults.push(ImportFault { document, object: object.to_owned(), message });
    }
}

/// Takes out what another store said, after noting the identity that tokens were issued for.
fn settle(kind: Kind, metadata: &mut Map<String, Value>, namespace: &str) {
    let text = |metadata: &Map<String, Value>, field: &str| {
        metadata.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (from, uid) = (text(metadata, "namespace"), text(metadata, "uid"));
    if matches!(kind, Kind::Client | Kind::Exporter) && !uid.is_empty() && !from.is_empty() {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if annotations.is_null() {
            *annotations = json!({});
        }
        if let Some(annotations) = annotations.as_object_mut() {
            for (key, value) in [(MIGRATED_NAMESPACE, &from), (MIGRATED_UID, &uid)] {
                let carried = annotations.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
                if !carried {
                    annotations.insert(key.to_owned(), value.as_str().into());
                }
            }
        }
    }
    if from.is_empty() {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    for field in SERVERS {
        metadata.shift_remove(field);
    }
}

/// Cuts at lines that start with `---`, which nothing inside a document may do, so that each document has its own
/// faults.
fn documents(reader: impl Read) -> io::Result<Vec<String>> {
    let mut reader = BufReader::new(reader.take(MAX_FILE + 1));
    let mut documents = Vec::new();
    let (mut current, mut line, mut total) = (String::new(), String::new(), 0);
    loop {
        line.clear();
        let read = reader.read_line(&mut line)?;
        total += read as u64;
        if total > MAX_FILE || current.len() > MAX_DOCUMENT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the manifests are too large for one import"));
        }
        let separator = line.trim_end() == "---" || line.starts_with("--- ") || line.starts_with("---\t");
        if read == 0 || separator {
            let blank = current.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
            if !blank {
                documents.push(std::mem::take(&mut current));
            }
            current.clear();
            if read == 0 {
                return Ok(documents);
            }
            current.push_str(line.trim_start_matches("---"));
        } else {
            current.push_str(&line);
        }
    }
}

fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") }
}

fn lines(faults: &[ImportFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
