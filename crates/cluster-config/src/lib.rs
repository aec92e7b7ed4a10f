//! What a cluster tells the service: the ConfigMap [`CONFIG_MAP`] and the environment (kubernetes.md §5.2, §5.3, §6.3).
//!
//! Pure: text in, settings or faults out. All faults are reported at once, each with its key, its line and what is
//! expected there. [`changes`] says what differs between two configurations, and what of it takes effect only after a
//! restart.

mod change;
mod config;
mod endpoint;
mod environment;
mod fault;
pub mod fuzzing;
pub mod jwt;
mod keepalive;
mod read;
mod router;
mod secret;
mod telemetry;

pub use change::{Change, Effect, changes};
pub use config::{ClusterConfig, DEFAULT_INTERNAL_PREFIX, DEFAULT_MAX_TAGS, DEFAULT_TOKEN_LIFETIME, Internal, Source};
pub use environment::{CertificateFiles, Environment, RouterEnvironment};
pub use fault::{Fault, Faults, Place};
pub use keepalive::Keepalive;
pub use router::Router;
pub use secret::SecretText;
pub use telemetry::{Severity, Telemetry};

/// Name of the ConfigMap that is read.
pub const CONFIG_MAP: &str = "jumpstarter-controller";
