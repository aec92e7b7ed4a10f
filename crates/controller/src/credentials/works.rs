//! Objects that are being brought in order, side by side.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::SignedDuration;
use jumpstarter_model::Timestamp;
use jumpstarter_store::Key;
use tracing::{info, warn};

use super::{CredentialError, state::State};

/// Objects at once. A few dozen small requests are what an API server takes beside those of the lab's leases.
const AT_ONCE: usize = 32;
/// Failures in a row after which the store is taken to be in trouble, and not the objects.
const FAILURES: u32 = 3;
/// Wait before an object is tried again whose write failed while others succeeded.
const RETRY: Duration = Duration::from_secs(1);

/// A work that has ended.
pub(super) struct Done {
    key: Key,
    renew: bool,
    outcome: Result<(), CredentialError>,
}

/// Works under way, one for each object at most. Dropping it gives them up.
pub(super) struct Works<'a> {
    running: FuturesUnordered<BoxFuture<'a, Done>>,
    busy: HashSet<Key>,
    /// Objects to which something has happened meanwhile.
    again: BTreeSet<Key>,
    /// Failures since the last success.
    failures: u32,
}

impl<'a> Works<'a> {
    pub(super) fn new() -> Self {
        Self { running: FuturesUnordered::new(), busy: HashSet::new(), again: BTreeSet::new(), failures: 0 }
    }

    pub(super) fn has_room(&self) -> bool {
        self.running.len() < AT_ONCE
    }

    /// The object back, if a work on it may begin; else it is looked at again when the one that is under way has ended.
    pub(super) fn admit(&mut self, key: Key) -> Option<Key> {
        if self.busy.contains(&key) {
            self.again.insert(key);
            return None;
        }
        Some(key)
    }

    /// Begins a work on an object.
    pub(super) fn begin(
        &mut self,
        key: Key,
        renew: bool,
        work: impl Future<Output = Result<(), CredentialError>> + Send + 'a,
    ) {
        self.busy.insert(key.clone());
        self.running.push(work.map(move |outcome| Done { key, renew, outcome }).boxed());
    }

    /// The next that has ended; `None` when nothing is under way.
    ///
    /// # Cancel safety
    /// Cancel safe: what has ended is kept until it is taken.
    pub(super) async fn next(&mut self) -> Option<Done> {
        self.running.next().await
    }

    /// Takes note of how a work has ended.
    ///
    /// # Errors
    /// When the same would happen to every object.
    pub(super) fn settle(&mut self, state: &mut State, done: Done, now: Timestamp) -> Result<(), CredentialError> {
        let Done { key, renew, outcome } = done;
        self.busy.remove(&key);
        if self.again.remove(&key) {
            state.look_at_first(key.clone());
        }
        if renew && outcome.is_err() {
            state.renew_later(&key);
        } else if renew && state.renewals() == 0 {
            info!("every token that is kept is signed by the current key");
        }
        match outcome {
            Ok(()) => self.failures = 0,
            Err(CredentialError::Store(error)) if self.failures + 1 < FAILURES => {
                self.failures += 1;
                warn!(object = %key, %error, "bring a credential in order, trying again in a moment");
                let later = now + SignedDuration::try_from(RETRY).unwrap_or_default();
                state.wake_at(&key, Some(later));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
