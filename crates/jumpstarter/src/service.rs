//! The whole service in one process.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use jiff::SignedDuration;
use jumpstarter_auth::{TicketIssuer, TicketKey, TicketKeys, TicketVerifier, TokenIssuer};
use jumpstarter_controller::{
    Controller, ControllerConfig, ControllerParts, Live, LocalRouter, Peer, RouterReport, RouterTarget, keys,
};
use jumpstarter_router::{Router, TicketCheck};
use jumpstarter_store::{EmbeddedOptions, EmbeddedStore, Key, Kind, Object, Store, StoreError, Write};
use jumpstarter_transport::{
    BindOptions, Listener, OwnCa, PeerAddr, ServeCounters, ServeLimits, Server, ServingTls, listen,
};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    data_dir::{self, DataDir},
    ops::{self, Ops},
    router_keys, serve_metrics,
    settings::{Certificate, Follower, MetricsListen, ServeArgs, Settings},
};

/// ConfigMap in which configs' CA is looked up, by its fixed name (kubernetes.md §2.4).
const CA_CONFIG_MAP: &str = "jumpstarter-service-ca-cert";
/// How long a starting service waits for its predecessor to let go of the data directory.
const HANDOVER: Duration = Duration::from_secs(10);
/// How long calls in flight may take once tunnels were given their time.
const LAST_CALLS: Duration = Duration::from_millis(500);

/// A running service.
pub(crate) struct Service {
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: String,
    pub(crate) metrics: Option<SocketAddr>,
    /// The objects, for commands that work on a service in their own process.
    pub(crate) store: Arc<dyn Store>,
    /// What clients must trust, unless their system does.
    pub(crate) ca_pem: Option<String>,
    live: Live,
    builtin: RouterTarget,
    router: Router,
    controller: Controller,
    servers: JoinSet<()>,
    /// Ends streams of the controller and refuses new dials.
    stop_calls: CancellationToken,
    /// Closes the listeners.
    stop_servers: CancellationToken,
    ready: Arc<AtomicBool>,
}

impl Service {
    /// Starts everything. The port is bound first, so that peers of a restarted service wait instead of being refused.
    ///
    /// # Cancel safety
    /// Not cancel safe: what was started stops when the returned value is dropped.
    pub(crate) async fn start(settings: Settings) -> anyhow::Result<Self> {
        listen::raise_file_limit();
        let listeners = bind(&settings).await?;
        let listen = listeners.iter().find_map(Listener::tcp_addr).context("no TCP listener was bound")?;
        let advertise = settings.advertise.clone().unwrap_or_else(|| advertised(&settings.listen, listen));
        let metrics_listener = bind_metrics(&settings.metrics_listen).await?;
        let metrics = metrics_listener.iter().find_map(Listener::tcp_addr);

        let data_dir = DataDir::new(&settings.data_dir);
        data_dir.prepare().with_context(|| format!("prepare the data directory {}", data_dir.path().display()))?;
        let embedded = open_store(&data_dir).await?;
        let store: Arc<dyn Store> = Arc::new(embedded.clone());
        let first = || data_dir::first_ring(&data_dir, jiff::Timestamp::now());
        let ring = keys::load_or_create(&*store, &settings.namespace, first)
            .await
            .context("load the keys that sign tokens")?;
        let lifetime = SignedDuration::try_from(settings.token_lifetime).unwrap_or(SignedDuration::MAX);
        let issuer = Arc::new(TokenIssuer::with_ring(ring).with_lifetime(lifetime));
        let keys = ticket_keys(&data_dir)?;
        let tls = Arc::new(certificate(&settings, &data_dir, &advertise)?);
        let ca_pem = tls.ca_pem();
        publish_ca(&*store, &settings.namespace, ca_pem.as_deref()).await?;

        let mut registry = Registry::default();
        let stop_calls = CancellationToken::new();
        let builtin =
            RouterTarget { endpoint: advertise.clone(), labels: std::collections::BTreeMap::new(), probe: true };
        let live = Live::new(settings.changeable(&builtin));
        let router = Router::new(
            jumpstarter_router::Config { drain_grace: settings.drain, ..router_config(settings.hook_limit) },
            Arc::new(TicketVerifier::new(&keys)) as Arc<dyn TicketCheck>,
        );
        router.register_metrics(&mut registry);
        let counters = Arc::new(ServeCounters::default());
        serve_metrics::register(&mut registry, &counters);
        let config = ControllerConfig {
            namespace: settings.namespace.clone(),
            endpoint: advertise.clone(),
            internal_prefix: jumpstarter_model::identity::DEFAULT_INTERNAL_PREFIX.to_owned(),
            presence_grace: settings.presence_grace,
            hook_limit: settings.hook_limit,
            preemption_grace: settings.preemption_grace,
            queue: settings.queue,
            quarantine: settings.quarantine.clone(),
            turnaround: settings.turnaround,
            lease_retention: settings.lease_retention,
            direct_paths: settings.direct_paths,
            limits: jumpstarter_controller::Limits::default(),
            live: live.clone(),
            clock: jumpstarter_store::Clock::system(),
        };
        let parts = ControllerParts {
            config,
            store: Arc::clone(&store),
            issuer,
            tickets: Arc::new(TicketIssuer::new(&keys)),
            local_router: Some(local_router(&router, &builtin)),
            // What happens to objects is in the log already.
            events: Arc::new(jumpstarter_store::NoEvents),
        };
        let controller =
            Controller::start(parts, &mut registry, stop_calls.clone()).await.context("start the controller")?;
        let stop_servers = CancellationToken::new();
        let ready = Arc::new(AtomicBool::new(true));
        let mut servers = JoinSet::new();
        let service = with_peer(controller.routes().into_axum_router().merge(router.clone().into_axum_router()));
        let server = Server {
            listeners,
            tls: Some(tls),
            limits: ServeLimits { drain_grace: LAST_CALLS, ..ServeLimits::default() },
            counters,
        };
        spawn(&mut servers, server, service, stop_servers.clone());
        if !metrics_listener.is_empty() {
            let ops = Ops { registry: Arc::new(registry), ready: Arc::clone(&ready) };
            spawn(&mut servers, Server::new(metrics_listener, None), ops::routes(ops), stop_servers.clone());
        }
        let admin = jumpstarter_resource_api::router(Arc::clone(&store), settings.namespace.clone(), Some(embedded));
        serve_operator(&mut servers, data_dir.admin_socket(), admin, stop_servers.clone()).await;
        Ok(Self {
            listen,
            advertise,
            metrics,
            store,
            ca_pem,
            live,
            builtin,
            router,
            controller,
            servers,
            stop_calls,
            stop_servers,
            ready,
        })
    }

