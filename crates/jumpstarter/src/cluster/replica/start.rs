//! Everything before the first connection.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use jumpstarter_auth::{TicketIssuer, TicketKey, TicketKeys};
use jumpstarter_cluster_config::Environment;
use jumpstarter_controller::{ControllerConfig, Live};
use jumpstarter_election::{Candidate, Elector, Options};
use jumpstarter_login::LoginInfo;
use jumpstarter_store::{EventRecorder, Kind, Store};
use jumpstarter_store_kubernetes::{
    KubernetesEvents, KubernetesMetrics, KubernetesOptions, KubernetesStore, PreflightError,
};
use jumpstarter_transport::{BindOptions, Listener, ServeCounters, Server, listen};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Candidacy, Ground, Ops, Port, Replica, Settings};
use crate::{
    certificate,
    cluster::{Misconfigured, address, config, connect, ops},
    forward::{ForwardMetrics, Forwarder},
    reload::{self, Reload, ReloadMetrics},
    serve_metrics,
    service::spawn,
};

/// Name of the lock, that of the Go controller.
const LOCK: &str = "a38b78e7.jumpstarter.dev";
/// How long a starting replica waits for an API server that does not answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// Checks and connects everything, then opens the gRPC port.
pub(super) async fn start(settings: Settings) -> anyhow::Result<Replica> {
    listen::raise_file_limit();
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let environment = config::environment()?;
    let ticket_key = TicketKey::from_bytes(environment.router_key.expose().as_bytes())
        .map_err(|error| Misconfigured(format!("ROUTER_KEY: {error}")))?;
    let tls = certificate::serving(environment.certificate.as_ref(), &environment.endpoint)
        .map_err(|error| Misconfigured(format!("{error:#}")))?;
    let cluster =
        connect::cluster(settings.kubeconfig.as_deref()).await.map_err(|error| Misconfigured(format!("{error:#}")))?;
    let api_server = cluster.cluster_url.clone();
    let client = jumpstarter_store_kubernetes::client(cluster)?;

    // Health first: a replica that waits for the API server is alive.
    let ops = Ops::new();
    let mut beside = JoinSet::new();
    let stop_beside = CancellationToken::new();
    open(&mut beside, settings.health_listen.as_deref(), "health", ops::health(ops.clone()), &stop_beside).await?;
    open(&mut beside, settings.metrics_listen.as_deref(), "metrics", ops::metrics(ops.clone()), &stop_beside).await?;

    let namespace = environment.namespace.clone();
    let metrics = ops.with_registry(KubernetesMetrics::register);
    let (recorder, writer) = KubernetesEvents::new(client.clone(), &namespace, replica_name(), metrics.clone());
    let events: Arc<dyn EventRecorder> = recorder;
    beside.spawn(writer.run(stop_beside.clone()));
    let options = KubernetesOptions { events: Arc::clone(&events), ..KubernetesOptions::new(&namespace) };
    let kubernetes = KubernetesStore::new(client.clone(), options, metrics);
    preflight(&kubernetes).await?;
    // So that a term begins with what is known already.
    kubernetes.warm(&Kind::OBSERVED).await.context("watch the objects of the namespace")?;
    let store: Arc<dyn Store> = Arc::new(kubernetes);
    let lab = config::read(&*store, &namespace).await?;

    let live = Live::new(reload::changeable(&lab));
    let reloads = ops.with_registry(ReloadMetrics::register);
    let reload = Reload::new(Arc::clone(&store), &namespace, Arc::clone(&events), live.clone(), reloads, lab.clone());
    beside.spawn(reload.run(stop_beside.clone()));

    let limits = reload::serve_limits(&lab.keepalive, Duration::ZERO);
    serve_login(&mut beside, environment.clone(), &stop_beside).await?;

    let forwarder = Forwarder::new(ops.with_registry(ForwardMetrics::register));
    let port = Port::bind(&settings.grpc_listen).await.context("open the gRPC port")?;
    let pod_ip = std::env::var("POD_IP").ok();
    let own = address::of_this_replica(port.address(), pod_ip.as_deref(), &api_server)?;
    let candidacy = match &settings.election {
        None => Candidacy::alone(),
        Some(timing) => {
            let candidate = Candidate { identity: identity(), address: own.to_string() };
            info!(identity = candidate.identity, address = candidate.address, lock = LOCK, "standing for election");
            let options =
                Options { namespace: namespace.clone(), name: LOCK.to_owned(), candidate, timing: timing.clone() };
            Candidacy::Contested(Elector::start(client, options))
        }
    };
    let counters = Arc::new(ServeCounters::default());
    ops.with_registry(|registry| serve_metrics::register(registry, &counters));
    let ground = Ground {
        config: ControllerConfig {
            namespace,
            endpoint: environment.endpoint.clone(),
            internal_prefix: lab.internal.prefix.clone(),
            presence_grace: settings.presence_grace,
            hook_limit: settings.hook_limit,
            preemption_grace: settings.preemption_grace,
            queue: settings.queue,
            quarantine: settings.quarantine.clone(),
            turnaround: settings.turnaround,
            lease_retention: settings.lease_retention,
            direct_paths: settings.direct_paths,
            limits: jumpstarter_controller::Limits::default(),
            live,
            clock: jumpstarter_store::Clock::system(),
        },
        store,
        events,
        tickets: Arc::new(TicketIssuer::new(&TicketKeys::new(ticket_key))),
        tls: Arc::new(tls),
        limits,
        counters,
    };
    Ok(Replica {
        ground,
        port,
        forwarder,
        leadership: candidacy.leadership(),
        candidacy,
        ops,
        drain: settings.drain,
        announced: false,
        beside,
        stop_beside,
    })
}

/// Asks whether the cluster has what a controller needs. An API server that is away is waited for.
async fn preflight(store: &KubernetesStore) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.preflight().await {
            Ok(()) => return Ok(()),
            Err(error @ PreflightError::Unreachable(_)) if Instant::now() < until => {
                warn!(error = format!("{:#}", anyhow::Error::from(error)), "the API server does not answer, waiting");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error @ PreflightError::Unreachable(_)) => return Err(error).context("reach the API server"),
            Err(error) => return Err(Misconfigured(format!("{:#}", anyhow::Error::from(error))).into()),
        }
    }
}

/// Serves plain HTTP on a port for machines, if there is to be one.
async fn open(
    beside: &mut JoinSet<()>,
    address: Option<&str>,
    what: &str,
    routes: axum::Router,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let listeners =
        listen::bind_tcp(address, &BindOptions::default()).await.with_context(|| format!("open the {what} port"))?;
    if let Some(address) = listeners.iter().find_map(Listener::tcp_addr) {
        info!(%address, "serving {what}");
    }
    spawn(beside, Server::new(listeners, None), routes, stop.clone());
    Ok(())
}

/// Serves what people need to log in; on every replica, since it depends on none.
async fn serve_login(
    beside: &mut JoinSet<()>,
    environment: Environment,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Environment { namespace, endpoint, router_endpoint, login_endpoint, login_listen, ca_bundle, .. } = environment;
    let info =
        LoginInfo { grpc_endpoint: endpoint, router_endpoint, namespace, login_endpoint, ca_bundle, oidc: Vec::new() };
    open(beside, Some(&login_listen), "login", jumpstarter_login::routes(&info), stop)
        .await
        .context("LOGIN_SERVICE_PORT")
}

/// Unlike any other process, also one that had this name before.
fn identity() -> String {
    format!("{}_{}", replica_name(), uuid::Uuid::new_v4())
}

/// The Pod's name, which is its host's name too unless that is too long.
fn replica_name() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    pod.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}
