//! Every rule of the domain that needs no clock, network or database: resources, selectors, times, names.
//!
//! Facts come from `reference/kubernetes.md` and `reference/protocol.md`; each module names its section.

#![allow(clippy::must_use_candidate, reason = "nearly every function here is pure, so the mark would say nothing")]

pub mod annotations;
pub mod condition;
pub mod duration;
pub mod fuzzing;
pub mod identity;
pub mod labels;
pub mod lease_group;
pub mod lease_time;
pub mod limits;
pub mod name;
mod quote;
pub mod resource;
pub mod selector;
pub mod window;

pub use condition::{Condition, set_condition};
pub use duration::GoDuration;
pub use lease_group::LeaseGroup;
pub use resource::{
    AccountBy, Client, ClientSpec, ClientStatus, Device, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec,
    ExporterAccessPolicyStatus, ExporterHealth, ExporterPhase, ExporterSpec, ExporterStatus, From, HealthCheck, Lease,
    LeaseFailure, LeaseQuota, LeaseQuotaSpec, LeaseSpec, LeaseStatus, LocalObjectReference, MaintenanceWindow,
    MaintenanceWindowSpec, MaintenanceWindowStatus, PastQuarantine, Policy, Quarantine, SessionHealth,
};
pub use selector::Selector;

/// API group of our kinds.
pub const GROUP: &str = "jumpstarter.dev";
/// The one version of our kinds, served and stored.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as written in manifests.
pub const API_VERSION: &str = "jumpstarter.dev/v1alpha1";

/// An instant in UTC. Stored with whole seconds, kept with nanoseconds in memory.
pub type Timestamp = jiff::Timestamp;