    /// Takes changes of the settings file over while the service runs, which started with `settings`.
    pub(crate) fn follow(&mut self, args: ServeArgs, settings: Settings) -> anyhow::Result<()> {
        let follower =
            Follower::new(args, settings, self.builtin.clone(), self.live.clone()).context("listen for SIGHUP")?;
        self.servers.spawn(follower.run(self.stop_servers.clone()));
        Ok(())
    }

    /// Drains and stops: tunnels get their time while the rest goes on, then streams end and the port closes.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping cuts what is left.
    pub(crate) async fn shutdown(mut self) {
        self.ready.store(false, Ordering::Relaxed);
        self.controller.refuse_dials();
        // The port stays open meanwhile: exporters that find it closed for more than two seconds give up.
        self.router.shut_down().await;
        self.stop_calls.cancel();
        self.stop_servers.cancel();
        while self.servers.join_next().await.is_some() {}
        self.controller.shutdown().await;
        info!("stopped");
    }

    /// Waits until a server ends by itself, which it should not.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn failed(&mut self) {
        let _ = self.servers.join_next().await;
    }
}

/// Serves the operator's socket, and returns once it answers.
async fn serve_operator(servers: &mut JoinSet<()>, socket: PathBuf, routes: axum::Router, stop: CancellationToken) {
    let path = socket.clone();
    servers.spawn(async move {
        if let Err(error) = jumpstarter_resource_api::serve_unix(&path, routes, stop.clone()).await {
            tracing::error!(%error, "the operator's socket is not served: `jmp admin` will not work");
            // The service goes on: devices matter more than administration.
            stop.cancelled().await;
        }
    });
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::net::UnixStream::connect(&socket).await.is_err() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The key that signs tickets, and one more that the router of this process accepts while it is being replaced.
fn ticket_keys(data_dir: &DataDir) -> anyhow::Result<TicketKeys> {
    let keys = TicketKeys::new(TicketKey::load_or_create(&data_dir.ticket_key()).context("load the router key")?);
    let previous = data_dir.previous_ticket_key();
    Ok(if previous.exists() { keys.accepting(router_keys::from_file(&previous)?) } else { keys })
}

/// The router of this process, for the controller beside it.
fn local_router(router: &Router, target: &RouterTarget) -> LocalRouter {
    let router = router.clone();
    LocalRouter { endpoint: target.endpoint.clone(), look: Arc::new(move || look_at(&router)) }
}

/// How the router of this process fares.
fn look_at(router: &Router) -> RouterReport {
    let (stats, config) = (router.stats(), router.config());
    RouterReport {
        draining: router.is_draining(),
        open: stats.open,
        waiting: stats.waiting,
        max_streams: config.max_streams as u64,
        max_waiting: config.max_waiting as u64,
        total_bytes: stats.bytes_from_clients + stats.bytes_from_exporters + stats.bytes_from_unknown,
    }
}

/// Limits of a router beside hooks of this length.
pub(crate) fn router_config(hook_limit: Duration) -> jumpstarter_router::Config {
    let defaults = jumpstarter_router::Config::default();
    jumpstarter_router::Config { wait_limit: hook_limit + Duration::from_mins(5), ..defaults }
}

pub(crate) fn spawn(servers: &mut JoinSet<()>, server: Server, service: axum::Router, stop: CancellationToken) {
    servers.spawn(async move {
        if let Err(error) = server.serve(service, stop).await {
            tracing::error!(%error, "a server failed");
        }
    });
}

/// Tells the services where a request came from, in the forms that they know.
pub(crate) fn with_peer(routes: axum::Router) -> axum::Router {
    routes.layer(axum::middleware::map_request(|mut request: axum::extract::Request| async move {
        if let Some(PeerAddr::Tcp(address)) = request.extensions().get::<PeerAddr>().copied() {
            request.extensions_mut().insert(Peer(address));
            request.extensions_mut().insert(axum::extract::ConnectInfo(address));
        }
        request
    }))
}

/// Inherited sockets of the service manager, else a new one.
async fn bind(settings: &Settings) -> anyhow::Result<Vec<Listener>> {
    let inherited = listen::inherited()?;
    if !inherited.is_empty() {
        info!(sockets = inherited.len(), "using the sockets of the service manager");
        return Ok(inherited.into_iter().map(|one| one.listener).collect());
    }
    let options = BindOptions::default();
    // A predecessor may need a moment to close its port.
    let until = tokio::time::Instant::now() + HANDOVER;
    loop {
        match listen::bind_tcp(&settings.listen, &options).await {
            Err(listen::ListenError::InUse(_)) if tokio::time::Instant::now() < until && settings_own(settings) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            bound => return Ok(bound?),
        }
    }
}

/// A port that was asked for must be free; the default one may be another service's on the same machine.
async fn bind_metrics(listen: &MetricsListen) -> anyhow::Result<Vec<Listener>> {
    let (address, asked) = match listen {
        MetricsListen::Off => return Ok(Vec::new()),
        MetricsListen::Default(address) => (address, false),
        MetricsListen::At(address) => (address, true),
    };
    match listen::bind_tcp(&address.to_string(), &BindOptions::default()).await {
        Ok(listeners) => Ok(listeners),
        Err(listen::ListenError::InUse(_)) if !asked => {
            warn!(%address, "no /metrics and /healthz: the port is taken; choose another with --metrics-listen");
            Ok(Vec::new())
        }
        Err(error) => Err(error).context("open the port of /metrics and /healthz"),
    }
}

/// Whether a service runs on this data directory now: then its port is about to be free.
fn settings_own(settings: &Settings) -> bool {
    std::os::unix::net::UnixStream::connect(DataDir::new(&settings.data_dir).admin_socket()).is_ok()
}

async fn open_store(data_dir: &DataDir) -> anyhow::Result<EmbeddedStore> {
    let path = data_dir.path().to_owned();
    let options = EmbeddedOptions { lock_patience: HANDOVER, ..EmbeddedOptions::default() };
    Ok(tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, options)).await??)
}

