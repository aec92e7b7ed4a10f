//! `jmp shell`: a program that can use the drivers of an exporter, with a lease, locally or directly.
mod around;
mod child;
mod direct;
mod lease;
mod local;
mod monitor;
mod remote;
mod signals;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_config::{ClientConfig, ConfigError, ConfigHome, Env, ExporterConfig};

use crate::{
    client_args::{ClientArgs, load_failure},
    complete,
    failure::Failure,
    values::{at_least_5s, duration},
};

/// Options of `jmp shell`.
#[derive(Args)]
pub(crate) struct Shell {
    #[command(flatten)]
    client: ClientArgs,
    /// Path of an exporter config: its drivers are used on this machine, without a service.
    #[arg(long, value_name = "PATH")]
    exporter_config: Option<PathBuf>,
    /// Alias of an exporter config: its drivers are used on this machine, without a service.
    #[arg(long, value_name = "ALIAS", add = ArgValueCandidates::new(complete::exporter_configs))]
    exporter: Option<String>,
    /// Use this lease; it is not released at the end. [env: JMP_LEASE]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::leases))]
    lease: Option<String>,
    /// Lease an exporter with these labels; may be given more than once.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// Lease this exporter.
    #[arg(short = 'n', long, value_name = "EXPORTER", add = ArgValueCandidates::new(complete::exporters))]
    name: Option<String>,
    /// How long to lease: 30m, 3h30m, 1d, 01:30:00, PT1H30M, or seconds.
    #[arg(long, value_parser = duration, default_value = "30m")]
    duration: Duration,
    /// Show the exporter's driver and system log too.
    #[arg(long)]
    exporter_logs: bool,
    /// How long to wait for an exporter; at least 5 s.
    #[arg(long, value_name = "DURATION", value_parser = at_least_5s)]
    acquisition_timeout: Option<Duration>,
    /// How long to try again with another lease when the exporter is unreachable; 0 turns it off.
    /// [env: JMP_RETRY_TIMEOUT] [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retry_timeout: Option<Duration>,
    /// How long to wait for the exporter to be reachable; at least 5 s. [env: JMP_DIAL_TIMEOUT]
    #[arg(long, value_name = "DURATION", value_parser = at_least_5s)]
    dial_timeout: Option<Duration>,
    /// Connect straight to an exporter that listens there, without a service.
    #[arg(long, value_name = "HOST:PORT")]
    tls_grpc: Option<String>,
    /// With --tls-grpc: without TLS (for development only).
    #[arg(long, requires = "tls_grpc")]
    tls_grpc_insecure: bool,
    /// With --tls-grpc: the exporter's passphrase.
    #[arg(long, value_name = "TEXT", requires = "tls_grpc")]
    passphrase: Option<String>,
    /// Command to run instead of a shell; put `--` before it when it has options of its own.
    command: Vec<OsString>,
}

impl Shell {
    /// Runs it, in the mode that the options ask for.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let env = Env::from_process();
        if let Some(address) = &self.tls_grpc {
            return self.direct(address).await;
        }
        let given = [
            self.client.client.is_some(),
            self.client.client_config.is_some(),
            self.exporter.is_some(),
            self.exporter_config.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err(Failure::Usage(
                "Invalid value: only one of --client, --client-config, --exporter, --exporter-config should be specified"
                    .to_owned(),
            ));
        }
        if let Some(config) = self.exporter_config(&env)? {
            return self.local(&env, config).await;
        }
        let config = self.client_config(&env)?;
        self.remote(&env, config).await
    }

    fn exporter_config(&self, env: &Env) -> Result<Option<ExporterConfig>, Failure> {
        let found = match (&self.exporter, &self.exporter_config) {
            (None, None) => return Ok(None),
            (Some(alias), _) => ConfigHome::resolve(env).and_then(|home| home.load_exporter(alias, env)),
            (None, Some(path)) => ExporterConfig::from_file(path, env),
        };
        found.map(Some).map_err(|error| load_failure(&error))
    }

    fn client_config(&self, env: &Env) -> Result<ClientConfig, Failure> {
        let choice = self.client.choice()?;
        let found = ConfigHome::resolve(env).and_then(|home| home.select_client(&choice, env));
        let mut config = found.map_err(|error| match error {
            ConfigError::NoDefaultClient => Failure::Usage(
                "Specify one of: --client / --client-config, --exporter / --exporter-config, or --tls-grpc HOST:PORT; \
                 or log in with `jmp login`"
                    .to_owned(),
            ),
            other => load_failure(&other),
        })?;
        config.tls.insecure |= crate::values::insecure_tls(env);
        if let Some(limit) = self.acquisition_timeout {
            config.leases.acquisition_timeout = limit.as_secs();
        }
        let from_env = || env.get("JMP_DIAL_TIMEOUT")?.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
        if let Some(limit) = self.dial_timeout.map(|limit| limit.as_secs_f64()).or_else(from_env) {
            config.leases.dial_timeout = limit;
        }
        Ok(config)
    }
}
