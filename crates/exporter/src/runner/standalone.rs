//! An exporter without a service: it listens on a port itself, and whoever connects uses its one session.
use std::{path::PathBuf, sync::Arc, time::Duration};

use jumpstarter_config::{ExporterConfig, OnFailure};
use jumpstarter_drivers::Registry;
use jumpstarter_transport::ServingTls;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Stop,
    host::{Host, Material, News},
};
use crate::{
    Action, Assignment, Event, ExitReason, ExporterError, LeaseMachine, Plan, Session, SessionInfo, StopWhen,
    hook::Processes,
};

/// What stands for the lease in hooks' environments.
const LEASE: &str = "standalone";
/// Limit of a client's TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Clients at a time.
const MAX_CLIENTS: usize = 256;
/// Pause when a connection could not be accepted, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where and how to listen.
#[derive(Debug, Clone, Default)]
pub struct StandaloneOptions {
    /// `host:port`.
    pub listen: String,
    /// PEM files with certificate chain and key; plaintext without them.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// What clients must send with every call.
    pub passphrase: Option<String>,
}

/// An exporter on a port of its own.
pub struct Standalone {
    config: Arc<ExporterConfig>,
    registry: Arc<Registry>,
    passphrase: Option<String>,
    listener: TcpListener,
    tls: Option<Arc<ServingTls>>,
}

impl Standalone {
    /// Reads the certificate and takes the port; nothing is set up yet.
    pub async fn bind(config: ExporterConfig, options: StandaloneOptions) -> Result<Self, ExporterError> {
        let StandaloneOptions { listen, tls, passphrase } = options;
        let tls = tls.map(|(certificate, key)| ServingTls::from_files(&certificate, &key, None)).transpose();
        let tls = tls.map_err(|err| ExporterError::Certificate(Box::new(err)))?.map(Arc::new);
        let bound = TcpListener::bind(&listen).await;
        let listener = bound.map_err(|source| ExporterError::Listen { address: listen, source })?;
        let (config, registry) = (Arc::new(config), Arc::new(jumpstarter_driver_host_python::registry()));
        Ok(Self { config, registry, passphrase, listener, tls })
    }

    /// The same with other driver classes.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = Arc::new(registry);
        self
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// Runs the beforeLease hook, serves clients until `stop` fires, and runs the afterLease hook. `ready` fires once
    /// the drivers can be used.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future cuts the session and skips its tear-down. Use `stop`.
    pub async fn run(self, stop: Stop, ready: CancellationToken) -> Result<ExitReason, ExporterError> {
        let Self { config, registry, passphrase, listener, tls } = self;
        let info = SessionInfo {
            uuid: Uuid::new_v4(),
            motd: config.motd.clone().unwrap_or_default(),
            leased: false,
            ..SessionInfo::default()
        };
        // Without a lease, ending it is leaving.
        let mut plan = Plan::new(&config.hooks, false);
        plan.before = plan.before.map(|failure| if failure == OnFailure::EndLease { OnFailure::Exit } else { failure });
        let mut machine = LeaseMachine::new(plan);
        let (mut host, mut inbox) =
            Host::new(Material { config, registry, info, passphrase, programs: Arc::new(Processes) });
        host.spawn(accept(listener, host.news()));
        if let Some(tls) = &tls {
            let (tls, stop) = (Arc::clone(tls), stop.now.clone());
            host.spawn(async move { tls.maintain(stop).await });
        }
        let holder = Assignment { lease: LEASE.to_owned(), client: String::new(), check: false };
        let mut event = Some(Event::Assigned(Some(holder)));
        let (mut connections, mut stopping) = (JoinSet::new(), false);
        loop {
            for action in event.take().map(|event| machine.handle(event)).unwrap_or_default() {
                match action {
                    Action::Open(id, holder) => host.open(id, &holder),
                    Action::RunHook(id, kind, holder) => host.run_hook(id, kind, holder),
                    Action::CancelHook(_) => host.cancel_hook(),
                    Action::Show(id, status, message) => {
                        host.show(id, status, &message);
                        if status == jumpstarter_protocol::v1::ExporterStatus::LeaseReady {
                            ready.cancel();
                        }
                    }
                    Action::Report(status, message) => tracing::info!(status = status.as_str_name(), "{message}"),
                    Action::Linger(id) => host.linger(id),
                    Action::Close(id) => host.close(id),
                    Action::StopListening | Action::Release(_) => {}
                    Action::Exit(reason) => {
                        connections.shutdown().await;
                        host.shutdown().await;
                        return Ok(reason);
                    }
                }
            }
            event = tokio::select! {
                () = stop.any(), if !stopping => {
                    stopping = true;
                    Some(Event::Stop(StopWhen::Now))
                }
                // `recv` and `join_next` are cancel safe by their docs; the host holds a sender, so `recv` never ends.
                Some(news) = inbox.recv() => match news {
                    News::Event(event) => match host.settle(event) {
                        Event::OpenFailed(_, message) => return Err(ExporterError::SetUp(message)),
                        event => Some(event),
                    },
                    News::Built(id, built) => {
                        host.built(id, built);
                        None
                    }
                    News::Unusable(id, message) => {
                        host.unusable(id, message);
                        None
                    }
                    News::Accepted(connection) => {
                        match host.session() {
                            Some(session) if connections.len() < MAX_CLIENTS => {
                                connections.spawn(serve(session.clone(), connection, tls.clone()));
                            }
                            // The client sees a closed connection, and comes again.
                            Some(_) => tracing::warn!("too many clients; one more was turned away"),
                            None => tracing::debug!("a client came before the session was set up"),
                        }
                        None
                    }
                    News::Dial(_) | News::Told { .. } => None,
                },
                () = host.task_ended() => None,
                Some(_) = connections.join_next() => None,
            };
        }
    }
}

async fn accept(listener: TcpListener, news: mpsc::Sender<News>) {
    loop {
        match listener.accept().await {
            Ok((connection, peer)) => {
                tracing::debug!(%peer, "client connected");
                if news.send(News::Accepted(connection)).await.is_err() {
                    return;
                }
            }
            Err(err) => {
                tracing::warn!(%err, "accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(session: Session, connection: TcpStream, tls: Option<Arc<ServingTls>>) {
    let _presence = session.enter();
    // Only costs latency when it fails.
    let _ = connection.set_nodelay(true);
    let Some(tls) = tls else { return session.serve(connection).await };
    let handshake = TlsAcceptor::from(tls.server_config()).accept(connection);
    match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(connection)) => session.serve(connection).await,
        // Clients that fetch the certificate first hang up here.
        Ok(Err(err)) => tracing::debug!(%err, "TLS handshake"),
        Err(_) => tracing::debug!("TLS handshake: no answer in time"),
    }
}
