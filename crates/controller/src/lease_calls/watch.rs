//! Watching a lease: what a client is told while it waits, and until the lease has ended.
//!
//! A change of the lease itself is told at once. Its place in the queue changes with other leases: any change of any
//! lease may mean another place, so a waiting lease is looked at again after a pause, which grows with the number of
//! those who watch. However busy the lab and however many watch, the runtime is asked no more than [`LOOKS`] times a
//! second.

use std::{pin::Pin, time::Duration};

use futures::{Stream, stream};
use jumpstarter_protocol::client::v1 as client;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tonic::{Code, Status};

use super::{LeaseCalls, is_decided};
use crate::{status, world::Subscription};

/// Watches at a time; beyond it clients are asked to poll, which costs them some seconds.
pub(crate) const MAX_WATCHERS: usize = 10_000;
/// Looks at the queue a second, all watches together.
const LOOKS: u32 = 100;
/// Shortest pause between two looks at the queue for one watch.
const PAUSE: Duration = Duration::from_millis(500);

/// The answers of one watch.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Result<client::Lease, Status>> + Send>>;

impl LeaseCalls {
    /// Tells of the lease now and at each change, until it has ended.
    pub(crate) fn watch(&self, name: &str) -> Result<WatchStream, Status> {
        if self.stop.is_cancelled() {
            return Err(status::stopping());
        }
        let full = |_| {
            let text = format!("{MAX_WATCHERS} watches are open and no more are taken: read the lease now and then");
            status::status(Code::ResourceExhausted, text)
        };
        let place = std::sync::Arc::clone(&self.watchers).try_acquire_owned().map_err(full)?;
        let watch = Watch {
            changes: self.world.lease_topics.subscribe(name),
            others: self.world.lease_topics.subscribe_to_all(),
            calls: self.clone(),
            name: name.to_owned(),
            told: None,
            looked: Instant::now(),
            _place: place,
        };
        // Refused at once rather than in the stream.
        if self.world.lease(name).is_none() {
            return Err(status::not_found("lease", name));
        }
        Ok(Box::pin(stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(lease)) => Some((Ok(lease), Some(watch))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })))
    }

    /// Pause between two looks at the queue for one of those who watch now.
    fn pause(&self) -> Duration {
        let watching = MAX_WATCHERS.saturating_sub(self.watchers.available_permits());
        let share = Duration::from_secs(1) / LOOKS * u32::try_from(watching).unwrap_or(u32::MAX);
        share.max(PAUSE)
    }
}

/// One client that watches one lease.
struct Watch {
    calls: LeaseCalls,
    name: String,
    changes: Subscription,
    others: Subscription,
    /// What the client was told last.
    told: Option<client::Lease>,
    /// When the queue was looked at last.
    looked: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// The next news; nothing more once the end of the lease was told.
    async fn next(&mut self) -> Result<Option<client::Lease>, Status> {
        if self.told.as_ref().is_some_and(|told| told.effective_end_time.is_some()) {
            return Ok(None);
        }
        loop {
            self.changes.mark_unchanged();
            self.others.mark_unchanged();
            let Some(lease) = self.calls.world.lease(&self.name) else {
                return Err(status::not_found("lease", &self.name));
            };
            let shown = self.calls.show(&lease).await;
            self.looked = Instant::now();
            if self.told.as_ref().is_none_or(|told| differs(told, &shown)) {
                self.told = Some(shown.clone());
                return Ok(Some(shown));
            }
            let waits = !is_decided(&lease) && lease.assigned_exporter().is_none();
            tokio::select! {
                // All are cancel safe; what is true is read anew after each.
                biased;
                () = self.calls.stop.cancelled() => return Err(status::stopping()),
                () = self.changes.changed() => {}
                () = elsewhere(&mut self.others, self.looked + self.calls.pause()), if waits => {}
            }
        }
    }
}

/// Waits for a change of any lease, and then until `not_before`.
async fn elsewhere(others: &mut Subscription, not_before: Instant) {
    others.changed().await;
    tokio::time::sleep_until(not_before).await;
}

/// Whether there is anything new but the time that has passed.
fn differs(told: &client::Lease, now: &client::Lease) -> bool {
    let timeless = |lease: &client::Lease| client::Lease { effective_duration: None, ..lease.clone() };
    timeless(told) != timeless(now)
}
