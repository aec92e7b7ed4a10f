//! Waiting for a lease to hold an exporter.
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::{Client, ClientError, Lease, LeaseState};

/// Pauses between looks; the service holds repeated looks, so the short one costs little.
const FIRST: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);

impl Client {
    /// Waits until `lease` holds an exporter, for at most the configured acquisition timeout; see
    /// [`Client::wait_ready_within`].
    pub async fn wait_ready(&self, lease: &str, waiting: impl FnMut(&str) + Send) -> Result<Lease, ClientError> {
        self.wait_ready_within(lease, self.inner.acquisition_timeout, waiting).await
    }

    /// Waits until `lease` holds an exporter, for at most `limit`.
    ///
    /// The service holds back its answer to a repeated look until there is news, which makes each look a watch; one
    /// that answers at once is looked at every few seconds.
    ///
    /// `waiting` is told the reason each time it changes. Connection troubles are waited out.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is changed by looking.
    pub async fn wait_ready_within(
        &self,
        lease: &str,
        limit: Duration,
        mut waiting: impl FnMut(&str) + Send,
    ) -> Result<Lease, ClientError> {
        let started = Instant::now();
        let mut pause = FIRST;
        let mut reason = String::new();
        loop {
            let asked = Instant::now();
            let now = match self.get_lease(lease).await {
                Ok(found) => match found.state() {
                    LeaseState::Ready(_) => return Ok(found),
                    LeaseState::Over(problem) => {
                        return Err(ClientError::Lease { lease: lease.to_owned(), problem });
                    }
                    LeaseState::Waiting(text) => match &found.queue {
                        Some(queue) if queue.position > 0 => {
                            format!("{text} (position {} in the queue)", queue.position)
                        }
                        _ => text,
                    },
                },
                Err(err) if transient(&err) => err.to_string(),
                Err(err) => return Err(err),
            };
            if now != reason {
                waiting(&now);
                reason = now;
            }
            if started.elapsed() >= limit {
                return Err(ClientError::AcquisitionTimeout { lease: lease.to_owned(), after: limit, waiting: reason });
            }
            // An answer that was held back has done the waiting already.
            pause = if asked.elapsed() >= Duration::from_secs(1) { FIRST } else { (pause * 2).min(CAP) };
            sleep(pause.min(limit.saturating_sub(started.elapsed()))).await;
        }
    }
}

/// A failure of the way to the controller rather than an answer.
fn transient(err: &ClientError) -> bool {
    match err {
        ClientError::Controller { status, .. } => matches!(
            status.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Aborted
                | Code::ResourceExhausted
                | Code::Unknown
                | Code::Internal
        ),
        _ => false,
    }
}
