//! A shell on the drivers of an exporter config, in this process, without a service.
use std::{path::Path, process::ExitCode};

use jumpstarter_client::ExporterStatus;
use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_exporter::{Session, SessionInfo};
use tokio::{net::UnixListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Shell, around::show_logs, child::Told, signals::Signals};
use crate::failure::Failure;

impl Shell {
    pub(super) async fn local(&self, env: &Env, config: ExporterConfig) -> Result<ExitCode, Failure> {
        // Held until the end: it owns the process of the drivers that are written in Python.
        let registry = jumpstarter_driver_host_python::registry();
        let session = Session::new(&config, &registry, SessionInfo::default()).await;
        let session = session.map_err(|error| Failure::from_error("set up the drivers", &error))?;
        let (stop, child) = (CancellationToken::new(), watch::Sender::new(None));
        let mut signals = Signals::catch()?;
        let receiver = child.subscribe();
        let outcome = tokio::select! {
            // Signals only fire `stop` and tell the program: the work goes on to its orderly end.
            () = signals.handle(&stop, &receiver) => unreachable!("it handles signals for ever"),
            outcome = self.on_drivers(env, &config, &session, &stop, &child) => outcome,
        };
        // Devices go back to their default whatever happened.
        session.close().await;
        if stop.is_cancelled() { Ok(ExitCode::from(2)) } else { outcome }
    }

    async fn on_drivers(
        &self,
        env: &Env,
        config: &ExporterConfig,
        session: &Session,
        stop: &CancellationToken,
        child: &watch::Sender<Option<u32>>,
    ) -> Result<ExitCode, Failure> {
        let runtime_dir = Path::new(env.non_empty("XDG_RUNTIME_DIR").unwrap_or("/tmp"));
        let failed = |error: std::io::Error| {
            Failure::from_error(&format!("make a socket below {}", runtime_dir.display()), &error)
        };
        let dir = tempfile::Builder::new().prefix("jumpstarter-").tempdir_in(runtime_dir).map_err(failed)?;
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).map_err(failed)?;
        tokio::select! {
            () = stop.cancelled() => return Ok(ExitCode::from(2)),
            () = session.reset() => {}
        }
        session.set_status(ExporterStatus::LeaseReady, "");
        let mut tasks = JoinSet::new();
        let served = session.clone();
        tasks.spawn(async move {
            if let Err(error) = served.serve_unix(listener).await {
                tracing::warn!(%error, "the local socket failed");
            }
        });
        if self.exporter_logs
            && let Ok(client) = jumpstarter_client::Session::unix(&path).await
        {
            tasks.spawn(show_logs(client, true));
        }
        if self.command.is_empty()
            && let Some(motd) = &config.motd
        {
            crate::output::say(&crate::j::harmless(motd.trim_end()));
        }
        let told = Told {
            host: path.into(),
            // The user's own file says what is loaded here.
            allow: "UNSAFE".to_owned(),
            context: "local".to_owned(),
            ..Told::default()
        };
        let ended = told.run(&self.command, child).await;
        tasks.shutdown().await;
        ended
    }
}
