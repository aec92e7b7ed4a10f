//! Tidies up: ended leases go after their time, a few a second.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jumpstarter_model::{Lease, Timestamp};
use jumpstarter_store::{Key, Kind, Precondition, Write};
use tokio::time::Instant;

use super::{
    Runtime,
    jobs::{Job, Work},
};

/// How often ended leases are looked through, or as often as they are kept when that is shorter.
const EVERY: Duration = Duration::from_mins(1);
const EVERY_AT_MOST: Duration = Duration::from_secs(1);
/// Leases found in one look; the rest is found in the next.
const AT_ONCE: usize = 4096;
/// Ended leases that are kept longer since quotas and shares count them still: the latest ones.
const COUNTED: usize = 20_000;
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

/// All but the latest `most`.
fn beyond<T>(mut ended: Vec<(Timestamp, &String, T)>, most: usize) -> Vec<(Timestamp, &String, T)> {
    if ended.len() > most {
        ended.sort_unstable_by_key(|(end, name, _)| (std::cmp::Reverse(*end), *name));
        return ended.split_off(most);
    }
    Vec::new()
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
        let old = ended.filter_map(|(name, lease)| {
            let end = lease.status.as_ref()?.end_time.as_ref()?.0;
            (now.duration_since(end) > keep).then_some((end, name, lease))
        });
        let removed = |(_, name, lease): (Timestamp, &String, &Arc<Lease>)| {
            (name.clone(), lease.metadata.uid.clone().unwrap_or_default())
        };
        let counts = self.lab.counts_ended_for();
        if counts <= keep {
            return old.map(removed).take(AT_ONCE).collect();
        }
        let (mut due, mut counted) = (Vec::new(), Vec::new());
        for (end, name, lease) in old {
            let lists = if now.duration_since(end) > counts { &mut due } else { &mut counted };
            lists.push((end, name, lease));
        }
        // Those that never had an exporter count nowhere.
        let (counted, mut idle): (Vec<_>, Vec<_>) =
            counted.into_iter().partition(|(.., lease)| lease.assigned_exporter().is_some());
        due.append(&mut idle);
        due.extend(beyond(counted, COUNTED));
        due.into_iter().map(removed).take(AT_ONCE).collect()
    }

    pub(super) fn launch_removal(&mut self, lease: String, uid: String, keys: Vec<Key>) {
        let Some(key) = keys.first().cloned() else { return };
        let condition = Precondition { uid: Some(uid.clone()).filter(|uid| !uid.is_empty()), resource_version: None };
        self.begin(Job::new(Work::Remove { lease, uid }, keys), vec![Write::Delete(key, Some(condition))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let at = |secs| Timestamp::from_second(secs).unwrap();
        let ended = || names.iter().zip([3, 1, 4, 1]).map(|(name, secs)| (at(secs), name, ())).collect::<Vec<_>>();
        let beyond = |most| beyond(ended(), most).into_iter().map(|(_, name, ())| name.as_str()).collect::<Vec<_>>();
        assert_eq!(beyond(4), [""; 0]);
        assert_eq!(beyond(2), ["b", "d"]);
        assert_eq!(beyond(0), ["c", "a", "b", "d"]);
    }
}
