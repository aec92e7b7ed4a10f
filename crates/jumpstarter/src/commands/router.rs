//! `jumpstarter router`: a router in a process of its own, which a restart of the controller does not touch.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use jumpstarter_cluster_config::{Keepalive, RouterEnvironment};
use jumpstarter_model::GoDuration;
use jumpstarter_router::{Router, TicketCheck};
use jumpstarter_transport::{BindOptions, Listener, ServeCounters, ServeLimits, Server, ServingTls, listen};
use prometheus_client::registry::Registry;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{say, termination};
use crate::{
    certificate,
    ops::{self, Ops},
    reload,
    router_keys::{KeySource, RouterKeys},
    serve_metrics,
    service::{router_config, spawn, with_peer},
    telemetry::{LogDefaults, LogFormat, ZapArgs},
};

/// What streams that were told to end get beyond the drain, before their connections are cut.
const LAST_WORDS: Duration = Duration::from_secs(7);

/// `jumpstarter router`.
#[derive(Args, Debug)]
pub(crate) struct RouterArgs {
    /// Address of the port for streams
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:8083")]
    listen: String,

    #[command(flatten)]
    keys: KeySource,

    /// Certificate chain (PEM); clients must trust it as they trust the service's. Without it the environment variables
    /// EXTERNAL_CERT_PEM and EXTERNAL_KEY_PEM name the files; without those a certificate is made for the host of
    /// GRPC_ROUTER_ENDPOINT
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Address of /metrics, /healthz and /readyz, or `off`
    #[arg(long, value_name = "HOST:PORT", default_value = "off")]
    metrics_listen: String,

    /// Seconds that running tunnels may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    drain: u64,

    #[command(flatten)]
    keepalive: KeepaliveArgs,

    /// No effect: a router asks nothing of Kubernetes
    #[arg(long, hide = true)]
    kubeconfig: Option<PathBuf>,

    #[command(flatten)]
    zap: ZapArgs,
}

/// The keepalive settings of the service, which a router cannot read from its ConfigMap.
#[derive(Args, Debug)]
struct KeepaliveArgs {
    /// Silence of a peer after which it is asked whether it is alive [default: 10s]
    #[arg(long, value_name = "DURATION")]
    keepalive_interval: Option<GoDuration>,

    /// Time for its answer [default: 60s]
    #[arg(long, value_name = "DURATION")]
    keepalive_timeout: Option<GoDuration>,

    /// How long a connection may be without a stream [default: for ever]
    #[arg(long, value_name = "DURATION")]
    max_connection_idle: Option<GoDuration>,

    /// How old a connection may get before its peer is told to open another one for new streams [default: for ever]
    #[arg(long, value_name = "DURATION")]
    max_connection_age: Option<GoDuration>,

    /// What running streams get on a connection that is too old, before they are cut [default: for ever]
    #[arg(long, value_name = "DURATION")]
    max_connection_age_grace: Option<GoDuration>,
}

impl KeepaliveArgs {
    fn limits(&self, drain_grace: Duration) -> ServeLimits {
        let span = |value: &Option<GoDuration>| {
            value.map(|value| Duration::from_nanos(u64::try_from(value.as_nanos()).unwrap_or_default()))
        };
        let keepalive = Keepalive {
            interval: span(&self.keepalive_interval),
            timeout: span(&self.keepalive_timeout),
            max_connection_idle: span(&self.max_connection_idle),
            max_connection_age: span(&self.max_connection_age),
            max_connection_age_grace: span(&self.max_connection_age_grace),
            ..Keepalive::default()
        };
        reload::serve_limits(&keepalive, drain_grace)
    }
}

impl RouterArgs {
    /// What the log is like where nobody says so: for machines, when the process is told by its environment.
    pub(crate) fn log_defaults(&self) -> LogDefaults {
        let format = if self.tls_cert.is_none() { LogFormat::Json } else { LogFormat::Human };
        self.zap.defaults("router", format)
    }
}

