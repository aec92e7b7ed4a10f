//! Where drivers run that are not built in.
use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use jumpstarter_config::Instances;
use uuid::Uuid;

use crate::{Driver, DriverError, LogSink};

/// Runs drivers of classes that are not built in, in another process.
pub trait DriverHost: Send + Sync {
    /// Makes fresh instances of `drivers`, which is a part of an exporter's tree at its place in the whole:
    /// groups stand for what is built in.
    fn start<'a>(
        &'a self,
        drivers: &'a Instances,
        logs: Arc<dyn LogSink>,
    ) -> BoxFuture<'a, Result<HostedTree, HostError>>;
}

/// Why hosted drivers could not be started.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}{message}", .path.as_ref().map(|path| format!("driver '{path}': ")).unwrap_or_default())]
pub struct HostError {
    /// Dotted path of the driver at fault, if it is one.
    pub path: Option<String>,
    /// What is wrong and what mends it.
    pub message: String,
}

/// Running instances with the shape of what was asked for.
pub struct HostedTree {
    /// The children of the root.
    pub children: Vec<(String, HostedEntry)>,
    /// All of them together.
    pub session: Arc<dyn HostedSession>,
}

/// The instances of one session as a whole.
pub trait HostedSession: Send + Sync {
    /// Brings the devices to their default state.
    fn reset(&self) -> BoxFuture<'_, Result<(), DriverError>>;

    /// Lets go of the devices.
    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>>;
}

/// A node or a reference to one.
pub enum HostedEntry {
    /// An instance.
    Node(HostedNode),
    /// Another node again, by its dotted path from the root.
    Proxy(String),
}

/// One running instance.
pub struct HostedNode {
    /// Its identity, made by the host.
    pub uuid: Uuid,
    /// Forwards to the instance.
    pub driver: Arc<dyn Driver>,
    /// Help text.
    pub description: Option<String>,
    /// Help texts by command.
    pub methods_description: BTreeMap<String, String>,
    /// Its children, also those that it made itself.
    pub children: Vec<(String, HostedEntry)>,
}
