//! `jmp shell`: a lease, and a program that can use it.
mod around;

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use clap::Args;
use jumpstarter_client::{Client, ClientError, CreateLease, Lease, LeaseProblem, LocalHost};
use jumpstarter_config::{ClientChoice, ClientConfig, ConfigHome, Env};
use tokio::{
    process::{Child, Command},
    signal::unix::SignalKind,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use self::around::{end_session, hang_up_at_end, show_logs, wait_for_exporter};
use crate::{
    commands::run::caught,
    failure::{Failure, chain},
    output,
    values::{duration, insecure_tls},
};

/// Time for giving the lease back.
const RELEASE: Duration = Duration::from_secs(30);

/// Pause before another lease is tried.
const RETRY: Duration = Duration::from_secs(1);

/// How a lease can go wrong.
enum Trouble {
    /// The exporter does not answer; another lease may get another one.
    Unreachable(String),
    /// Trying again would not help.
    Failed(Failure),
}

impl Trouble {
    /// The first contact with the exporter failed.
    fn from_reaching(error: ClientError) -> Self {
        let away = match &error {
            ClientError::Unreachable { .. } | ClientError::Connect { .. } => true,
            ClientError::Exporter { status, .. } => {
                // The transport's own failures have no code of their own.
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
            }
            _ => false,
        };
        if away { Self::Unreachable(chain(&error)) } else { Self::Failed(error.into()) }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Options of `jmp shell`.
#[derive(Args)]
pub(crate) struct Shell {
    /// Alias of a client config.
    #[arg(long, value_name = "ALIAS", conflicts_with = "client_config")]
    client: Option<String>,
    /// Path of a client config.
    #[arg(long, value_name = "PATH")]
    client_config: Option<PathBuf>,
    /// Use this lease; it is not released at the end.
    #[arg(long, value_name = "NAME", env = "JMP_LEASE")]
    lease: Option<String>,
    /// Lease an exporter with these labels (repeatable).
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// Lease this exporter.
    #[arg(short = 'n', long, value_name = "EXPORTER")]
    name: Option<String>,
    /// How long to lease.
    #[arg(long, value_parser = duration, default_value = "30m")]
    duration: Duration,
    /// Show the exporter's driver and system log too.
    #[arg(long)]
    exporter_logs: bool,
    /// How long to wait for an exporter.
    #[arg(long, value_parser = duration)]
    acquisition_timeout: Option<Duration>,
    /// How long to try again with another lease when the exporter is unreachable; 0 turns it off.
    #[arg(long, value_parser = duration)]
    retry_timeout: Option<Duration>,
    /// How long to wait for the exporter to be reachable.
    #[arg(long, value_parser = duration)]
    dial_timeout: Option<Duration>,
    /// Command to run instead of a shell.
    command: Vec<OsString>,
}

impl Shell {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let env = Env::from_process();
        let config = self.config(&env)?;
        let client = Client::from_config(&config).await?;
        let patience = self.patience(&config, &env);
        let stop = CancellationToken::new();
        let mut interrupt = caught(SignalKind::interrupt())?;
        let mut terminate = caught(SignalKind::terminate())?;
        let mut first_loss = None;
        loop {
            let (lease, ours) = self.lease(&client).await?;
            let outcome = {
                let work = self.with_lease(&config, &env, &client, &lease, ours, &stop);
                tokio::pin!(work);
                loop {
                    tokio::select! {
                        // The work goes on to its orderly end; only waiting for the lease is cut short.
                        _ = interrupt.recv() => tell_once(&stop, "SIGINT pressed, terminating"),
                        _ = terminate.recv() => tell_once(&stop, "SIGTERM received, terminating"),
                        outcome = &mut work => break outcome,
                    }
                }
            };
            if ours {
                release(&client, &lease).await;
            }
            let since = *first_loss.get_or_insert_with(Instant::now);
            match outcome {
                _ if stop.is_cancelled() => return Ok(ExitCode::from(2)),
                Ok(code) => return Ok(code),
                Err(Trouble::Failed(failure)) => return Err(failure),
                Err(Trouble::Unreachable(reason)) if ours && since.elapsed() < patience => {
                    tracing::warn!("The exporter is unreachable, lease released, trying again: {reason}");
                    sleep(RETRY).await;
                }
                Err(Trouble::Unreachable(reason)) => {
                    let seconds = since.elapsed().as_secs();
                    let text = format!("the exporter is unreachable after {seconds}s of retrying: {reason}");
                    return Err(Failure::new(text));
                }
            }
        }
    }

    /// How long to try again with another lease when the exporter cannot be reached.
    fn patience(&self, config: &ClientConfig, env: &Env) -> Duration {
        let from_env = || env.get("JMP_RETRY_TIMEOUT")?.parse::<f64>().ok();
        let configured = || Duration::try_from_secs_f64(from_env().unwrap_or(config.leases.retry_timeout));
        self.retry_timeout.unwrap_or_else(|| configured().unwrap_or(Duration::MAX))
    }

    fn config(&self, env: &Env) -> Result<ClientConfig, Failure> {
        let choice = match (&self.client, &self.client_config) {
            (Some(alias), _) => ClientChoice::Alias(alias.clone()),
            (None, Some(path)) => ClientChoice::Path(path.clone()),
            (None, None) => ClientChoice::Default,
        };
        let mut config = ConfigHome::resolve(env)
            .and_then(|home| home.select_client(&choice, env))
            .map_err(|error| Failure::from_error("Failed to load config", &error))?;
        config.tls.insecure |= insecure_tls(env);
        if let Some(limit) = self.acquisition_timeout {
            config.leases.acquisition_timeout = limit.as_secs();
        }
        if let Some(limit) = self.dial_timeout {
            config.leases.dial_timeout = limit.as_secs_f64();
        }
        Ok(config)
    }

    /// Name of the lease to use, and whether it was made for this shell.
    async fn lease(&self, client: &Client) -> Result<(String, bool), Failure> {
        if let Some(name) = self.lease.as_deref().filter(|name| !name.is_empty()) {
            let lease = client.get_lease(name).await?;
            if lease.client != client.name() {
                let problem = LeaseProblem::NotMine { owner: lease.client, me: client.name().to_owned() };
                return Err(ClientError::Lease { lease: name.to_owned(), problem }.into());
            }
            return Ok((lease.name, false));
        }
        let selector = self.selector.join(",");
        if selector.is_empty() && self.name.is_none() {
            let mut mine = client.list_leases(true).await?;
            mine.retain(|lease| lease.client == client.name());
            return match &mine[..] {
                [one] => Ok((one.name.clone(), false)),
                [] => Err(Failure::Usage(
                    "one of --selector/-l, --name/-n or --lease is needed: there is no active lease to use".to_owned(),
                )),
                many => {
                    let names: Vec<_> = many.iter().map(|lease| lease.name.as_str()).collect();
                    let names = names.join(", ");
                    Err(Failure::Usage(format!("several active leases, choose one with --lease: {names}")))
                }
            };
        }
        let wanted = CreateLease {
            selector,
            exporter_name: self.name.clone(),
            duration: self.duration,
            ..CreateLease::default()
        };
        let lease = client.create_lease(&wanted).await?;
        let target = self.name.as_deref().unwrap_or(&wanted.selector);
        tracing::info!("Acquiring lease {} for {target} for duration {:?}", lease.name, self.duration);
        Ok((lease.name, true))
    }

    /// Everything between having asked for the lease and giving it back.
    async fn with_lease(
        &self,
        config: &ClientConfig,
        env: &Env,
        client: &Client,
        lease: &str,
        ours: bool,
        stop: &CancellationToken,
    ) -> Result<ExitCode, Trouble> {
        let acquire = client.wait_ready(lease, |reason| tracing::info!("Waiting for lease: {reason}"));
        let granted = tokio::select! {
            // Nothing has been given out yet.
            () = stop.cancelled() => return Ok(ExitCode::from(2)),
            granted = acquire => granted.map_err(Failure::from)?,
        };
        tracing::info!("Lease {lease} acquired successfully!");
        let session = client.session(lease).await.map_err(Trouble::from_reaching)?;
        session.report().await.map_err(Trouble::from_reaching)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(show_logs(session.clone(), self.exporter_logs));
        wait_for_exporter(&session).await?;
        let host =
            LocalHost::bind(Path::new(env.non_empty("XDG_RUNTIME_DIR").unwrap_or("/tmp"))).map_err(Failure::from)?;
        let mut child = match self.spawn(config, client, &granted, host.path()).await {
            Ok(child) => child,
            Err((code, message)) => {
                output::complain(&format!("Error: {message}"));
                return Ok(ExitCode::from(code));
            }
        };
        let status = {
            let serve = host.serve(client, lease, CancellationToken::new());
            let watch = hang_up_at_end(client, &granted, child.id());
            tokio::select! {
                // Dropping these two cuts local connections of a program that is gone, and stops looking.
                () = serve => unreachable!("nobody stops it"),
                () = watch => unreachable!("it waits for ever after its work"),
                status = child.wait() => status.map_err(|error| Failure::from_error("wait for the command", &error))?,
            }
        };
        if ours && !stop.is_cancelled() {
            end_session(&session).await?;
        }
        tasks.shutdown().await;
        Ok(exit_code(status))
    }

    /// Starts the program; the error has the exit code that shells use for it.
    async fn spawn(
        &self,
        config: &ClientConfig,
        client: &Client,
        lease: &Lease,
        host: &Path,
    ) -> Result<Child, (u8, String)> {
        let exporter = lease.exporter.as_deref().unwrap_or_default();
        let (program, args) = match self.command.split_first() {
            Some((program, args)) => (program.clone(), args.to_vec()),
            None => interactive(config.shell.use_profiles),
        };
        let mut command = Command::new(&program);
        command
            .args(args)
            .env("JUMPSTARTER_HOST", host)
            .env("JMP_DRIVERS_ALLOW", config.drivers.env_value())
            .env("_JMP_SUPPRESS_DRIVER_WARNINGS", "1")
            .env("JMP_EXPORTER", exporter)
            .env("JMP_LEASE", &lease.name);
        match client.get_exporter(exporter).await {
            Ok(found) if !found.labels.is_empty() => {
                let labels: Vec<_> = found.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                command.env("JMP_EXPORTER_LABELS", labels.join(","));
            }
            Ok(_) => drop(command.env_remove("JMP_EXPORTER_LABELS")),
            Err(error) => tracing::warn!(%error, "read the exporter's labels"),
        }
        if self.command.is_empty() {
            command.env("PS1", prompt(exporter));
        }
        let name = program.display();
        command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => (127, format!("command not found: {name}")),
            std::io::ErrorKind::PermissionDenied => (126, format!("command not executable: {name}")),
            _ => (126, format!("run {name}: {error}")),
        })
    }
}

/// Gives the lease back; that it may have ended already is no concern.
async fn release(client: &Client, lease: &str) {
    tracing::info!("Releasing Lease {lease}");
    match timeout(RELEASE, client.delete_lease(lease)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "release the lease"),
        Err(_) => tracing::warn!("the lease could not be released in time; it ends by itself"),
    }
}

fn tell_once(stop: &CancellationToken, text: &str) {
    if !stop.is_cancelled() {
        output::complain(text);
        stop.cancel();
    }
}

fn interactive(use_profiles: bool) -> (OsString, Vec<OsString>) {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "bash".into());
    let bash = shell.to_string_lossy().ends_with("bash");
    let args = if bash && !use_profiles { vec!["--norc".into(), "--noprofile".into()] } else { Vec::new() };
    (shell, args)
}

/// The prompt that people know: directory, bolt, exporter.
fn prompt(exporter: &str) -> String {
    format!(r"\[\e[90m\]\W \[\e[93m\]⚡\[\e[97m\]{exporter} \[\e[93m\]➤\[\e[0m\] ")
}

/// The program's own code, or 128 + n when signal n ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Failed(chain(&error))
    }
}
