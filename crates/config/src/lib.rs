//! Configuration files of clients, exporters and users, as every Jumpstarter tool reads and writes them.
//!
//! Nothing here touches global state: the environment comes in as an [`Env`], the directories as a
//! [`ConfigHome`]. A value present in a file wins over the environment, which only fills gaps.

mod check;
mod client;
mod common;
mod env;
mod error;
mod exporter;
mod file;
mod home;
mod instance;
mod secret;
mod user;

pub use client::{ClientConfig, DriverRules, LeaseSettings, ShellSettings};
pub use common::{ApiVersion, GrpcOptions, ObjectMeta, TlsConfig};
pub use env::Env;
pub use error::ConfigError;
pub use exporter::{ExporterConfig, FailureDetection, Hook, Hooks, OnFailure};
pub use home::{ClientChoice, ConfigHome};
pub use instance::{DriverInstance, Instances};
pub use secret::Secret;
pub use user::UserConfig;
