//! The kinds of `jumpstarter.dev/v1alpha1`, defined once (kubernetes.md §1).
//!
//! The CRD manifests, the embedded store and the controller all use these types.

mod client;
mod crd;
mod decode;
mod exporter;
mod health;
mod lease;
mod policy;
pub mod quota;
pub mod rules;
#[cfg(test)]
mod tests;
mod window;

pub use client::{Client, ClientSpec, ClientStatus};
pub use crd::crds;
pub use decode::{DecodeError, decode, decode_list};
pub use exporter::{Device, Exporter, ExporterPhase, ExporterSpec, ExporterStatus};
pub use health::{ExporterHealth, HealthCheck, LeaseFailure, PastQuarantine, Quarantine, SessionHealth};
pub use lease::{Lease, LeaseSpec, LeaseStatus};
pub use policy::{ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterAccessPolicyStatus, From, Policy};
pub use quota::{AccountBy, LeaseQuota, LeaseQuotaSpec};
pub use window::{MaintenanceWindow, MaintenanceWindowSpec, MaintenanceWindowStatus};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reference to another object of the same namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalObjectReference {
    /// Name of the object; empty means absent.
    #[serde(default)]
    pub name: String,
}

impl LocalObjectReference {
    /// A reference to `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}
