//! A real `kube-apiserver` with its `etcd` on loopback, in a fresh directory, and a proxy in front of it that fails on
//! demand.
//!
//! A harness fails by panicking. Where the servers are not installed, [`ApiServer`] panics with what to do; with
//! `JUMPSTARTER_WITHOUT_KUBE` set (by `cargo xtask test` on a machine that cannot build them, never in CI) the whole test
//! program says that it was skipped and ends well instead.
#![expect(clippy::missing_panics_doc, reason = "a harness fails by panicking")]

mod api_server;
mod certs;
mod guardian;
mod programs;
mod proxy;

pub use api_server::{ApiServer, Options};
pub use certs::{Authority, loopback_certificate};
pub use programs::Programs;
pub use proxy::{FaultProxy, Matches, Rule, Seen, Then};