fn certificate(settings: &Settings, data_dir: &DataDir, advertise: &str) -> anyhow::Result<ServingTls> {
    match &settings.certificate {
        Certificate::OwnCa => {
            let ca = OwnCa::load_or_create(&data_dir.tls()).context("load the certificate authority")?;
            let host = advertise.rsplit_once(':').map_or(advertise, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            ServingTls::own(ca, &[host]).context("make the server certificate")
        }
        Certificate::Files { cert, key, ca } => {
            ServingTls::from_files(cert, key, ca.as_deref()).context("load the server certificate")
        }
    }
}

/// The address to give to peers when the operator names none.
fn advertised(listen: &str, bound: SocketAddr) -> String {
    let host = listen.rsplit_once(':').map_or("", |(host, _)| host);
    if host.is_empty() || bound.ip().is_unspecified() {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = if name.is_empty() { "localhost".to_owned() } else { name };
        return format!("{name}:{}", bound.port());
    }
    format!("{host}:{}", bound.port())
}

/// Puts the CA where `jmp admin` looks for it.
async fn publish_ca(store: &dyn Store, namespace: &str, ca: Option<&str>) -> anyhow::Result<()> {
    let key = Key::new(Kind::ConfigMap, namespace, CA_CONFIG_MAP);
    let data = std::collections::BTreeMap::from([("ca.crt".to_owned(), ca.unwrap_or_default().to_owned())]);
    let existing = store.get(&key).await.context("read the CA's ConfigMap")?;
    let mut config_map: ConfigMap = match &existing {
        Some(object) => object.decode()?,
        None => ConfigMap {
            metadata: ObjectMeta {
                name: Some(CA_CONFIG_MAP.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        },
    };
    if existing.is_some() && config_map.data.as_ref() == Some(&data) {
        return Ok(());
    }
    config_map.data = Some(data);
    let object = Object::from_resource(&config_map);
    let write = if existing.is_some() { Write::Update(object) } else { Write::Create(object) };
    store.transact(vec![write]).await.map_err(|error: StoreError| error).context("store the CA's ConfigMap")?;
    Ok(())
}
