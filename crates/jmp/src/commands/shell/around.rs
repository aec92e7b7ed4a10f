//! What goes on around the program: hooks before and after, log lines, the end of the lease.
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use jumpstarter_client::{Client, ExporterStatus, Lease, Session};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::{failure::Failure, output};

/// Time for a hook to end.
const HOOK: Duration = Duration::from_mins(5);
/// Looks at the lease while the program runs.
const MONITOR: Duration = Duration::from_secs(30);
/// Looks at the exporter while waiting for a hook.
const POLL: Duration = Duration::from_millis(300);

/// Waits until the beforeLease hook is through.
pub(super) async fn wait_for_exporter(session: &Session) -> Result<(), Failure> {
    let started = Instant::now();
    let mut told = false;
    loop {
        let state = match session.status().await {
            Ok(state) => state,
            Err(_) if started.elapsed() < HOOK => {
                sleep(POLL).await;
                continue;
            }
            Err(err) => return Err(err.into()),
        };
        match state.status {
            ExporterStatus::LeaseReady => {
                if let Some(warning) = state.message.strip_prefix("[HOOK_WARNING] ") {
                    output::complain(&format!("Warning: {warning}"));
                }
                return Ok(());
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

/// Shows the lines of hooks, and the others when asked for.
pub(super) async fn show_logs(session: Session, all: bool) {
    let Ok(lines) = session.logs().await else { return };
    let mut lines = std::pin::pin!(lines);
    while let Some(Ok(line)) = lines.next().await {
        let hook = line.source.as_str_name().ends_with("HOOK");
        if hook || all {
            tracing::info!("[exporter {}] {}", line.severity, line.message);
        }
    }
}

/// Looks at the lease now and then; at its end the program is told by SIGHUP. Never returns.
pub(super) async fn hang_up_at_end(client: &Client, granted: &Lease, child: Option<u32>) {
    let planned = |lease: &Lease| {
        let begin = lease.effective_begin_time?;
        let duration = lease.duration?;
        Some(begin + jiff::SignedDuration::try_from(duration).ok()?)
    };
    let mut end = planned(granted);
    loop {
        let left = end.and_then(|end| Duration::try_from(end.duration_since(Timestamp::now())).ok());
        sleep(left.map_or(MONITOR, |left| (left + Duration::from_millis(500)).min(MONITOR))).await;
        let over = match client.get_lease(&granted.name).await {
            Ok(lease) => {
                end = planned(&lease).or(end);
                lease.effective_end_time.is_some()
            }
            // Without an answer, the last known end counts.
            Err(_) => end.is_some_and(|end| end <= Timestamp::now()),
        };
        if over {
            break;
        }
    }
    tracing::info!("Lease {} ended at {}", granted.name, Timestamp::now());
    if let Some(pid) = child.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // The program may have ended by itself meanwhile.
        let _ = kill_process(pid, Signal::HUP);
    }
    std::future::pending::<()>().await;
}
