//! A shell on an exporter that a service leases.
use std::{path::Path, process::ExitCode, time::Duration};

use jumpstarter_client::{Client, ClientError, LocalHost};
use jumpstarter_config::{ClientConfig, Env};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    Shell,
    around::{Before, end_session, show_logs, wait_for_exporter},
    child::{Told, exit_code},
    lease::Chosen,
    monitor::{self, Seen},
    signals::Signals,
};
use crate::{
    client_args,
    failure::{Failure, chain},
    lease_wait, output,
};

/// Pause before another lease is tried.
const RETRY: Duration = Duration::from_secs(1);

/// How a lease can go wrong.
enum Trouble {
    /// The exporter does not answer; another lease may get another one.
    Unreachable {
        /// Its name.
        exporter: String,
        /// What happened.
        reason: String,
    },
    /// Trying again would not help.
    Failed(Failure),
}

impl Trouble {
    /// The first contact with the exporter failed.
    fn from_reaching(exporter: &str, error: ClientError) -> Self {
        let away = match &error {
            ClientError::Unreachable { .. } | ClientError::Connect { .. } => true,
            ClientError::Exporter { status, .. } => {
                // The transport's own failures have no code of their own.
                matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
            }
            _ => false,
        };
        if away {
            Self::Unreachable { exporter: exporter.to_owned(), reason: chain(&error) }
        } else {
            Self::Failed(error.into())
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What all attempts of one shell have in common.
struct Run<'a> {
    shell: &'a Shell,
    config: &'a ClientConfig,
    env: &'a Env,
    client: &'a Client,
    stop: &'a CancellationToken,
    /// The program that runs, for those who have to tell it something.
    child: &'a watch::Sender<Option<u32>>,
    seen: &'a watch::Sender<Seen>,
}

impl Shell {
    pub(super) async fn remote(&self, env: &Env, mut config: ClientConfig) -> Result<ExitCode, Failure> {
        let client = client_args::connect(&mut config).await?;
        let patience = self.patience(&config, env);
        let (stop, child, seen) =
            (CancellationToken::new(), watch::Sender::new(None), watch::Sender::new(Seen::default()));
        let run = Run { shell: self, config: &config, env, client: &client, stop: &stop, child: &child, seen: &seen };
        let mut signals = Signals::catch()?;
        let receiver = child.subscribe();
        tokio::select! {
            // Signals only fire `stop` and tell the program: the work goes on to its orderly end.
            () = signals.handle(&stop, &receiver) => unreachable!("it handles signals for ever"),
            outcome = run.attempts(patience) => outcome,
        }
    }

    /// For how long to try again with another lease when the exporter cannot be reached.
    fn patience(&self, config: &ClientConfig, env: &Env) -> Duration {
        let from_env = || env.get("JMP_RETRY_TIMEOUT")?.parse::<f64>().ok();
        let configured = || Duration::try_from_secs_f64(from_env().unwrap_or(config.leases.retry_timeout));
        self.retry_timeout.unwrap_or_else(|| configured().unwrap_or(Duration::MAX))
    }
}

impl Run<'_> {
    async fn attempts(&self, patience: Duration) -> Result<ExitCode, Failure> {
        let mut first_loss = None;
        loop {
            let lease = self.shell.choose(self.env, self.client).await?;
            let outcome = self.with_lease(&lease).await;
            let Seen { ended, transferred } = *self.seen.borrow();
            if lease.ours && !ended && !transferred {
                lease_wait::release(self.client, &lease.name).await;
            }
            let since = *first_loss.get_or_insert_with(Instant::now);
            match outcome {
                _ if self.stop.is_cancelled() => return Ok(ExitCode::from(2)),
                Ok(code) => return Ok(code),
                Err(Trouble::Failed(failure)) => return Err(failure),
                Err(Trouble::Unreachable { exporter, reason }) if lease.ours && since.elapsed() < patience => {
                    tracing::warn!("Exporter {exporter} is unreachable, releasing lease and retrying... ({reason})");
                    tokio::select! {
                        () = self.stop.cancelled() => return Ok(ExitCode::from(2)),
                        () = sleep(RETRY) => {}
                    }
                }
                Err(Trouble::Unreachable { exporter, reason }) => {
                    let text = if lease.ours {
                        let seconds = since.elapsed().as_secs();
                        format!("Exporter {exporter} unreachable after {seconds}s of retrying: {reason}")
                    } else {
                        format!("Exporter {exporter} is unreachable: {reason}")
                    };
                    return Err(Failure::new(text));
                }
            }
        }
    }

    /// Everything between having asked for the lease and giving it back.
    async fn with_lease(&self, lease: &Chosen) -> Result<ExitCode, Trouble> {
        let limit = Duration::from_secs(self.config.leases.acquisition_timeout);
        let granted = tokio::select! {
            // Nothing has been given out yet.
            () = self.stop.cancelled() => return Ok(ExitCode::from(2)),
            granted = lease_wait::granted(self.client, &lease.name, limit) => granted?,
        };
        let exporter = granted.exporter.clone().unwrap_or_default();
        let reached = async {
            let session = self.client.session(&lease.name).await?;
            session.report().await?;
            Ok(session)
        };
        let session = tokio::select! {
            () = self.stop.cancelled() => return Ok(ExitCode::from(2)),
            reached = reached => reached.map_err(|error| Trouble::from_reaching(&exporter, error))?,
        };
        if let Some(way) = session.way() {
            tracing::info!("Connected to exporter {exporter} {way}");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(show_logs(session.clone(), self.shell.exporter_logs));
        let before = tokio::select! {
            () = self.stop.cancelled() => return Ok(ExitCode::from(2)),
            before = wait_for_exporter(&session, || self.over(&lease.name)) => before?,
        };
        if before == Before::LeaseOver {
            tracing::info!("Lease expired while waiting for beforeLease hook to complete");
            self.seen.send_modify(|seen| seen.ended = true);
            return Ok(ExitCode::SUCCESS);
        }
        if self.shell.command.is_empty()
            && let Ok(motd) = session.motd().await
            && !motd.trim().is_empty()
        {
            output::say(&crate::j::harmless(motd.trim_end()));
        }
        let host = LocalHost::bind(Path::new(self.env.non_empty("XDG_RUNTIME_DIR").unwrap_or("/tmp")));
        let host = host.map_err(Failure::from)?;
        let mut program = match self.told(&granted.name, &exporter, &host).await.spawn(&self.shell.command) {
            Ok(program) => program,
            Err(code) => return Ok(code),
        };
        self.child.send_replace(program.id());
        let receiver = self.child.subscribe();
        let status = tokio::select! {
            // Dropping these cuts local connections of a program that is gone, and stops looking.
            () = host.serve(self.client, &lease.name, CancellationToken::new()) => unreachable!("nobody stops it"),
            () = monitor::lease(self.client, &granted, &receiver, self.seen) => unreachable!("it never returns"),
            () = monitor::token(self.config, self.client) => unreachable!("it never returns"),
            status = program.wait() => status.map_err(|error| Failure::from_error("wait for the command", &error))?,
        };
        self.child.send_replace(None);
        let Seen { ended, transferred } = *self.seen.borrow();
        if lease.ours && !ended && !transferred && !self.stop.is_cancelled() {
            tokio::select! {
                // Somebody does not want to wait for the hook.
                () = self.stop.cancelled() => {}
                over = end_session(&session) => over?,
            }
        }
        tasks.shutdown().await;
        Ok(exit_code(status))
    }

    /// The lease has ended.
    async fn over(&self, lease: &str) -> bool {
        self.client.get_lease(lease).await.is_ok_and(|lease| lease.effective_end_time.is_some())
    }

    async fn told(&self, lease: &str, exporter: &str, host: &LocalHost) -> Told {
        let labels = match self.client.get_exporter(exporter).await {
            Ok(found) => Some(found.labels),
            Err(error) => {
                tracing::warn!(%error, "read the exporter's labels");
                None
            }
        };
        Told {
            host: host.path().into(),
            allow: self.config.drivers.env_value(),
            exporter: Some(exporter.to_owned()),
            lease: Some(lease.to_owned()),
            labels,
            context: exporter.to_owned(),
            use_profiles: self.config.shell.use_profiles,
            ..Told::default()
        }
    }
}
