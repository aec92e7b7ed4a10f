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
use jumpstarter_router::{Router, TicketCheck};
use jumpstarter_transport::{BindOptions, Listener, ServeCounters, ServeLimits, Server, ServingTls, listen};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{say, termination};
use crate::{
    ops::{self, Ops},
    service::{router_config, spawn, with_peer},
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

    /// Certificate chain (PEM); clients must trust it as they trust the service's
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_TLS_CERT")]
    tls_cert: PathBuf,

    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE", env = "JUMPSTARTER_TLS_KEY")]
    tls_key: PathBuf,

    /// Address of /metrics, /healthz and /readyz, or `off`
    #[arg(long, value_name = "HOST:PORT", default_value = "off")]
    metrics_listen: String,

    /// Seconds that running tunnels may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    drain: u64,
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
    .context("the router key (--router-key FILE or ROUTER_KEY)")?;
    let listeners = listen::bind_tcp(&args.listen, &BindOptions::default()).await?;
    let address = listeners.iter().find_map(Listener::tcp_addr).context("no TCP listener was bound")?;
    let tls = ServingTls::from_files(&args.tls_cert, &args.tls_key, None).context("load the certificate")?;

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
    let signal = termination().await?;
    info!(signal, "draining");
    router.shut_down().await;
    stop.cancel();
    while servers.join_next().await.is_some() {}
    Ok(ExitCode::SUCCESS)
}
