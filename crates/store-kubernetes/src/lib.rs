//! The store on the Kubernetes API: the objects of one namespace as custom resources, Secrets and ConfigMaps.
//!
//! [`KubernetesStore`] keeps the contract of [`jumpstarter_store::Store`]. Reads ask the API server; a watch is shared:
//! whatever number of readers there is, the process holds one upstream watch for each kind that somebody watches, and
//! resumes it after disconnects, restarts and expired versions. [`KubernetesEvents`] tells people what happened, and
//! [`KubernetesStore::preflight`] says at start what is missing in the cluster.
//!
//! Where it differs from the embedded store: a transaction is not atomic (every prefix may be what remains), events of
//! different kinds come in no fixed order but for what this process wrote itself, and the API server fills in the
//! schema's defaults.

mod api;
mod backoff;
mod connect;
mod decode;
mod error;
mod events;
mod hub;
mod list;
mod metrics;
mod options;
mod permissions;
mod preflight;
mod store;
mod write;

pub use connect::{ConnectError, client, connect};
pub use events::{EventWriter, KubernetesEvents};
pub use metrics::KubernetesMetrics;
pub use options::KubernetesOptions;
pub use permissions::Permission;
pub use preflight::PreflightError;
pub use store::KubernetesStore;

/// Who writes, in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "jumpstarter-controller";
