//! Keeps two leaders from correcting each other without end.
//!
//! A leader that does not know yet that it was replaced sees other exporters than its successor does, and so another
//! reason for a lease to wait. Each would put its own in place of the other's, hundreds of times a second.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jumpstarter_scheduler::Action;
use jumpstarter_store::{Key, Kind};
use tokio::time::Instant;

use super::Runtime;

/// Reasons of one lease that are written within [`SPAN`]; later ones wait until it is over.
const AT_ONCE: u32 = 3;
const SPAN: Duration = Duration::from_secs(1);

/// Who was told why it waits, lately.
#[derive(Default)]
pub(super) struct Quarrels {
    /// Since when, and how often.
    told: HashMap<Arc<str>, (Instant, u32)>,
    /// The same in the order of time, so that forgetting costs nothing that does not grow old.
    expiring: VecDeque<(Instant, Arc<str>)>,
    /// Leases that are to be looked at again.
    later: BTreeSet<(Instant, String)>,
}

impl Quarrels {
    /// Whether a reason may be written now; else when.
    fn admit(&mut self, lease: &str, now: Instant) -> Result<(), Instant> {
        while let Some((_, name)) = self.expiring.pop_front_if(|(since, _)| now >= *since + SPAN) {
            self.told.remove(&name);
        }
        if !self.told.contains_key(lease) {
            let name = Arc::<str>::from(lease);
            self.expiring.push_back((now, name.clone()));
            self.told.insert(name, (now, 0));
        }
        let Some((since, count)) = self.told.get_mut(lease) else { return Ok(()) };
        *count += 1;
        if *count > AT_ONCE { Err(*since + SPAN) } else { Ok(()) }
    }

    /// When there is something to look at.
    pub(super) fn next(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    fn due(&mut self, now: Instant) -> Option<String> {
        if self.next()? > now {
            return None;
        }
        self.later.pop_first().map(|(_, lease)| lease)
    }

    pub(super) fn entries(&self) -> usize {
        self.told.len() + self.later.len()
    }
}

impl Runtime {
    /// Whether an action is put off because it looks like a quarrel. The core then takes it for done, until it is told
    /// the truth when the time has come.
    pub(super) fn puts_off(&mut self, action: &Action) -> bool {
        let Action::Wait { lease, .. } = action else { return false };
        match self.quarrels.admit(lease, Instant::now()) {
            Ok(()) => false,
            Err(until) => {
                self.lab.settle(action);
                self.quarrels.later.insert((until, lease.clone()));
                true
            }
        }
    }

    /// Tells the core the truth about leases whose reasons were put off.
    pub(super) fn look_at_quarrels(&mut self) {
        let now = Instant::now();
        while let Some(lease) = self.quarrels.due(now) {
            let key = Key::new(Kind::Lease, &self.config.namespace, &lease);
            self.observe_again(&[key]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_that_disagree_about_a_reason_write_it_a_few_times_a_second() {
        let (mut quarrels, begin) = (Quarrels::default(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        for _ in 0..AT_ONCE {
            assert_eq!(quarrels.admit("l", at(0)), Ok(()));
        }
        assert_eq!(quarrels.admit("l", at(1)), Err(at(1000)));
        assert_eq!(quarrels.admit("l", at(999)), Err(at(1000)));
        assert_eq!(quarrels.admit("another", at(999)), Ok(()));
        assert_eq!(quarrels.admit("l", at(1000)), Ok(()));
        assert_eq!(quarrels.admit("l", at(3000)), Ok(()));
        assert_eq!(quarrels.entries(), 1);
    }
}
