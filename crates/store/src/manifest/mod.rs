//! Manifests: the store as plain YAML that `kubectl apply` takes, and back.

mod export;
mod import;
#[cfg(test)]
mod tests;

pub use import::{ImportError, ImportFault, ImportReport};

pub(crate) use export::write;
pub(crate) use import::{Import, parse};

/// Carries the `uid` that tokens were issued for to wherever the object moves (kubernetes.md §2.2).
pub const MIGRATED_UID: &str = "jumpstarter.dev/migrated-uid";
/// Carries the namespace that tokens were issued for.
pub const MIGRATED_NAMESPACE: &str = "jumpstarter.dev/migrated-namespace";
/// Carries the status of a lease or exporter past `kubectl apply`, which leaves it out: a controller that finds the
/// object without one takes it from here.
pub const MIGRATED_STATUS: &str = "jumpstarter.dev/migrated-status";
