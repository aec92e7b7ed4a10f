//! One stored object, as JSON behind a shared pointer.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::{Map, Value};

use crate::{DecodeError, Key, Kind, ResourceVersion, StoredKind};

/// An object of one of the kinds kept here. Clones share the content.
#[derive(Clone, PartialEq)]
pub struct Object(Arc<Inner>);

#[derive(PartialEq)]
struct Inner {
    key: Key,
    version: ResourceVersion,
    value: Value,
}

impl Object {
    /// The object that a resource describes. `apiVersion` and `kind` are those of the type.
    ///
    /// # Panics
    /// Never for the kinds kept here: all of them serialize to a JSON object with a `metadata` object.
    pub fn from_resource<K: StoredKind>(resource: &K) -> Self {
        let mut value = serde_json::to_value(resource).expect("a resource serializes to JSON");
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".into(), K::KIND.api_version().into());
            fields.insert("kind".into(), K::KIND.name().into());
        }
        Self::from_value(value).expect("a resource has a kind and metadata")
    }

    /// The object of a manifest. Checks `apiVersion`, `kind` and the form of `metadata`, nothing else.
    pub fn from_value(value: Value) -> Result<Self, DecodeError> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, name) = (text("apiVersion"), text("kind"));
        let kind = Kind::from_type(api_version, name).ok_or_else(|| {
            DecodeError::Shape(format!("apiVersion `{api_version}`, kind `{name}` is none of the kinds kept here"))
        })?;
        let metadata = value
            .get("metadata")
            .and_then(Value::as_object)
            .ok_or_else(|| DecodeError::Shape(format!("{kind}: metadata is missing or not an object")))?;
        let key = Key::new(kind, string(metadata, "namespace")?, string(metadata, "name")?);
        let version = match string(metadata, "resourceVersion")? {
            "" => ResourceVersion::ZERO,
            text => text.parse().map_err(|_| DecodeError::Content {
                key: key.clone(),
                detail: format!("metadata.resourceVersion `{text}` is not a version of this store"),
            })?,
        };
        for field in ["labels", "annotations"] {
            let texts = metadata.get(field).is_none_or(|field| match field {
                Value::Null => true,
                Value::Object(entries) => entries.values().all(Value::is_string),
                _ => false,
            });
            if !texts {
                let detail = format!("metadata.{field} is not a map of strings");
                return Err(DecodeError::Content { key, detail });
            }
        }
        Ok(Self(Arc::new(Inner { key, version, value })))
    }

    /// The typed form.
    pub fn decode<K: StoredKind>(&self) -> Result<K, DecodeError> {
        if self.kind() != K::KIND {
            return Err(DecodeError::Kind { expected: K::KIND, found: self.key().to_string() });
        }
        let value = &self.0.value;
        // A manifest may leave `spec` out or hold nulls, and an API server may keep it so (kubernetes.md §1.1): rare
        // enough that the copy is made only then.
        let decoded = K::deserialize(value).or_else(|_| jumpstarter_model::resource::decode(value.clone()));
        decoded.map_err(|error| DecodeError::Content { key: self.key().clone(), detail: error.source.to_string() })
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.key.kind
    }

    /// Kind, namespace and name.
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.0.key.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.key.name
    }

    /// `metadata.uid`; empty before the object is stored.
    pub fn uid(&self) -> &str {
        self.metadata().get("uid").and_then(Value::as_str).unwrap_or_default()
    }

    /// `metadata.resourceVersion`; zero before the object is stored.
    pub fn resource_version(&self) -> ResourceVersion {
        self.0.version
    }

    /// `metadata.generation`; zero for kinds without one.
    pub fn generation(&self) -> i64 {
        self.metadata().get("generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata().get("labels")?.get(key)?.as_str()
    }

    /// All labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.texts("labels")
    }

    /// All annotations.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.texts("annotations")
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The whole object, without a copy when nobody else holds it.
    pub fn into_value(self) -> Value {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.value.clone(), |inner| inner.value)
    }

    /// The object without its `resourceVersion`, so that a write of it is unconditional.
    #[must_use]
    pub fn unconditional(self) -> Self {
        let key = self.key().clone();
        let mut value = self.into_value();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("resourceVersion");
        }
        Self(Arc::new(Inner { key, version: ResourceVersion::ZERO, value }))
    }

    pub(crate) fn metadata(&self) -> &Map<String, Value> {
        self.0.value.get("metadata").and_then(Value::as_object).expect("every constructor checks it")
    }

    fn texts(&self, field: &str) -> BTreeMap<String, String> {
        let entries = self.metadata().get(field).and_then(Value::as_object);
        entries
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }
}

/// Prints the content, except that of a Secret.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind() == Kind::Secret {
            return write!(f, "Object({} @ {})", self.key(), self.resource_version());
        }
        write!(f, "Object({})", self.value())
    }
}

fn string<'a>(metadata: &'a Map<String, Value>, field: &str) -> Result<&'a str, DecodeError> {
    match metadata.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(DecodeError::Shape(format!("metadata.{field} is not a string"))),
    }
}

#[cfg(test)]
mod tests {
    use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease};

    use super::*;

    fn bare(kind: Kind) -> Object {
        let metadata = serde_json::json!({ "name": "bare", "namespace": "lab" });
        let value = serde_json::json!({ "apiVersion": kind.api_version(), "kind": kind.name(), "metadata": metadata });
        Object::from_value(value).expect("a plain object")
    }

    #[test]
    fn a_missing_spec_is_an_empty_one() {
        bare(Kind::Client).decode::<Client>().expect("a client without a spec");
        bare(Kind::Exporter).decode::<Exporter>().expect("an exporter without a spec");
        bare(Kind::ExporterAccessPolicy).decode::<ExporterAccessPolicy>().expect("a policy without a spec");
        let error = bare(Kind::Lease).decode::<Lease>().expect_err("a lease needs a client");
        assert!(error.to_string().contains("clientRef"), "{error}");
    }
}
