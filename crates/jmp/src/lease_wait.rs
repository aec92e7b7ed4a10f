//! Waiting for a lease, with something to look at, and giving it back.
use std::time::Duration;

use jumpstarter_client::{Client, Lease};
use tokio::time::{Instant, timeout};

use crate::{
    failure::Failure,
    terminal::{Spinner, elapsed},
};

/// Time for giving the lease back.
const RELEASE: Duration = Duration::from_secs(30);

/// Waits until the lease holds an exporter, for at most `limit`.
///
/// # Cancel safety
/// Cancel safe: nothing is changed by looking.
pub(crate) async fn granted(client: &Client, lease: &str, limit: Duration) -> Result<Lease, Failure> {
    let started = Instant::now();
    let spinner = Spinner::start(&format!("Acquiring lease {lease}"));
    let granted =
        client.wait_ready_within(lease, limit, |reason| spinner.tell(&format!("Waiting for lease: {reason}"))).await;
    drop(spinner);
    let granted = granted?;
    tracing::info!("Lease {lease} acquired successfully! ({})", elapsed(started.elapsed()));
    Ok(granted)
}

/// Gives the lease back; that it may have ended already is no concern.
pub(crate) async fn release(client: &Client, lease: &str) {
    tracing::info!("Releasing Lease {lease}");
    match timeout(RELEASE, client.delete_lease(lease)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "release the lease"),
        Err(_) => tracing::warn!(
            "lease {lease} could not be released within {} s; it ends by itself, or with `jmp delete leases {lease}`",
            RELEASE.as_secs()
        ),
    }
}
