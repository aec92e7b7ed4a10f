//! `ExporterAccessPolicy`: who may lease which exporters (kubernetes.md §1.5, §4.3).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GoDuration;

/// Rules for the exporters that a selector matches.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "ExporterAccessPolicy",
    plural = "exporteraccesspolicies",
    singular = "exporteraccesspolicy",
    namespaced,
    status = "ExporterAccessPolicyStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Who may lease which exporters"
)]
#[serde(rename_all = "camelCase")]
pub struct ExporterAccessPolicySpec {
    /// Exporters that the rules are about; empty or absent is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_selector: Option<LabelSelector>,
    /// The rules; each admits on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<Policy>>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Shown to clients that it refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Higher wins; default 0, may be negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Clients it admits; empty or absent admits nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<From>>,
    /// Longest lease that it admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_duration: Option<GoDuration>,
    /// Whether leases granted by this rule may be pre-empted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_access: Option<bool>,
}

/// A set of clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct From {
    /// Client labels; empty admits every client.
    #[serde(default)]
    pub client_selector: LabelSelector,
}

/// No fields; never written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExporterAccessPolicyStatus {}
