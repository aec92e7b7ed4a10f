//! A real lab in a temporary directory: our service, real exporters and real clients, each a process of its own.
//!
//! A harness fails by panicking: the log of every process that took part is then printed with the test, and
//! every process is ended, also those that left their parent's process group.
#![expect(clippy::missing_panics_doc, reason = "a harness fails by panicking")]
#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "expectations chain, and the last of a chain is dropped"
)]

pub mod balancer;
pub mod cluster;
pub mod exporter;
pub mod figures;
pub mod fleet;
pub mod grpc;
pub mod jmp;
pub mod lab;
pub mod process;
pub mod sandbox;
pub mod service;
pub mod terminal;
mod wait;

pub use cluster::Cluster;
pub use exporter::{Exporter, ExporterSetup};
pub use jmp::{Done, Jmp};
pub use lab::Lab;
pub use process::Process;
pub use sandbox::Sandbox;
pub use service::{Service, free_address};
pub use terminal::Terminal;
pub use wait::{MINUTE, eventually};
