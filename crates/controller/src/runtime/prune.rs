//! Tidies up: ended leases go after their time, a few a second.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jumpstarter_store::{Key, Kind, Precondition, Write};
use tokio::time::Instant;

use super::{
    Runtime,
    jobs::{self, Job, Work},
};

/// How often ended leases are looked through, or as often as they are kept when that is shorter.
const EVERY: Duration = Duration::from_mins(1);
const EVERY_AT_MOST: Duration = Duration::from_secs(1);
/// Leases found in one look; the rest is found in the next.
const AT_ONCE: usize = 4096;
/// Leases removed in one step, and the time between steps: at most 20 requests a second, however many are due.
const STEP: usize = 5;
const STEP_EVERY: Duration = Duration::from_millis(250);

/// When to tidy up next, and what.
pub(super) struct Prune {
    next: Instant,
    /// Name and `uid` of leases to remove.
    due: VecDeque<(String, String)>,
}

impl Prune {
    pub(super) fn new() -> Self {
        Self { next: Instant::now(), due: VecDeque::new() }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

impl Runtime {
    /// One step of tidying up.
    pub(super) fn tidy(&mut self) {
        let now = Instant::now();
        if self.prune.due.is_empty() {
            self.prune.due = self.leases_to_remove();
            self.rendezvous.sweep();
            self.world.lease_topics.sweep();
            self.world.exporter_topics.sweep();
            self.retry_aside();
        }
        for _ in 0..STEP {
            let Some((lease, uid)) = self.prune.due.pop_front() else { break };
            let key = Key::new(Kind::Lease, &self.config.namespace, &lease);
            self.submit(Work::Remove { lease, uid }, vec![key]);
        }
        let pause = self.config.lease_retention.clamp(EVERY_AT_MOST, EVERY);
        self.prune.next = now + if self.prune.due.is_empty() { pause } else { STEP_EVERY };
    }

    fn leases_to_remove(&self) -> VecDeque<(String, String)> {
        let now = self.config.clock.now();
        let Ok(keep) = jiff::SignedDuration::try_from(self.config.lease_retention) else {
            return VecDeque::new();
        };
        let objects = self.world.read();
        let ended = objects.leases.iter().filter(|(name, _)| !objects.active_leases.contains(*name));
        let old = ended.filter(|(_, lease)| {
            let end = lease.status.as_ref().and_then(|status| status.end_time.as_ref());
            end.is_some_and(|end| now.duration_since(end.0) > keep)
        });
        old.map(|(name, lease)| (name.clone(), lease.metadata.uid.clone().unwrap_or_default())).take(AT_ONCE).collect()
    }

    pub(super) fn launch_removal(&mut self, lease: String, uid: String, keys: Vec<Key>) {
        let Some(key) = keys.first().cloned() else { return };
        self.flights.begin(&keys);
        let condition = Precondition { uid: Some(uid.clone()).filter(|uid| !uid.is_empty()), resource_version: None };
        let job = Job {
            work: Work::Remove { lease, uid },
            follow: None,
            assumed: None,
            keys,
            before: Vec::new(),
            misses: 0,
            known: Vec::new(),
        };
        self.jobs.push(jobs::write(Arc::clone(&self.store), job, vec![Write::Delete(key, Some(condition))]));
    }
}
