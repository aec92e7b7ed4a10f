//! Waiting for a lease to hold an exporter.
use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Streaming};

use crate::{Client, ClientError, Lease, LeaseState};

/// Pauses between looks, and between watches that broke; services hold repeated looks, so the short one costs little.
const FIRST: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);
/// A look that took longer was held back by the service, and has done the waiting already.
const HELD: Duration = Duration::from_secs(1);

impl Client {
    /// Waits until `lease` holds an exporter, for at most the configured acquisition timeout; see
    /// [`Client::wait_ready_within`].
    pub async fn wait_ready(&self, lease: &str, waiting: impl FnMut(&str) + Send) -> Result<Lease, ClientError> {
        self.wait_ready_within(lease, self.inner.acquisition_timeout, waiting).await
    }

    /// Waits until `lease` holds an exporter, for at most `limit`.
    ///
    /// The lease is watched. A service without watches is asked again and again; one that holds its answer back until
    /// there is news makes each of these looks a watch, too.
    ///
    /// `waiting` is told the reason each time it changes, the place in the queue included. Connection troubles are
    /// waited out.
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
        let mut looks = Looks::new(self, lease);
        let mut reason = String::new();
        loop {
            // At least one look, however short the limit.
            let left = limit.saturating_sub(started.elapsed()).max(FIRST);
            let late =
                || ClientError::AcquisitionTimeout { lease: lease.to_owned(), after: limit, waiting: String::new() };
            let now = match timeout(left, looks.next()).await.unwrap_or_else(|_| Err(late())) {
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
                Err(ClientError::AcquisitionTimeout { lease, after, .. }) => {
                    return Err(ClientError::AcquisitionTimeout { lease, after, waiting: reason });
                }
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
        }
    }
}

/// News of a lease, from a watch where the service has one.
struct Looks<'a> {
    client: &'a Client,
    lease: &'a str,
    watch: Option<Streaming<jumpstarter_protocol::client::v1::Lease>>,
    /// Before the next look, or the next watch.
    pause: Option<Duration>,
}

impl<'a> Looks<'a> {
    fn new(client: &'a Client, lease: &'a str) -> Self {
        Self { client, lease, watch: None, pause: None }
    }

    /// The lease, at once for the first time and then when there may be news.
    ///
    /// # Cancel safety
    /// Cancel safe: the next call goes on.
    async fn next(&mut self) -> Result<Lease, ClientError> {
        loop {
            if self.client.inner.no_watch.load(Ordering::Relaxed) {
                return self.poll().await;
            }
            let watch = match &mut self.watch {
                Some(watch) => watch,
                none => {
                    if let Some(pause) = self.pause {
                        sleep(pause).await;
                    }
                    self.pause = Some(longer(self.pause));
                    match self.client.watch(self.lease).await {
                        Ok(watch) => none.insert(watch),
                        Err(err) if code(&err) == Some(Code::Unimplemented) => {
                            self.client.inner.no_watch.store(true, Ordering::Relaxed);
                            self.pause = None;
                            continue;
                        }
                        // Too many watch already: this one looks, and tries again later.
                        Err(err) if code(&err) == Some(Code::ResourceExhausted) => {
                            self.pause = Some(jittered(CAP));
                            return self.client.get_lease(self.lease).await;
                        }
                        Err(err) => return Err(err),
                    }
                }
            };
            match watch.message().await {
                Ok(Some(found)) => {
                    self.pause = Some(jittered(FIRST));
                    return crate::client::lease(found);
                }
                // It ended although the lease has not, as when a service stops.
                Ok(None) => self.watch = None,
                Err(status) => {
                    self.watch = None;
                    let refused = crate::client::refused(&format!("watch lease {}", self.lease), status);
                    if code(&refused) == Some(Code::Unimplemented) {
                        self.client.inner.no_watch.store(true, Ordering::Relaxed);
                        self.pause = None;
                        continue;
                    }
                    return Err(refused);
                }
            }
        }
    }

    /// One look at a service without watches.
    async fn poll(&mut self) -> Result<Lease, ClientError> {
        if let Some(pause) = self.pause {
            sleep(pause).await;
        }
        let asked = Instant::now();
        let found = self.client.get_lease(self.lease).await;
        self.pause = Some(if asked.elapsed() >= HELD { FIRST } else { longer(self.pause) });
        found
    }
}

fn longer(pause: Option<Duration>) -> Duration {
    pause.map_or(FIRST, |pause| jittered((pause * 2).min(CAP)))
}

/// Something between half of it and all of it: clients that lost the same service shall not come back all at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

fn code(err: &ClientError) -> Option<Code> {
    match err {
        ClientError::Controller { status, .. } => Some(status.code()),
        _ => None,
    }
}

/// A failure of the way to the controller rather than an answer.
fn transient(err: &ClientError) -> bool {
    matches!(
        code(err),
        Some(
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Aborted
                | Code::ResourceExhausted
                | Code::Unknown
                | Code::Internal
        )
    )
}
