//! From a request to a Lease object.

use std::collections::BTreeMap;

use jumpstarter_model::{Client, Lease, LeaseSpec, LocalObjectReference, Selector, labels, lease_time, limits, name};
use jumpstarter_protocol::client::v1 as client;
use jumpstarter_scheduler::transition::REQUEUE;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tonic::Status;

use crate::{config::ControllerConfig, convert, status::invalid};

/// What a `CreateLease` asks for, checked in the order that clients know: target and tags first.
pub(crate) struct RequestedLease {
    selector: Selector,
    selector_text: String,
    exporter: Option<String>,
    tags: BTreeMap<String, String>,
    lease: client::Lease,
}

/// Checks what needs no caller: target, tags, context and selector.
pub(crate) fn requested_lease(
    config: &ControllerConfig,
    lease: Option<client::Lease>,
) -> Result<RequestedLease, Status> {
    let lease = lease.ok_or_else(|| invalid("lease is required"))?;
    // Python sets the name of the exporter to "" when it has none.
    let exporter = lease.exporter_name.clone().filter(|name| !name.is_empty());
    let selector_text = lease.selector.trim().to_owned();
    if selector_text.is_empty() && exporter.is_none() {
        return Err(invalid("one of selector or exporter_name is required"));
    }
    if let Some(exporter) = &exporter {
        name::validate_subdomain("exporter name", exporter).map_err(invalid)?;
    }
    let selector = Selector::parse(&selector_text).map_err(|error| invalid(format!("selector: {error}")))?;
    if selector.is_empty() && exporter.is_none() {
        return Err(invalid("one of selector or exporter_name is required"));
    }
    let tags: BTreeMap<String, String> = lease.tags.clone().into_iter().collect();
    limits::validate_tags(&tags, config.live.get().max_tags).map_err(invalid)?;
    limits::validate_context(&lease.context.clone().into_iter().collect::<BTreeMap<_, _>>()).map_err(invalid)?;
    Ok(RequestedLease { selector, selector_text, exporter, tags, lease })
}

impl RequestedLease {
    /// The object to store; `id` is empty when the service is to choose.
    pub(crate) fn into_object(self, config: &ControllerConfig, id: &str, owner: &Client) -> Result<Lease, Status> {
        let name = if id.is_empty() {
            uuid::Uuid::now_v7().to_string()
        } else {
            name::validate_subdomain("lease_id", id).map_err(invalid)?;
            id.to_owned()
        };
        let instant = |time: Option<prost_types::Timestamp>, what: &str| {
            time.map(|time| convert::from_timestamp(time).ok_or_else(|| invalid(format!("{what} is out of range"))))
                .transpose()
        };
        let begin = instant(self.lease.begin_time, "begin_time")?;
        let end = instant(self.lease.end_time, "end_time")?;
        let duration = self
            .lease
            .duration
            .map(|span| convert::from_duration(span).ok_or_else(|| invalid("duration is out of range")))
            .transpose()?;
        let times = lease_time::normalize(begin, end, duration).map_err(invalid)?;
        let now = config.clock.now();
        if let Some(end) = times.fixed_end().filter(|end| *end <= now) {
            return Err(invalid(format!("the lease would be over already: it ends at {end}, and now it is {now:.0}")));
        }
        let mut spec = LeaseSpec {
            client_ref: LocalObjectReference::new(owner.metadata.name.clone().unwrap_or_default()),
            selector: self.selector.to_label_selector(),
            exporter_ref: self.exporter.map(LocalObjectReference::new),
            tags: (!self.tags.is_empty()).then(|| self.tags.clone()),
            context: (!self.lease.context.is_empty()).then(|| self.lease.context.into_iter().collect()),
            allow_disabled: self.lease.allow_disabled.then_some(true),
            ..LeaseSpec::default()
        };
        times.store(&mut spec);
        let labels = labels::lease_labels(&self.selector, &self.tags);
        let canonical = self.selector.to_string();
        let mut annotations = BTreeMap::new();
        if !self.selector_text.is_empty() && self.selector_text != canonical {
            annotations.insert(convert::SELECTOR_TEXT_ANNOTATION.to_owned(), self.selector_text);
        }
        if self.lease.requeue {
            annotations.insert(REQUEUE.to_owned(), "true".to_owned());
        }
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: Some(config.namespace.clone()),
            labels: (!labels.is_empty()).then_some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        };
        Ok(Lease { metadata, spec, status: None })
    }
}