/// Serves streams until SIGINT or SIGTERM. SIGHUP reads the key files again.
pub(crate) async fn run(args: RouterArgs) -> anyhow::Result<ExitCode> {
    listen::raise_file_limit();
    let keys = Arc::new(RouterKeys::load(args.keys.clone())?);
    let tls = certificate(&args)?;
    let listeners = listen::bind_tcp(&args.listen, &BindOptions::default()).await?;
    let address = listeners.iter().find_map(Listener::tcp_addr).context("no TCP listener was bound")?;

    let drain = Duration::from_secs(args.drain);
    let config = jumpstarter_router::Config { drain_grace: drain, ..router_config(Duration::from_mins(30)) };
    let router = Router::new(config, Arc::clone(&keys) as Arc<dyn TicketCheck>);
    let counters = Arc::new(ServeCounters::default());
    let mut registry = Registry::default();
    router.register_metrics(&mut registry);
    serve_metrics::register(&mut registry, &counters);

    let ready = Arc::new(AtomicBool::new(true));
    let (stop_ops, stop_streams) = (CancellationToken::new(), CancellationToken::new());
    let mut ops_server = JoinSet::new();
    let mut metrics = "off".to_owned();
    if args.metrics_listen != "off" {
        let listeners = listen::bind_tcp(&args.metrics_listen, &BindOptions::default()).await?;
        if let Some(address) = listeners.iter().find_map(Listener::tcp_addr) {
            metrics = address.to_string();
        }
        let ops = Ops { registry: Arc::new(registry), ready: Arc::clone(&ready) };
        spawn(&mut ops_server, Server::new(listeners, None), ops::routes(ops), stop_ops.clone());
    }
    let server = Server {
        listeners,
        tls: Some(Arc::new(tls)),
        limits: args.keepalive.limits(drain.saturating_add(LAST_WORDS)),
        counters,
    };
    let mut streams = JoinSet::new();
    spawn(&mut streams, server, with_peer(router.clone().into_axum_router()), stop_streams.clone());

    let stopped = termination();
    tokio::pin!(stopped);
    let mut hangup = signal(SignalKind::hangup())?;
    say(format_args!("jumpstarter router is ready: listen={address} metrics={metrics}"));
    info!(%address, "router is ready");
    let signal = loop {
        // All are cancel safe, and the end is waited for once.
        tokio::select! {
            signal = &mut stopped => break signal?,
            _ = hangup.recv() => match keys.reload() {
                Ok(()) => info!("SIGHUP: the router keys were read again"),
                Err(error) => error!(error = format!("{error:#}"), "the router keys stay as they were"),
            },
            _ = streams.join_next() => anyhow::bail!("the server of the stream port ended by itself"),
        }
    };

    let open = router.stats().open;
    info!(signal, streams = open, ?drain, "draining: nothing new is accepted, running streams may finish");
    ready.store(false, Ordering::Relaxed);
    router.drain();
    // Closes the port, and tells every peer to open no more streams on the connection that it has.
    stop_streams.cancel();
    let finish = async {
        router.shut_down().await;
        while streams.join_next().await.is_some() {}
    };
    tokio::select! {
        () = finish => {}
        // Whoever asks twice does not want to wait.
        signal = termination() => warn!(signal = signal?, "stopping at once"),
    }
    streams.shutdown().await;
    stop_ops.cancel();
    while ops_server.join_next().await.is_some() {}
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// From the flags, else as the environment says.
fn certificate(args: &RouterArgs) -> anyhow::Result<ServingTls> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        return ServingTls::from_files(certificate, key, None).context("load the certificate");
    }
    let mut variables: Vec<_> = std::env::vars_os().collect();
    if args.keys.is_file() {
        // Read from the file already; the variable may be absent then.
        variables.retain(|(name, _)| name != "ROUTER_KEY");
        variables.push(("ROUTER_KEY".into(), "from a file".into()));
    }
    let environment = RouterEnvironment::from_vars(variables)?;
    certificate::serving(environment.certificate.as_ref(), &environment.endpoint)
}
