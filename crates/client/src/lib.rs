//! The client: leases an exporter, dials it, and calls its drivers.
//!
//! [`Client`] talks to the controller, [`Session`] to the exporter behind a lease (or directly), and [`LocalHost`]
//! gives other programs on this machine a Unix socket that leads there.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{path::Path, time::Duration};
//!
//! use jumpstarter_client::{Client, CreateLease};
//! use jumpstarter_config::{ClientConfig, Env};
//!
//! let config = ClientConfig::from_file(Path::new("alice.yaml"), &Env::empty())?;
//! let client = Client::from_config(&config).await?;
//! let wanted =
//!     CreateLease { selector: "board=rpi4".into(), duration: Duration::from_secs(600), ..CreateLease::default() };
//! let lease = client.create_lease(&wanted).await?;
//! client.wait_ready(&lease.name, |reason| println!("waiting: {reason}")).await?;
//! let session = client.session(&lease.name).await?;
//! session.call("power", "on", &[]).await?;
//! client.delete_lease(&lease.name).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The directory `examples` has programs for each: a lease, calls, a byte stream, a local port that leads to a device.
//! The program installs a TLS provider first (`jumpstarter_transport::install_crypto_provider`). Every call has a limit
//! and every error says what failed and what to do; a lease that was created is the caller's to delete.

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
mod usage;
mod wait;
mod why;

pub use client::{Client, Exporter, ExporterQuery, LeaseQuery, Quarantine};
pub use direct::DirectTls;
pub use error::{ClientError, LeaseProblem};
pub use host::LocalHost;
pub use jumpstarter_tunnel::Connector;
pub use lease::{
    CreateLease, CreateLeaseGroup, Lease, LeaseCandidate, LeaseCondition, LeaseGroup, LeaseQueue, LeaseState,
    UpdateLease,
};
pub use line::{Line, Way};
pub use report::{DriverNode, Report};
pub use resource::{Digest, Transfer, Transferred};
pub use session::{ByteStream, ExporterState, LogLine, Session};
pub use storage::{Flasher, Storage, StorageMux};
pub use usage::{AccountUsage, DeviceTimeUsage, ShareUsage};
pub use why::{LeaseAhead, LeaseAlternative, LeaseWhy, StartForecast, WhatIf};

/// Arguments and results of driver calls; numbers come back as doubles.
pub type Value = serde_json::Value;

/// What an exporter says it is doing.
pub use jumpstarter_protocol::v1::ExporterStatus;
