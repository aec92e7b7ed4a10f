//! From the API server's JSON to objects, one by one.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use jumpstarter_store::{EventKind, EventRecorder, Key, Kind, Object, ObjectEvent, ResourceVersion};
use serde_json::Value;

use crate::{FIELD_MANAGER, metrics::KubernetesMetrics};

/// Objects that are remembered as reported.
const REPORTED: usize = 1024;

/// Something that should be an object and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undecodable {
    pub(crate) key: Key,
    pub(crate) uid: String,
    /// Its version as far as that can be told.
    pub(crate) version: Option<ResourceVersion>,
    pub(crate) detail: String,
}

/// The object of an answer. Items of lists do not say what they are, so `kind` does.
///
/// `metadata.managedFields` is left out: nothing here reads it, a write without it keeps it, and it is often most of
/// the object.
pub(crate) fn object(kind: Kind, mut value: Value) -> Result<Object, Undecodable> {
    if let Some(fields) = value.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        fields.entry("kind").or_insert_with(|| kind.name().into());
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
    }
    let metadata = &value["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let version = text("resourceVersion").parse().ok();
    let key = Key::new(kind, text("namespace"), text("name"));
    let uid = text("uid").to_owned();
    let undecodable = |detail: String| Undecodable { key: key.clone(), uid: uid.clone(), version, detail };
    let object = Object::from_value(value).map_err(|error| undecodable(error.to_string()))?;
    if object.kind() != kind || object.name().is_empty() || object.resource_version() == ResourceVersion::ZERO {
        return Err(undecodable(format!("it is not a stored object of kind {kind}")));
    }
    Ok(object)
}

/// One state of one object.
type State = (Key, Option<ResourceVersion>);

/// Tells of objects that are none: once each, in the log, in a metric and as an Event.
#[derive(Clone)]
pub(crate) struct Reporter {
    events: Arc<dyn EventRecorder>,
    metrics: KubernetesMetrics,
    reported: Arc<Mutex<HashSet<State>>>,
}

impl Reporter {
    pub(crate) fn new(events: Arc<dyn EventRecorder>, metrics: KubernetesMetrics) -> Self {
        Self { events, metrics, reported: Arc::default() }
    }

    pub(crate) fn report(&self, found: &Undecodable) {
        {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.len() >= REPORTED {
                reported.clear();
            }
            if !reported.insert((found.key.clone(), found.version)) {
                return;
            }
        }
        self.metrics.undecodable(found.key.kind);
        tracing::warn!(object = %found.key, detail = found.detail, "an object cannot be read and is left out");
        self.events.record(ObjectEvent {
            object: found.key.clone(),
            uid: found.uid.clone(),
            resource_version: found.version,
            kind: EventKind::Warning,
            component: FIELD_MANAGER,
            reason: "Undecodable",
            message: format!("The service cannot read this object and ignores it: {}", found.detail),
        });
    }

    /// The objects among these; what is none is reported and left out.
    pub(crate) fn sift(&self, kind: Kind, values: Vec<Value>) -> Vec<Object> {
        let decoded = values.into_iter().map(|value| object(kind, value));
        decoded.filter_map(|object| object.map_err(|found| self.report(&found)).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use jumpstarter_store::NoEvents;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_object_spoils_no_other() {
        let metadata = |name: &str| json!({ "name": name, "namespace": "n", "resourceVersion": "5", "uid": "u" });
        let good = json!({ "metadata": metadata("good"), "data": {} });
        let mut bad = json!({ "metadata": metadata("bad") });
        bad["metadata"]["labels"] = json!({ "a": 1 });
        let versionless = json!({ "metadata": { "name": "x", "namespace": "n", "resourceVersion": "five" } });
        let reporter = Reporter::new(Arc::new(NoEvents), KubernetesMetrics::default());
        let items = reporter.sift(Kind::Secret, vec![bad.clone(), good, versionless, json!("text")]);
        assert_eq!(items.iter().map(Object::name).collect::<Vec<_>>(), ["good"]);
        assert_eq!(items[0].value()["kind"], "Secret");
        let found = object(Kind::Secret, bad).unwrap_err();
        assert_eq!((found.key.name.as_str(), found.version), ("bad", Some(ResourceVersion(5))));
        assert!(found.detail.contains("labels"), "{}", found.detail);
    }

    #[test]
    fn managed_fields_are_left_out() {
        let mut value = json!({ "metadata": { "name": "a", "namespace": "n", "resourceVersion": "5" } });
        value["metadata"]["managedFields"] = json!([{ "manager": "m" }]);
        assert!(object(Kind::Secret, value).unwrap().value()["metadata"].get("managedFields").is_none());
    }
}
