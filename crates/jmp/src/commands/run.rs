//! `jmp run`: an exporter on this machine.
use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use jumpstarter_config::{ConfigHome, Env, ExporterConfig};
use jumpstarter_exporter::{ExitReason, Exporter, ExporterError, Stop};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    failure::{Failure, chain},
    values::insecure_tls,
};

/// Options of `jmp run`.
#[derive(Args)]
pub(crate) struct Run {
    /// Alias of an exporter config.
    #[arg(long, value_name = "ALIAS", conflicts_with = "exporter_config", required_unless_present = "exporter_config")]
    exporter: Option<String>,
    /// Path of an exporter config.
    #[arg(long, value_name = "PATH")]
    exporter_config: Option<PathBuf>,
    /// Stop after one lease.
    #[arg(long)]
    exit_on_lease_end: bool,
}

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let config = self.config(&Env::from_process())?;
        let exporter = Exporter::from_config(config).map_err(|error| failed(&error))?;
        let stop = Stop::default();
        let running = exporter.run_with(stop.clone());
        tokio::pin!(running);
        let mut interrupt = caught(SignalKind::interrupt())?;
        let mut terminate = caught(SignalKind::terminate())?;
        let mut quit = caught(SignalKind::quit())?;
        let mut hangup = caught(SignalKind::hangup())?;
        loop {
            tokio::select! {
                // Signals are not lost: each has its own queue of one.
                _ = interrupt.recv() => stop.now.cancel(),
                _ = terminate.recv() => stop.now.cancel(),
                _ = quit.recv() => stop.now.cancel(),
                _ = hangup.recv() => stop.after_lease.cancel(),
                reason = &mut running => {
                    match reason.map_err(|error| failed(&error))? {
                        ExitReason::Stopped => tracing::info!("exporter stopped"),
                        ExitReason::LeaseEnded => tracing::info!("exporter stopped after its lease"),
                    }
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }

    fn config(&self, env: &Env) -> Result<ExporterConfig, Failure> {
        let load = || match (&self.exporter, &self.exporter_config) {
            (Some(alias), _) => ConfigHome::resolve(env)?.load_exporter(alias, env),
            (None, Some(path)) => ExporterConfig::from_file(path, env),
            (None, None) => unreachable!("the parser asks for one of them"),
        };
        let mut config = load().map_err(|error| Failure::from_error("Failed to load config", &error))?;
        config.exit_on_lease_end |= self.exit_on_lease_end;
        config.tls.insecure |= insecure_tls(env);
        Ok(config)
    }
}

/// Listens for a signal.
pub(crate) fn caught(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::from_error("listen for signals", &error))
}

fn failed(error: &ExporterError) -> Failure {
    Failure::new(chain(error))
}
