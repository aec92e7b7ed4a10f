//! Carries out what the core decided.

use std::{sync::Arc, time::Duration};

use jumpstarter_model::{Exporter, Lease};
use jumpstarter_scheduler::{
    Action, EndCause,
    transition::{self, Transition},
};
use jumpstarter_store::{Key, Kind, Write};
use tokio::time::Instant;
use tracing::warn;

use super::{
    PARKED, Runtime, draft,
    jobs::{self, Job, Work},
};

/// How long what was read of a lease is believed, when it says that an exporter is claimed for it in vain.
const LOOKED_UP: Duration = Duration::from_secs(5);

impl Runtime {
    /// Asks the core what follows from all that it knows, and begins to write it.
    pub(super) fn decide(&mut self) {
        if self.rest_until.is_some() || self.flights.parked() >= PARKED {
            return;
        }
        let decisions = self.lab.decide(self.config.clock.now());
        self.wake_at = decisions.wake_at;
        for action in decisions.actions {
            if !self.puts_off(&action) {
                self.submit_action(action);
            }
        }
    }

    pub(super) fn submit_action(&mut self, action: Action) {
        let keys = self.keys_of(&action);
        self.submit(Work::Action(action), keys);
    }

    /// Begins a work, or lets it wait for its objects.
    pub(super) fn submit(&mut self, work: Work, keys: Vec<Key>) {
        if self.flights.admit(&keys) {
            self.launch(work, keys);
        } else {
            self.flights.park(work, keys);
        }
    }

    /// Begins whatever waited for objects that are free now.
    pub(super) fn launch_parked(&mut self) {
        while let Some((work, keys)) = self.flights.unpark() {
            self.launch(work, keys);
        }
    }

    fn launch(&mut self, work: Work, keys: Vec<Key>) {
        match work {
            Work::Command(envelope) => self.launch_command(envelope, keys),
            Work::Action(action) => self.launch_action(action, keys),
            Work::Remove { lease, uid } => self.launch_removal(lease, uid, keys),
            Work::Judge { window } => self.launch_judgement(window, keys),
        }
    }

    fn launch_action(&mut self, action: Action, keys: Vec<Key>) {
        let (action, created) = self.with_successor(action);
        let lease = action.lease().and_then(|name| self.world.lease(name));
        if let Some(name) = action.lease()
            && is_doubtful(&action, lease.as_deref())
            && !self.was_looked_up(name)
        {
            // Another leader may have done what explains it, and news of that is on its way.
            let before = self.exporters_of(&keys);
            self.flights.begin(&keys);
            return self.read_again(Job { before, ..Job::new(Work::Action(action), keys) }, Duration::ZERO);
        }
        let name = action.exporter().or_else(|| lease.as_ref()?.assigned_exporter());
        let exporter = name.and_then(|name| self.world.exporter(name));
        let writes = transition::apply(&action, lease.as_deref(), exporter.as_deref(), self.config.clock.now())
            .map(|transition| Transition { successor: transition.successor.filter(|_| !created), ..transition })
            .map(draft::writes_of)
            .filter(|writes| !writes.is_empty());
        let Some(writes) = writes else {
            // The objects moved on; what is true now is observed again.
            self.lab.settle(&action);
            return self.observe_again(&keys);
        };
        let before = self.exporters_of(&keys);
        self.begin(Job { before, ..Job::new(Work::Action(action), keys) }, writes);
    }

    /// Begins to write; nobody else writes these objects until it has ended.
    pub(super) fn begin(&mut self, job: Job, writes: Vec<Write>) {
        self.flights.begin(&job.keys);
        self.jobs.push(jobs::write(Arc::clone(&self.store), job, writes));
    }

    /// Notes that a lease was read.
    pub(super) fn note_looked_up(&mut self, lease: &str) {
        let now = Instant::now();
        self.looked_up.retain(|_, at| now < *at + LOOKED_UP);
        self.looked_up.insert(lease.to_owned(), now);
    }

    /// Whether a lease was read for this decision; the next one asks again.
    fn was_looked_up(&mut self, lease: &str) -> bool {
        self.looked_up.remove(lease).is_some_and(|at| Instant::now() < at + LOOKED_UP)
    }

    /// A lease that is to wait in another's stead may have been created already, before a crash, or not be that lease: then
    /// there is none.
    fn with_successor(&self, action: Action) -> (Action, bool) {
        let Some(found) = action.successor().and_then(|name| self.world.lease(name)) else { return (action, false) };
        match action {
            Action::Preempt { lease, exporter, successor } if !transition::is_successor(&found, &lease) => {
                warn!(%lease, ?successor, "the name of the lease in the stead of a preempted one is taken");
                (Action::Preempt { lease, exporter, successor: None }, false)
            }
            action => (action, true),
        }
    }

    /// The objects that an action may write or rests on.
    pub(super) fn keys_of(&self, action: &Action) -> Vec<Key> {
        let namespace = &self.config.namespace;
        let mut keys = Vec::with_capacity(3);
        keys.extend(action.lease().map(|lease| Key::new(Kind::Lease, namespace, lease)));
        if let Some(exporter) = action.exporter() {
            keys.push(Key::new(Kind::Exporter, namespace, exporter));
        } else if let Some(lease) = action.lease().and_then(|name| self.world.lease(name))
            && let Some(exporter) = lease.assigned_exporter()
        {
            keys.push(Key::new(Kind::Exporter, namespace, exporter));
        }
        let successor = action.successor().filter(|successor| action.lease() != Some(*successor));
        keys.extend(successor.map(|successor| Key::new(Kind::Lease, namespace, successor)));
        keys
    }

    pub(super) fn exporters_of(&self, keys: &[Key]) -> Vec<Arc<Exporter>> {
        let exporters = keys.iter().filter(|key| key.kind == Kind::Exporter);
        exporters.filter_map(|key| self.world.exporter(&key.name)).collect()
    }
}

/// Whether an action takes something away from a lease that has not ended and that nobody asks to end: two objects say
/// that do not agree, as far as is known here.
pub(super) fn is_doubtful(action: &Action, lease: Option<&Lease>) -> bool {
    match action {
        Action::Unclaim { .. } => lease.is_none_or(|lease| !lease.is_ended()),
        Action::End { cause: EndCause::Released, .. } => lease.is_some_and(|lease| lease.spec.release != Some(true)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_disagreement_takes_away_from_a_lease_is_looked_up_first() {
        let unclaim = Action::Unclaim { exporter: "e".to_owned(), lease: "l".to_owned() };
        let end = |cause| Action::End {
            lease: "l".to_owned(),
            exporter: Some("e".to_owned()),
            cause,
            message: String::new(),
        };
        let (live, mut released, mut ended) = (Lease::default(), Lease::default(), Lease::default());
        released.spec.release = Some(true);
        ended.status.get_or_insert_default().ended = true;
        // Another leader has just claimed the exporter for a lease of which nothing is known here.
        assert!(is_doubtful(&unclaim, None));
        assert!(is_doubtful(&unclaim, Some(&live)));
        assert!(!is_doubtful(&unclaim, Some(&ended)));
        // It has ended the lease that seems to hold the exporter, and given that to the next.
        assert!(is_doubtful(&end(EndCause::Released), Some(&live)));
        assert!(!is_doubtful(&end(EndCause::Released), Some(&released)));
        assert!(!is_doubtful(&end(EndCause::Expired), Some(&live)));
    }
}
