//! The client: leases an exporter, dials it, and calls its drivers.
//!
//! [`Client`] talks to the controller, [`Session`] to the exporter behind a lease (or directly), and [`LocalHost`]
//! gives other programs on this machine a Unix socket that leads there.

mod around;
mod client;
mod dial;
mod direct;
mod error;
mod forward;
mod host;
mod lease;
mod line;
mod report;
mod resource;
mod session;
mod storage;
mod wait;

pub use client::{Client, Exporter, ExporterQuery, LeaseQuery};
pub use direct::DirectTls;
pub use error::{ClientError, LeaseProblem};
pub use host::LocalHost;
pub use jumpstarter_tunnel::Connector;
pub use lease::{CreateLease, Lease, LeaseCandidate, LeaseCondition, LeaseQueue, LeaseState, UpdateLease};
pub use line::{Line, Way};
pub use report::{DriverNode, Report};
pub use resource::{Digest, Transfer, Transferred};
pub use session::{ByteStream, ExporterState, LogLine, Session};
pub use storage::{Flasher, Storage, StorageMux};

/// Arguments and results of driver calls; numbers come back as doubles.
pub type Value = serde_json::Value;

/// What an exporter says it is doing.
pub use jumpstarter_protocol::v1::ExporterStatus;
