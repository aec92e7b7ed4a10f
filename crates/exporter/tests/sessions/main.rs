//! The exporter's whole runtime in a simulated lab: connections in memory, a clock that only moves when everybody waits,
//! a scripted service, devices and hooks that work, fail or hang.
//!
//! Whatever happened, once the lab is calm the exporter is available and serves, and every session was torn down once.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod client;
mod host;
mod network;
mod scenario;
mod service;
