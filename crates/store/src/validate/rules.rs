//! What the form cannot say: names, labels, selectors, durations, and the rules of Leases.

use jumpstarter_model::{
    GoDuration, LeaseQuotaSpec, MaintenanceWindowSpec, Selector, labels, limits, name, resource::quota,
    window::Schedule,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Fault, FaultKind};
use crate::{Kind, Object};

/// All annotations of an object together, as in Kubernetes.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// The faults of a manifest whose form is right.
pub(super) fn faults(kind: Kind, value: &Value) -> Vec<Fault> {
    let mut check = Check { faults: Vec::new() };
    check.metadata(&value["metadata"]);
    let spec = &value["spec"];
    match kind {
        Kind::Lease => check.lease(spec),
        Kind::ExporterAccessPolicy => check.policy(spec),
        Kind::LeaseQuota => check.quota(spec),
        Kind::MaintenanceWindow => check.window(spec),
        Kind::Client | Kind::Exporter | Kind::Secret | Kind::ConfigMap => {}
    }
    if check.faults.is_empty() {
        // The last word is the type's: what it does not take, nobody could read back.
        check.decodes(kind, value);
    }
    check.faults
}

/// Rules between the states of an object.
pub(super) fn update_faults(kind: Kind, current: &Value, next: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    if kind != Kind::Lease {
        return faults;
    }
    let immutable = [("tags", "tags are immutable after creation"), ("context", "context is immutable after creation")];
    for (field, message) in immutable {
        let before = &current["spec"][field];
        if !before.is_null() && *before != next["spec"][field] {
            faults.push(Fault::new(FaultKind::Invalid, "spec", format!("\"object\": {message}")));
        }
    }
    faults
}

struct Check {
    faults: Vec<Fault>,
}

