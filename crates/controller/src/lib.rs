//! The controller: gRPC services and the lab runtime over a [`Store`](jumpstarter_store::Store).
//!
//! The runtime owns the scheduler core and every status write of leases and exporters; the services authenticate,
//! translate and wait. Nothing here knows which backend the store is.

mod caller;
mod client_service;
pub mod config;
mod controller;
mod controller_service;
mod convert;
mod credentials;
mod dial;
mod exporter_service;
mod fence;
pub mod keys;
mod lease_calls;
mod metrics;
mod migrate;
mod presence;
mod rendezvous;
mod routers;
mod runtime;
mod status;
mod world;

pub use caller::Peer;
pub use config::{Changeable, ControllerConfig, Limits, Live, QueueConfig, RouterTarget, TelemetryTarget};
pub use controller::{Controller, ControllerParts, StartError};
pub use jumpstarter_scheduler::QuarantineConfig;
pub use routers::{LocalRouter, RouterReport};
