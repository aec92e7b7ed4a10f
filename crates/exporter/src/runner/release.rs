//! Giving a lease back, until the controller has it.
use jumpstarter_protocol::v1::ExporterStatus;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{register::refused, reports::Report};
use crate::{ControllerLink, backoff::Backoff};

/// A lease on its way back.
pub(super) struct Release {
    pub(super) lease: String,
    /// Nothing more is to be done: the controller has it, or says that it is over.
    pub(super) done: CancellationToken,
}

impl Release {
    pub(super) fn new(lease: String) -> Self {
        Self { lease, done: CancellationToken::new() }
    }
}

/// Asks until the controller agrees, refuses for good, or `done` fires.
pub(super) async fn give_back(link: ControllerLink, lease: String, report: Report, done: CancellationToken) {
    let mut backoff = Backoff::default();
    loop {
        let outcome = tokio::select! {
            // A second request for the same lease does no harm.
            () = done.cancelled() => return,
            outcome = release_once(&link, &lease, &report) => outcome,
        };
        match outcome {
            Ok(()) => tracing::info!(%lease, "lease given back"),
            Err(status) if refused(&status) => {
                tracing::warn!(%lease, %status, "the controller does not take a lease back");
            }
            Err(status) => {
                let pause = backoff.next();
                tracing::warn!(%lease, %status, ?pause, "give the lease back; trying again");
                tokio::select! {
                    () = done.cancelled() => return,
                    () = sleep(pause) => continue,
                }
            }
        }
        return done.cancel();
    }
}

/// One attempt.
pub(super) async fn release_once(link: &ControllerLink, lease: &str, report: &Report) -> Result<(), tonic::Status> {
    let Report { status, message, revision: _ } = report;
    // The old way to release goes with a status; this one must not make the exporter look free.
    let status = if *status == ExporterStatus::Available { ExporterStatus::AfterLeaseHook } else { *status };
    link.release(lease, status, message).await
}