impl Check {
    fn metadata(&mut self, metadata: &Value) {
        if let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) {
            self.must("metadata.name", name, name::validate_subdomain("name", name));
        } else if let Some(prefix) = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty()) {
            // The suffix makes any end right.
            self.must("metadata.generateName", prefix, name::validate_subdomain("prefix", &format!("{prefix}x")));
        } else {
            self.push(FaultKind::Required, "metadata.name", "name or generateName is required");
        }
        if let Some(namespace) = metadata["namespace"].as_str().filter(|namespace| !namespace.is_empty()) {
            self.must("metadata.namespace", namespace, name::validate_label("namespace", namespace));
        }
        for (key, value) in entries(&metadata["labels"]) {
            self.must("metadata.labels", key, labels::validate_key(key));
            if let Some(value) = value.as_str() {
                self.must("metadata.labels", value, labels::validate_value(value));
            }
        }
        let mut size = 0;
        for (key, value) in entries(&metadata["annotations"]) {
            self.must("metadata.annotations", key, labels::validate_key(&key.to_lowercase()));
            size += key.len() + value.as_str().map_or(0, str::len);
        }
        if size > MAX_ANNOTATIONS {
            self.push(FaultKind::TooLong, "metadata.annotations", &format!("{size} bytes: at most {MAX_ANNOTATIONS}"));
        }
        if metadata["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
            self.push(FaultKind::Invalid, "metadata.finalizers", "finalizers are not supported here");
        }
    }

    fn lease(&mut self, spec: &Value) {
        self.duration("spec.duration", &spec["duration"]);
        self.selector("spec.selector", &spec["selector"]);
        let selects = !entries(&spec["selector"]["matchLabels"]).is_empty()
            || spec["selector"]["matchExpressions"].as_array().is_some_and(|list| !list.is_empty());
        let pinned = spec["exporterRef"]["name"].as_str().is_some_and(|name| !name.is_empty());
        if !selects && !pinned {
            self.push(FaultKind::Invalid, "spec", "\"object\": one of selector or exporterRef.name is required");
        }
        self.count("spec.tags", &spec["tags"], limits::MAX_TAGS);
        self.count("spec.context", &spec["context"], limits::MAX_CONTEXT_ENTRIES);
        let fits = |(key, value): (&String, &Value)| {
            key.chars().count() <= limits::MAX_CONTEXT_KEY
                && value.as_str().is_none_or(|value| value.chars().count() <= limits::MAX_CONTEXT_VALUE)
        };
        if !entries(&spec["context"]).iter().all(fits) {
            self.push(FaultKind::Invalid, "spec", "\"object\": context keys max 32 chars, values max 64 chars");
        }
    }

    fn policy(&mut self, spec: &Value) {
        self.selector("spec.exporterSelector", &spec["exporterSelector"]);
        for (number, policy) in spec["policies"].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.policies[{number}]");
            self.duration(&format!("{path}.maximumDuration"), &policy["maximumDuration"]);
            for (from, source) in policy["from"].as_array().into_iter().flatten().enumerate() {
                self.selector(&format!("{path}.from[{from}].clientSelector"), &source["clientSelector"]);
            }
        }
    }

    fn quota(&mut self, spec: &Value) {
        self.selector("spec.clientSelector", &spec["clientSelector"]);
        self.selector("spec.exporterSelector", &spec["exporterSelector"]);
        self.duration("spec.maxDeviceTime", &spec["maxDeviceTime"]);
        self.duration("spec.period", &spec["period"]);
        if let Some(label) = spec["accountLabel"].as_str().filter(|label| !label.is_empty()) {
            self.must("spec.accountLabel", label, labels::validate_key(label));
        }
        // What cannot be read is reported below.
        if let Ok(spec) = LeaseQuotaSpec::deserialize(spec) {
            for fault in quota::faults(&spec) {
                self.push(FaultKind::Invalid, "spec", &format!("\"object\": {fault}"));
            }
        }
    }

    fn window(&mut self, spec: &Value) {
        self.selector("spec.exporterSelector", &spec["exporterSelector"]);
        self.selector("spec.clientSelector", &spec["clientSelector"]);
        self.duration("spec.duration", &spec["duration"]);
        for exporter in spec["exporters"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.must("spec.exporters", exporter, name::validate_subdomain("exporter", exporter));
        }
        if !self.faults.is_empty() {
            return;
        }
        // What the fields mean together.
        match MaintenanceWindowSpec::deserialize(spec) {
            Ok(spec) => {
                if let Err(error) = Schedule::of(&spec) {
                    self.push(FaultKind::Invalid, "spec", &format!("\"object\": {error}"));
                }
            }
            Err(error) => self.push(FaultKind::Invalid, "spec", &error.to_string()),
        }
    }

    fn selector(&mut self, path: &str, value: &Value) {
        if value.is_null() {
            return;
        }
        match LabelSelector::deserialize(value) {
            Ok(selector) => {
                if let Err(error) = Selector::from_label_selector(&selector) {
                    self.push(FaultKind::Invalid, path, &error.to_string());
                }
            }
            Err(error) => self.push(FaultKind::Invalid, path, &error.to_string()),
        }
    }

    fn duration(&mut self, path: &str, value: &Value) {
        if let Some(text) = value.as_str() {
            self.must(path, text, text.parse::<GoDuration>());
        }
    }

    fn count(&mut self, path: &str, value: &Value, limit: usize) {
        let count = entries(value).len();
        if count > limit {
            self.push(FaultKind::TooLong, path, &format!("{count}: must have at most {limit} items"));
        }
    }

    fn decodes(&mut self, kind: Kind, value: &Value) {
        let decoded = Object::from_value(value.clone()).and_then(|object| match kind {
            Kind::Secret => object.decode::<k8s_openapi::api::core::v1::Secret>().map(drop),
            Kind::ConfigMap => object.decode::<k8s_openapi::api::core::v1::ConfigMap>().map(drop),
            Kind::Client => object.decode::<jumpstarter_model::Client>().map(drop),
            Kind::Exporter => object.decode::<jumpstarter_model::Exporter>().map(drop),
            Kind::ExporterAccessPolicy => object.decode::<jumpstarter_model::ExporterAccessPolicy>().map(drop),
            Kind::LeaseQuota => object.decode::<jumpstarter_model::LeaseQuota>().map(drop),
            Kind::MaintenanceWindow => object.decode::<jumpstarter_model::MaintenanceWindow>().map(drop),
            Kind::Lease => object.decode::<jumpstarter_model::Lease>().map(drop),
        });
        if let Err(error) = decoded {
            self.push(FaultKind::Invalid, if kind.is_core() { "data" } else { "spec" }, &error.to_string());
        }
    }

    fn must<E: std::fmt::Display>(&mut self, path: &str, text: &str, result: Result<impl Sized, E>) {
        if let Err(error) = result {
            let start: String = text.chars().take(80).collect();
            self.push(FaultKind::Invalid, path, &format!("\"{start}\": {error}"));
        }
    }

    fn push(&mut self, kind: FaultKind, path: &str, message: &str) {
        self.faults.push(Fault::new(kind, path, message));
    }
}

fn entries(value: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}
