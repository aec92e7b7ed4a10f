//! `jmp run`: exporters on this machine, for a service or on a port of their own.
mod configs;
mod direct;
mod door;
mod fleet;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use jumpstarter_config::Env;
use jumpstarter_exporter::{ExporterError, Stop};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, chain};

/// Options of `jmp run`.
#[derive(Args)]
pub(crate) struct Run {
    /// Alias of an exporter config; repeat it to serve several exporters from one process.
    #[arg(long, value_name = "ALIAS", conflicts_with = "exporter_config", required_unless_present = "exporter_config")]
    exporter: Vec<String>,
    /// Path of an exporter config, or of a directory whose `*.yaml` files are all served (repeatable).
    #[arg(long, value_name = "PATH")]
    exporter_config: Vec<PathBuf>,
    /// Stop after one lease.
    #[arg(long)]
    exit_on_lease_end: bool,
    /// Also take the clients of leases on this address, so that those who can reach it need no router. Every client
    /// shows a ticket of the service. [env: JMP_DIRECT_LISTEN]
    #[arg(long, value_name = "[HOST:]PORT", conflicts_with = "tls_grpc_listener")]
    direct_listen: Option<String>,
    /// With --direct-listen: the address that clients are told, in place of the one by which this machine reaches the
    /// service (repeatable). [env: JMP_DIRECT_ADDRESS, separated by commas]
    #[arg(long, value_name = "HOST[:PORT]", requires = "direct_listen")]
    direct_address: Vec<String>,
    /// Listen on TCP instead of registering with a controller, e.g. 1234 or 0.0.0.0:1234.
    #[arg(long, value_name = "[HOST:]PORT")]
    tls_grpc_listener: Option<String>,
    /// With --tls-grpc-listener, listen without TLS (for development only).
    #[arg(long)]
    tls_grpc_insecure: bool,
    /// Server certificate (PEM) for --tls-grpc-listener.
    #[arg(long, value_name = "PATH")]
    tls_cert: Option<PathBuf>,
    /// Server private key (PEM) for --tls-grpc-listener.
    #[arg(long, value_name = "PATH")]
    tls_key: Option<PathBuf>,
    /// Require this passphrase from clients of --tls-grpc-listener.
    #[arg(long, value_name = "TEXT")]
    passphrase: Option<String>,
}

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let direct = direct::options(&self)?;
        let env = Env::from_process();
        let door = door::options(&self, &env)?;
        let configs = configs::load(&self, &env)?;
        let stop = Stop::default();
        let mut signals = Signals::new()?;
        let work = async {
            match direct {
                Some(options) => direct::serve(configs, options, stop.clone()).await,
                None => fleet::serve(configs, door, stop.clone()).await,
            }
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                // Signals are not lost: each has its own queue of one.
                signal = signals.next() => signal.pass_on(&stop),
                outcome = &mut work => return outcome,
            }
        }
    }
}

/// What a signal asks for.
enum Asked {
    Now(&'static str),
    AfterLease,
}

impl Asked {
    fn pass_on(&self, stop: &Stop) {
        match self {
            Self::Now(name) if stop.now.is_cancelled() => {
                tracing::info!("{name}: stopping already; the session's tear-down goes on");
            }
            Self::Now(name) => {
                tracing::info!("{name}: stopping");
                notify(sd_notify::NotifyState::Stopping);
                stop.now.cancel();
            }
            Self::AfterLease => {
                tracing::info!("SIGHUP: stopping when no lease is held");
                stop.after_lease.cancel();
            }
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            quit: caught(SignalKind::quit())?,
            hangup: caught(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            // Each is cancel safe by its docs.
            _ = self.interrupt.recv() => Asked::Now("SIGINT"),
            _ = self.terminate.recv() => Asked::Now("SIGTERM"),
            _ = self.quit.recv() => Asked::Now("SIGQUIT"),
            _ = self.hangup.recv() => Asked::AfterLease,
        }
    }
}

/// Listens for a signal.
pub(crate) fn caught(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::from_error("listen for signals", &error))
}

/// Tells the service manager, if there is one.
fn notify(state: sd_notify::NotifyState<'_>) {
    // Fails only without a service manager.
    let _ = sd_notify::notify(&[state]);
}

fn failed(error: &ExporterError) -> Failure {
    Failure::new(chain(error))
}
