//! Leaving in good order.
use std::time::Duration;

use jumpstarter_protocol::v1::ExporterStatus;
use tokio::time::timeout;

use super::{
    release::{Release, release_once},
    reports::Report,
};
use crate::ControllerLink;

/// Limit for all of it.
const GOODBYE: Duration = Duration::from_secs(10);

/// Gives back what was not given back yet, reports OFFLINE and unregisters.
pub(super) async fn goodbye(link: &ControllerLink, release: Option<Release>, reason: &str) {
    let last = Report { status: ExporterStatus::Offline, message: reason.to_owned(), revision: String::new() };
    let bye = async {
        if let Some(Release { lease, done }) = release
            && !done.is_cancelled()
            && let Err(status) = release_once(link, &lease, &last).await
        {
            tracing::warn!(%lease, %status, "give the lease back");
        }
        if let Err(status) = link.report(last.status, reason, &last.revision).await {
            tracing::warn!(%status, "report OFFLINE");
        }
        link.unregister(reason).await
    };
    match timeout(GOODBYE, bye).await {
        Ok(Ok(())) => tracing::info!("exporter unregistered"),
        Ok(Err(status)) => tracing::warn!(%status, "unregister"),
        Err(_) => tracing::warn!("unregister: no answer from the controller; it will notice by silence"),
    }
}
