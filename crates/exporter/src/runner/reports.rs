//! Status reports to the controller: the newest one, until it has been taken in.
use jumpstarter_protocol::v1::ExporterStatus;
use tokio::{sync::watch, time::sleep};

use super::register::refused;
use crate::{ControllerLink, backoff::Backoff};

/// What the controller is to know.
#[derive(Clone)]
pub(super) struct Report {
    pub(super) status: ExporterStatus,
    pub(super) message: String,
    /// The last message of the Status stream that was known when this came to be.
    pub(super) revision: String,
}

/// Sends the newest report, again and again until the controller took it. Older ones may be skipped.
pub(super) async fn send_reports(
    link: ControllerLink,
    mut latest: watch::Receiver<Report>,
    reported: watch::Sender<Option<ExporterStatus>>,
) {
    let mut backoff = Backoff::default();
    latest.mark_changed();
    while latest.changed().await.is_ok() {
        loop {
            let Report { status, message, revision } = latest.borrow_and_update().clone();
            match link.report(status, &message, &revision).await {
                Ok(()) => {
                    backoff.reset();
                    tracing::debug!(?status, message, "status reported");
                    reported.send_replace(Some(status));
                    break;
                }
                Err(err) if refused(&err) => {
                    tracing::warn!(%err, ?status, "the controller refuses a status report");
                    break;
                }
                Err(err) => {
                    let pause = backoff.next();
                    tracing::debug!(%err, ?status, ?pause, "report status; trying again");
                    sleep(pause).await;
                }
            }
        }
    }
}
