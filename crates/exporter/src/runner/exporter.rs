//! An exporter of a controller, from its configuration to its end.
use std::{collections::HashMap, sync::Arc};

use jumpstarter_config::{ExporterConfig, Secret};
use jumpstarter_drivers::Registry;
use jumpstarter_protocol::v1::{ExporterStatus, RegisterRequest};
use jumpstarter_tunnel::Connector;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Stop, host::close_session, register::register, serving::Serving};
use crate::{
    ControllerLink, Door, ExitReason, ExporterError, HookRunner, Session, SessionInfo, hook::Processes, link::Identity,
};

/// An exporter that registers with a controller. One of them costs a few tasks, so thousands fit a process;
/// [`Connector::shared`] lets them share connections.
pub struct Exporter {
    pub(super) config: Arc<ExporterConfig>,
    pub(super) identity: Identity,
    pub(super) endpoint: String,
    pub(super) connector: Connector,
    pub(super) registry: Arc<Registry>,
    pub(super) programs: Arc<dyn HookRunner>,
    pub(super) door: Option<Door>,
    pub(super) reported: watch::Sender<Option<ExporterStatus>>,
}

impl Exporter {
    /// An exporter that reaches controller and routers as its configuration says.
    pub fn from_config(config: ExporterConfig) -> Result<Self, ExporterError> {
        let connector = Connector::from_config(&config.tls, config.grpc_options.as_ref());
        Self::new(config, connector.map_err(ExporterError::Config)?)
    }

    /// An exporter for `config`, reaching controller and routers through `connector`.
    pub fn new(config: ExporterConfig, connector: Connector) -> Result<Self, ExporterError> {
        let token: &Secret = config.token.as_ref().ok_or(ExporterError::NotConfigured)?;
        let identity = Identity::new(&config, token)?;
        let endpoint = config.endpoint.clone().ok_or(ExporterError::NotConfigured)?;
        let reported = watch::Sender::new(None);
        let (config, registry) = (Arc::new(config), Arc::new(jumpstarter_driver_host_python::registry()));
        Ok(Self {
            config,
            identity,
            endpoint,
            connector,
            registry,
            programs: Arc::new(Processes),
            door: None,
            reported,
        })
    }

    /// The same with other driver classes.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = Arc::new(registry);
        self
    }

    /// The same with hooks that run elsewhere.
    #[must_use]
    pub fn with_hooks(mut self, runner: impl HookRunner + 'static) -> Self {
        self.programs = Arc::new(runner);
        self
    }

    /// The same with a door for clients that need no router. Whoever has the listener keeps it going.
    #[must_use]
    pub fn with_door(mut self, door: Door) -> Self {
        self.door = Some(door);
        self
    }

    /// The name of the exporter.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.metadata.name
    }

    /// The last status that the controller has taken in.
    pub fn reported(&self) -> watch::Receiver<Option<ExporterStatus>> {
        self.reported.subscribe()
    }

    /// Registers, serves leases one at a time, and unregisters when `stop` fires.
    ///
    /// Sessions outlive outages of the controller; connections to it are opened again for as long as it takes.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future cuts a running session and skips Unregister. Cancel `stop` instead.
    pub async fn run(self, stop: CancellationToken) -> Result<ExitReason, ExporterError> {
        self.run_with(Stop { now: stop, after_lease: CancellationToken::new() }).await
    }

    /// [`Exporter::run`] with a second way to stop that waits for the lease to end.
    pub async fn run_with(self, stop: Stop) -> Result<ExitReason, ExporterError> {
        let info = SessionInfo {
            uuid: Uuid::new_v4(),
            labels: HashMap::from([("jumpstarter.dev/name".to_owned(), self.config.metadata.name.clone())]),
            motd: self.config.motd.clone().unwrap_or_default(),
            leased: true,
        };
        // Built once only to tell the controller what there is; each session gets drivers of its own.
        let probe = Session::new(&self.config, &self.registry, info.clone()).await.map_err(ExporterError::Drivers)?;
        let process = info.uuid.to_string();
        let request =
            RegisterRequest { labels: info.labels.clone(), reports: probe.reports(), process: process.clone() };
        close_session(&probe).await;
        drop(probe);
        let Some(channel) = register(&self, request, &stop).await? else {
            return Ok(ExitReason::Stopped);
        };
        let link = ControllerLink::with_identity(channel, self.identity.clone()).of_process(&process);
        tracing::info!(exporter = %self.config.metadata.name, "Exporter registered and available");
        let reason = Serving::new(&self, link, info).run(stop).await;
        if let ExitReason::HookFailed(failure) = &reason {
            tracing::error!(exporter = %self.config.metadata.name, "{failure}");
        }
        Ok(reason)
    }
}
