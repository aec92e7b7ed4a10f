//! Lease: exclusive use of one exporter by one client for a time (kubernetes.md §1.4).

#![expect(unreachable_pub, reason = "the schema derive repeats the struct inside a function")]
#![allow(clippy::duplicated_attributes, reason = "each printer column is one attribute")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalObjectReference;
use crate::GoDuration;

/// What the client asked for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "Lease",
    plural = "leases",
    singular = "lease",
    namespaced,
    status = "LeaseStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Exclusive use of one exporter by one client for a time",
    printcolumn(name = "Ended", type_ = "boolean", json_path = ".status.ended"),
    printcolumn(name = "Client", type_ = "string", json_path = ".spec.clientRef.name"),
    printcolumn(name = "Exporter", type_ = "string", json_path = ".status.exporterRef.name")
)]
#[x_kube(
    validation = Rule::new(super::rules::TARGET_CEL).message(super::rules::TARGET_MESSAGE),
    validation = Rule::new(super::rules::TAGS_CEL).message(super::rules::TAGS_MESSAGE),
    validation = Rule::new(super::rules::CONTEXT_CEL).message(super::rules::CONTEXT_MESSAGE),
    validation = Rule::new(super::rules::CONTEXT_SIZE_CEL).message(super::rules::CONTEXT_SIZE_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct LeaseSpec {
    /// The owner.
    pub client_ref: LocalObjectReference,
    /// How long the lease lasts from its actual begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// Labels that an exporter must have.
    #[serde(default)]
    pub selector: LabelSelector,
    /// One exporter by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_ref: Option<LocalObjectReference>,
    /// The user's own labels; immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 10))]
    pub tags: Option<BTreeMap<String, String>>,
    /// Facts for logs; immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub context: Option<BTreeMap<String, String>>,
    /// With `exporterRef`: also take a disabled exporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_disabled: Option<bool>,
    /// `true` asks for the end of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<bool>,
    /// Requested begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_time: Option<Time>,
    /// Requested end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseStatus {
    /// Whether the lease is over; always written.
    #[serde(default)]
    #[schemars(required)]
    pub ended: bool,
    /// Actual begin: the moment of assignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_time: Option<Time>,
    /// Actual end; set only once ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// The exporter assigned; the public truth of who holds what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_ref: Option<LocalObjectReference>,
    /// Priority of the policy rule that granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Spot flag of that rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_access: Option<bool>,
    /// Conditions; clients show the last one as the state, so never reorder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Lease {
    /// Whether the status says the lease is over.
    pub fn is_ended(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.ended)
    }

    /// Name of the exporter that the lease holds or held.
    pub fn assigned_exporter(&self) -> Option<&str> {
        let name = &self.status.as_ref()?.exporter_ref.as_ref()?.name;
        (!name.is_empty()).then_some(name)
    }

    /// Name of the exporter that the lease is pinned to; an empty name is none.
    pub fn pinned_exporter(&self) -> Option<&str> {
        let name = &self.spec.exporter_ref.as_ref()?.name;
        (!name.is_empty()).then_some(name)
    }
}
