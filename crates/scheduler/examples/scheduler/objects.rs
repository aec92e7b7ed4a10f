//! The objects of a lab on paper.

use std::collections::BTreeMap;

use jumpstarter_model::{
    Client, ClientSpec, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterSpec, From, GoDuration,
    Lease, LeaseSpec, LocalObjectReference, Policy, Selector, Timestamp, set_condition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// An exporter that is there and can be leased.
pub(crate) fn exporter(name: &str, labels: &[(&str, &str)]) -> Exporter {
    let mut exporter = Exporter::new(name, ExporterSpec::default());
    exporter.metadata.labels = Some(owned(labels));
    let status = exporter.status.get_or_insert_default();
    for condition in ["Registered", "Online"] {
        set_condition(&mut status.conditions, condition, true, "Bench", "", None, Timestamp::UNIX_EPOCH);
    }
    exporter
}

/// The same with or without its connection.
pub(crate) fn connected(exporter: &Exporter, online: bool) -> Exporter {
    let mut exporter = exporter.clone();
    let status = exporter.status.get_or_insert_default();
    set_condition(&mut status.conditions, "Online", online, "Bench", "", None, Timestamp::UNIX_EPOCH);
    exporter
}

/// A lease that nobody has looked at yet.
pub(crate) fn lease(name: &str, client: &str, selector: &str, seconds: i64, created: Timestamp) -> Lease {
    let mut lease = Lease::new(
        name,
        LeaseSpec {
            client_ref: LocalObjectReference::new(client.to_owned()),
            duration: Some(GoDuration::from_secs(seconds)),
            selector: Selector::parse(selector).expect("a selector of this file").to_label_selector(),
            ..LeaseSpec::default()
        },
    );
    lease.metadata.uid = Some(name.to_owned());
    lease.metadata.creation_timestamp = Some(Time(created));
    lease
}

/// A client with one label.
pub(crate) fn client(name: &str, team: &str) -> Client {
    let mut client = Client::new(name, ClientSpec::default());
    client.metadata.labels = Some(owned(&[("team", team)]));
    client
}

/// A policy about the exporters of one selector, that lets some clients in.
pub(crate) fn policy(name: &str, exporters: &str, clients: &str, priority: i64) -> ExporterAccessPolicy {
    let select = |text: &str| Selector::parse(text).expect("a selector of this file").to_label_selector();
    let from = vec![From { client_selector: select(clients) }];
    let rule = Policy { priority: Some(priority), from: Some(from), ..Policy::default() };
    let spec = ExporterAccessPolicySpec { exporter_selector: Some(select(exporters)), policies: Some(vec![rule]) };
    ExporterAccessPolicy::new(name, spec)
}

fn owned(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
