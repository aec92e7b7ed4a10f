//! What goes on around the program: hooks before and after, and the exporter's log.
use std::time::Duration;

use futures::StreamExt as _;
use jumpstarter_client::{ExporterStatus, LogLine, Session};
use tokio::time::{Instant, sleep};

use crate::{failure::Failure, output};

/// Time for a hook to end.
const HOOK: Duration = Duration::from_mins(5);
/// Between two attempts to read the log again; doubles up to [`LOG_CAP`].
const LOG_FIRST: Duration = Duration::from_millis(100);
const LOG_CAP: Duration = Duration::from_secs(2);
/// Attempts in a row.
const LOG_ATTEMPTS: u32 = 10;
/// Looks at the exporter while waiting for a hook.
const POLL: Duration = Duration::from_millis(300);

/// How the wait for the beforeLease hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// The exporter is ready.
    Ready,
    /// The lease ended first.
    LeaseOver,
}

/// Waits until the beforeLease hook is through; `over` is asked whether the lease has ended when there is no answer.
pub(super) async fn wait_for_exporter(session: &Session, over: impl AsyncFn() -> bool) -> Result<Before, Failure> {
    let started = Instant::now();
    let mut told = false;
    loop {
        let state = match session.status().await {
            Ok(state) => state,
            Err(_) if over().await => return Ok(Before::LeaseOver),
            Err(_) if started.elapsed() < HOOK => {
                sleep(POLL).await;
                continue;
            }
            Err(err) => return Err(err.into()),
        };
        match state.status {
            ExporterStatus::LeaseReady => {
                if let Some(warning) = state.message.strip_prefix("[HOOK_WARNING] ") {
                    output::warn(warning);
                }
                return Ok(Before::Ready);
            }
            ExporterStatus::BeforeLeaseHookFailed => return Err(Failure::new(state.message)),
            _ if started.elapsed() >= HOOK => {
                let seconds = HOOK.as_secs();
                return Err(Failure::new(format!("Timeout waiting for the beforeLease hook after {seconds} seconds")));
            }
            ExporterStatus::BeforeLeaseHook if !told => {
                tracing::info!("Waiting for beforeLease hook to complete...");
                told = true;
            }
            _ => {}
        }
        sleep(POLL).await;
    }
}

/// Has the afterLease hook run, and waits for it.
pub(super) async fn end_session(session: &Session) -> Result<(), Failure> {
    match session.status().await {
        Ok(state) if matches!(state.status, ExporterStatus::LeaseReady | ExporterStatus::AfterLeaseHook) => {}
        _ => return Ok(()),
    }
    tracing::info!("Running afterLease hook (Ctrl+C to skip)...");
    match session.end_session().await {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(error) => {
            tracing::warn!(%error, "end the session");
            return Ok(());
        }
    }
    let started = Instant::now();
    while started.elapsed() < HOOK {
        match session.status().await {
            Ok(state) if state.status == ExporterStatus::Available => {
                tracing::info!("afterLease hook completed");
                return Ok(());
            }
            Ok(state) if state.status == ExporterStatus::AfterLeaseHookFailed => {
                return Err(Failure::new(state.message));
            }
            Ok(_) => {}
            // The exporter has closed the session: that comes after the hook.
            Err(_) => return Ok(()),
        }
        sleep(POLL).await;
    }
    let seconds = HOOK.as_secs();
    Err(Failure::new(format!("Timeout waiting for the afterLease hook after {seconds} seconds")))
}

/// Shows the lines of hooks, and the others when asked for. A stream that breaks is opened again.
pub(super) async fn show_logs(session: Session, all: bool) {
    let (mut attempts, mut pause) = (0, LOG_FIRST);
    while attempts < LOG_ATTEMPTS {
        if let Ok(lines) = session.logs().await {
            let mut lines = std::pin::pin!(lines);
            while let Some(line) = lines.next().await {
                let Ok(line) = line else { break };
                (attempts, pause) = (0, LOG_FIRST);
                show(&line, all);
            }
        }
        attempts += 1;
        sleep(pause).await;
        pause = (pause * 2).min(LOG_CAP);
    }
}

fn show(line: &LogLine, all: bool) {
    let source = match line.source.as_str_name() {
        "LOG_SOURCE_BEFORE_LEASE_HOOK" => "beforeLease",
        "LOG_SOURCE_AFTER_LEASE_HOOK" => "afterLease",
        _ if !all => return,
        "LOG_SOURCE_DRIVER" => "driver",
        _ => "system",
    };
    let text = crate::j::harmless(&line.message);
    match line.severity.as_str() {
        "ERROR" | "CRITICAL" => tracing::error!("[exporter:{source}] {text}"),
        "WARNING" => tracing::warn!("[exporter:{source}] {text}"),
        "DEBUG" => tracing::debug!("[exporter:{source}] {text}"),
        _ => tracing::info!("[exporter:{source}] {text}"),
    }
}
