//! `LeaseQuota`: how much of the lab an account may have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A limit of what clients may hold.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "LeaseQuota",
    plural = "leasequotas",
    singular = "leasequota",
    namespaced,
    status = "LeaseQuotaStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "How much of the lab clients may have"
)]
#[serde(rename_all = "camelCase")]
pub struct LeaseQuotaSpec {
    /// Clients that it is about; empty or absent is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_selector: Option<LabelSelector>,
    /// Exporters that it counts; empty or absent is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_selector: Option<LabelSelector>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseQuotaStatus {
    /// Whether it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
