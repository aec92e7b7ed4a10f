//! One session: fresh drivers, served to any number of connections until it is closed.
mod authority;
mod calls;
mod gate;
mod log;
mod serve;
mod stream;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use jumpstarter_config::ExporterConfig;
use jumpstarter_drivers::{DriverTree, LogSink, NodeReport, Registry, TreeError};
use jumpstarter_protocol::v1::{DriverInstanceReport, ExporterStatus, GetStatusResponse};
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub use log::LogRing;

/// Time that open calls get to end when a session closes.
const GRACE: Duration = Duration::from_secs(1);

/// What a session says about itself.
#[derive(Debug, Clone, Default)]
pub struct SessionInfo {
    /// Identity of the exporter process.
    pub uuid: Uuid,
    /// Labels of the exporter.
    pub labels: HashMap<String, String>,
    /// Greeting for interactive shells.
    pub motd: String,
    /// A lease stands behind the session, so that clients can end it.
    pub leased: bool,
}

/// The drivers of one lease (or of one local use), and who talks to them. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
    /// Who comes in through this handle.
    visitor: gate::Visitor,
}

struct Inner {
    info: SessionInfo,
    tree: DriverTree,
    logs: Arc<LogRing>,
    status: watch::Sender<GetStatusResponse>,
    /// Greeting, with what hooks have added to it.
    motd: Mutex<String>,
    /// Lease and client, once there is a lease.
    holder: OnceLock<String>,
    /// Metadata value that every call must bring.
    passphrase: OnceLock<String>,
    /// Connections of clients.
    clients: watch::Sender<usize>,
    ended: CancellationToken,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Session {
    /// Builds fresh drivers from `config`.
    pub async fn new(config: &ExporterConfig, registry: &Registry, info: SessionInfo) -> Result<Self, TreeError> {
        let logs = Arc::new(LogRing::new());
        let sink: Arc<dyn LogSink> = Arc::<LogRing>::clone(&logs);
        let tree = DriverTree::build(config, registry, &sink).await?;
        let status = GetStatusResponse {
            status: ExporterStatus::Available.into(),
            message: Some(String::new()),
            status_version: 0,
            previous_status: None,
        };
        let inner = Inner {
            tree,
            logs,
            status: watch::Sender::new(status),
            motd: Mutex::new(info.motd.clone()),
            info,
            holder: OnceLock::new(),
            passphrase: OnceLock::new(),
            clients: watch::Sender::new(0),
            ended: CancellationToken::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok(Self { inner: Arc::new(inner), visitor: gate::Visitor::Client })
    }

    /// The driver reports in wire form.
    #[must_use]
    pub fn reports(&self) -> Vec<DriverInstanceReport> {
        self.inner.tree.reports().iter().map(report_to_proto).collect()
    }

    /// The session's log.
    #[must_use]
    pub fn logs(&self) -> &Arc<LogRing> {
        &self.inner.logs
    }

    /// Brings the devices to their default state; call it before clients get in.
    pub async fn reset(&self) {
        self.inner.tree.reset().await;
    }

    /// Sets what clients see as the exporter's status; the same status again changes nothing.
    pub fn set_status(&self, status: ExporterStatus, message: &str) {
        self.inner.status.send_if_modified(|now| {
            if now.status == i32::from(status) && now.message.as_deref() == Some(message) {
                return false;
            }
            *now = GetStatusResponse {
                status: status.into(),
                message: Some(message.to_owned()),
                status_version: now.status_version + 1,
                previous_status: Some(now.status),
            };
            true
        });
    }

    /// Appends a paragraph to the greeting that interactive shells show.
    pub fn add_motd(&self, text: &str) {
        let mut motd = self.inner.motd.lock().expect("no code panics while it holds the greeting");
        if !motd.is_empty() && !motd.ends_with('\n') {
            motd.push('\n');
        }
        motd.push_str(text);
    }

    /// Resolves once a client has asked to end the session.
    pub async fn ended(&self) {
        self.inner.ended.cancelled().await;
    }

    /// Ends connections (after a short grace) and closes the drivers. Returns when both are done.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        if timeout(GRACE * 2, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!(open = self.inner.tasks.len(), "calls still running while their session closes");
        }
        self.inner.tree.close().await;
    }
}

fn report_to_proto(report: &NodeReport) -> DriverInstanceReport {
    DriverInstanceReport {
        uuid: report.uuid.to_string(),
        parent_uuid: report.parent.map(|uuid| uuid.to_string()),
        labels: report.labels.clone().into_iter().collect(),
        description: report.description.clone(),
        methods_description: report.methods_description.clone().into_iter().collect(),
    }
}
