//! `jumpstarter router`: a router in a process of its own, which a restart of the controller does not touch.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use jumpstarter_auth::{TicketKey, TicketKeys, TicketVerifier};
use jumpstarter_cluster_config::RouterEnvironment;
use jumpstarter_router::{Router, TicketCheck};
use jumpstarter_transport::{BindOptions, Listener, ServeCounters, ServeLimits, Server, ServingTls, listen};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{say, termination};
use crate::{
    certificate,
    cluster::Misconfigured,
    ops::{self, Ops},
    service::{router_config, spawn, with_peer},
    telemetry::{LogDefaults, LogFormat, ZapArgs},
};

/// `jumpstarter router`.
#[derive(Args, Debug)]
pub(crate) struct RouterArgs {
    /// Address of the port for streams
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:8083")]
    listen: String,

    /// File with the key that the service signs tickets with (`keys/router.key` of its data directory); else the
    /// environment variable ROUTER_KEY
    #[arg(long, value_name = "FILE")]
    router_key: Option<PathBuf>,

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

    /// No effect: a router asks nothing of Kubernetes
    #[arg(long, hide = true)]
    kubeconfig: Option<PathBuf>,

    #[command(flatten)]
    zap: ZapArgs,
}

impl RouterArgs {
    /// What the log is like where nobody says so: for machines, when the process is told by its environment.
    pub(crate) fn log_defaults(&self) -> LogDefaults {
        let format = if self.tls_cert.is_none() { LogFormat::Json } else { LogFormat::Human };
        self.zap.defaults("router", format)
    }
}

/// Serves streams until SIGINT or SIGTERM.
pub(crate) async fn run(args: RouterArgs) -> anyhow::Result<ExitCode> {
    listen::raise_file_limit();
    let key = match &args.router_key {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| format!("read the router key {}", path.display()))?;
            TicketKey::from_bytes(text.trim_ascii())
        }
        None => TicketKey::from_bytes(std::env::var("ROUTER_KEY").unwrap_or_default()),
    }
    .map_err(|error| Misconfigured(format!("the router key (--router-key FILE or ROUTER_KEY): {error}")))?;
    let tls = certificate(&args)?;
    let listeners = listen::bind_tcp(&args.listen, &BindOptions::default()).await?;
    let address = listeners.iter().find_map(Listener::tcp_addr).context("no TCP listener was bound")?;

    let config = jumpstarter_router::Config {
        drain_grace: Duration::from_secs(args.drain),
        ..router_config(Duration::from_mins(30))
    };
    let verifier = TicketVerifier::new(&TicketKeys::new(key));
    let router = Router::new(config, Arc::new(verifier) as Arc<dyn TicketCheck>);
    let mut registry = Registry::default();
    router.register_metrics(&mut registry);

    let stop = CancellationToken::new();
    let mut servers = JoinSet::new();
    if args.metrics_listen != "off" {
        let listeners = listen::bind_tcp(&args.metrics_listen, &BindOptions::default()).await?;
        let ops = Ops { registry: Arc::new(registry), ready: Arc::new(AtomicBool::new(true)) };
        spawn(&mut servers, Server::new(listeners, None), ops::routes(ops), stop.clone());
    }
    let server = Server {
        listeners,
        tls: Some(Arc::new(tls)),
        limits: ServeLimits { drain_grace: Duration::from_secs(1), ..ServeLimits::default() },
        counters: Arc::new(ServeCounters::default()),
    };
    spawn(&mut servers, server, with_peer(router.clone().into_axum_router()), stop.clone());
    say(format_args!("jumpstarter router is ready: listen={address}"));
    info!(%address, "router is ready");
    let signal = termination().await?;
    info!(signal, "draining");
    router.shut_down().await;
    stop.cancel();
    while servers.join_next().await.is_some() {}
    Ok(ExitCode::SUCCESS)
}

/// From the flags, else as the environment says.
fn certificate(args: &RouterArgs) -> anyhow::Result<ServingTls> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        return ServingTls::from_files(certificate, key, None).context("load the certificate");
    }
    let mut variables: Vec<_> = std::env::vars_os().collect();
    if args.router_key.is_some() {
        // Read from the file already; the variable may be absent then.
        variables.retain(|(name, _)| name != "ROUTER_KEY");
        variables.push(("ROUTER_KEY".into(), "from a file".into()));
    }
    let environment = RouterEnvironment::from_vars(variables)?;
    certificate::serving(environment.certificate.as_ref(), &environment.endpoint)
}
