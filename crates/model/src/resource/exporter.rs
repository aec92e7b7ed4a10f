//! Exporter: a device on a lab host, as announced by the process that serves it (kubernetes.md §1.3).

#![allow(clippy::duplicated_attributes, reason = "each printer column is one attribute")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ExporterHealth, LocalObjectReference};

/// What an administrator says of an exporter.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "Exporter",
    plural = "exporters",
    singular = "exporter",
    namespaced,
    status = "ExporterStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A device on a lab host, as announced by the process that serves it",
    printcolumn(name = "Enabled", type_ = "boolean", json_path = ".spec.enabled"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.exporterStatus"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.statusMessage", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct ExporterSpec {
    /// External user name accepted for this exporter, compared verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// `false` takes the exporter out of service; absent means enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// What the controller says of an exporter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExporterStatus {
    /// Conditions `Online`, `Registered` and `Quarantined`, in the order in which they first appeared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Secret that holds the exporter's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<LocalObjectReference>,
    /// Driver tree reported at registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Lease that holds this exporter: the claim that exclusivity rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ref: Option<LocalObjectReference>,
    /// Last sign of life; written on transitions and then coarsely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// Controller endpoint for this exporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What the exporter last reported of itself; absent for peers that never report.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_phase")]
    pub exporter_status: Option<ExporterPhase>,
    /// Free text that came with the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// Ours: `uid` of the lease whose session the exporter has said to be torn down while the lease went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn_down: Option<String>,
    /// How its leases went of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ExporterHealth>,
}

/// One driver instance of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Identity of the instance; always written, since the admin CLI reads it without a default.
    #[serde(default, serialize_with = "text_or_empty")]
    pub uuid: Option<String>,
    /// Absent on the root. Snake case on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_uuid: Option<String>,
    /// Driver labels; always written, like `uuid`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The admin CLI reads the field without a default, and an API server drops a null: nothing is written as `""`.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn text_or_empty<S: serde::Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_deref().unwrap_or_default())
}

/// A phase that we have never heard of, written by a newer controller, says nothing: it must not hide the exporter.
fn known_phase<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<ExporterPhase>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| ExporterPhase::ALL.into_iter().find(|phase| phase.as_str() == text).unwrap_or_default()))
}

/// The exporter's own account of what it is doing (`status.exporterStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ExporterPhase {
    /// Reported as unknown.
    #[default]
    Unspecified,
    /// Not serving.
    Offline,
    /// Idle.
    Available,
    /// Leased, set-up hook running.
    BeforeLeaseHook,
    /// Leased, drivers may be called.
    LeaseReady,
    /// Tear-down hook running.
    AfterLeaseHook,
    /// Set-up hook failed.
    BeforeLeaseHookFailed,
    /// Tear-down hook failed.
    AfterLeaseHookFailed,
}

impl Exporter {
    /// Whether administrators let this exporter be leased; absent means yes.
    pub fn is_enabled(&self) -> bool {
        self.spec.enabled.unwrap_or(true)
    }
}

impl ExporterPhase {
    /// Every phase, in wire order.
    pub const ALL: [Self; 8] = [
        Self::Unspecified,
        Self::Offline,
        Self::Available,
        Self::BeforeLeaseHook,
        Self::LeaseReady,
        Self::AfterLeaseHook,
        Self::BeforeLeaseHookFailed,
        Self::AfterLeaseHookFailed,
    ];

    /// The phase of an `ExporterStatus` number; unknown numbers are `Unspecified`.
    pub fn from_wire(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index)).copied().unwrap_or_default()
    }

    /// The `ExporterStatus` number.
    pub const fn to_wire(self) -> i32 {
        self as i32
    }

    /// The text in `status.exporterStatus`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "Unspecified",
            Self::Offline => "Offline",
            Self::Available => "Available",
            Self::BeforeLeaseHook => "BeforeLeaseHook",
            Self::LeaseReady => "LeaseReady",
            Self::AfterLeaseHook => "AfterLeaseHook",
            Self::BeforeLeaseHookFailed => "BeforeLeaseHookFailed",
            Self::AfterLeaseHookFailed => "AfterLeaseHookFailed",
        }
    }
}

impl std::fmt::Display for ExporterPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
