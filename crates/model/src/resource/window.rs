//! `MaintenanceWindow`: times at which exporters are not given out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A time at which exporters are not given out.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "MaintenanceWindow",
    plural = "maintenancewindows",
    singular = "maintenancewindow",
    namespaced,
    status = "MaintenanceWindowStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Times at which exporters are not given out"
)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindowSpec {
    /// Exporters that it is about; empty or absent is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_selector: Option<LabelSelector>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindowStatus {
    /// Whether it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
