//! What random stories of a lab have in common: time that passes, cores that are rebuilt, writes that fail.

use jumpstarter_model::{ExporterPhase, Lease};
use jumpstarter_scheduler::{Action, Lab, transition::Transition};

use super::{World, at};

/// What exporters report, the usual more often.
pub(crate) const PHASES: [ExporterPhase; 8] = [
    ExporterPhase::Unspecified,
    ExporterPhase::Offline,
    ExporterPhase::Available,
    ExporterPhase::Available,
    ExporterPhase::BeforeLeaseHook,
    ExporterPhase::LeaseReady,
    ExporterPhase::AfterLeaseHook,
    ExporterPhase::BeforeLeaseHookFailed,
];

impl World {
    /// Seconds into the test.
    pub(crate) fn secs(&self) -> i64 {
        self.now.as_second() - at(0).as_second()
    }

    /// One of the leases that have not ended, if there are any.
    pub(crate) fn pick(&self, index: usize) -> Option<String> {
        let live = self.leases.iter().filter(|(_, lease)| !lease.is_ended()).collect::<Vec<_>>();
        (!live.is_empty()).then(|| live[index % live.len()].0.clone())
    }

    /// A new core over the same objects.
    pub(crate) fn rebuilt(&self) -> Lab {
        let mut lab = Lab::new(self.config.clone());
        self.tell_all(&mut lab);
        lab
    }

    /// What the core decides; a core that knows nothing but the objects decides the same.
    pub(crate) fn decide_as_rebuilt(&mut self) -> Vec<Action> {
        let sorted = |actions: &[Action]| {
            let mut texts = actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>();
            texts.sort();
            texts
        };
        let mut new = self.rebuilt();
        let fresh = new.decide(self.now);
        let actions = self.decide();
        assert_eq!(self.lab.kept_back(), new.kept_back(), "kept back, and kept back by a new core");
        assert_eq!(sorted(&actions), sorted(&fresh.actions), "decided, and decided by a new core");
        assert_eq!(self.wake_at, fresh.wake_at, "woken, and woken by a new core");
        actions
    }

    /// Lets time pass after all is settled. Before the instant that the core asked to be woken at, nothing happens.
    pub(crate) fn pass(&mut self, secs: i64) {
        let then = self.secs() + secs;
        if let Some(wake_at) = self.wake_at
            && wake_at > at(self.secs() + 1)
        {
            let before = wake_at.as_second() - at(0).as_second() - 1;
            self.now = at(before.min(then));
            assert_eq!(self.decide(), [], "woken too late");
            assert_eq!(self.rebuilt().decide(self.now).actions, [], "woken too late");
        }
        self.now = at(then);
    }

    /// The process dies after so many of the writes that it decided on, then starts again. `watch` sees each action
    /// before it is written.
    pub(crate) fn crash(&mut self, writes: usize, mut watch: impl FnMut(&Self, &Action)) {
        let actions = self.decide_as_rebuilt();
        let mut left = writes;
        'crashed: for action in &actions {
            let Some(transition) = self.transition(action) else { continue };
            for half in halves(transition) {
                if left == 0 {
                    break 'crashed;
                }
                left -= 1;
                watch(self, action);
                self.write(action, half);
            }
        }
        self.restart();
    }

    /// One decided write fails and the true objects are observed again; the others succeed. `watch` sees each of these
    /// before it is written.
    pub(crate) fn conflict(&mut self, failing: usize, mut watch: impl FnMut(&Self, &Action)) {
        let actions = self.decide_as_rebuilt();
        for (index, action) in actions.iter().enumerate() {
            if index == failing {
                self.settled(action);
            } else if let Some(transition) = self.transition(action) {
                watch(self, action);
                self.write(action, transition);
                self.settled(action);
            } else {
                // Follows from the one that failed.
                return self.restart();
            }
        }
    }

    /// When everything is written, who holds an exporter is who claims it.
    pub(crate) fn check_holders(&self) {
        for (name, exporter) in &self.exporters {
            let live = self.leases.iter().filter(|(_, lease)| !lease.is_ended());
            let holders = live.filter(|(_, lease)| lease.assigned_exporter() == Some(name));
            let holders = holders.map(|(lease, _)| lease.clone()).collect::<Vec<_>>();
            let claim = exporter.status.as_ref().and_then(|status| status.lease_ref.clone());
            assert_eq!(holders, claim.map(|claim| claim.name).into_iter().collect::<Vec<_>>(), "holders of {name}");
        }
    }

    /// The leases that hold exporters.
    pub(crate) fn holders(&self) -> Vec<String> {
        let live = self.leases.iter().filter(|(_, lease)| !lease.is_ended());
        live.filter(|(_, lease)| lease.assigned_exporter().is_some()).map(|(name, _)| name.clone()).collect()
    }
}

/// The single writes of a transition, in their order.
pub(crate) fn halves(transition: Transition) -> Vec<Transition> {
    let Transition { successor, exporter_status, lease_status, lease_metadata } = transition;
    let ends = lease_status.iter().chain(&lease_metadata).any(Lease::is_ended);
    let exporter =
        exporter_status.map(|exporter| Transition { exporter_status: Some(exporter), ..Transition::default() });
    let status = lease_status.map(|lease| Transition { lease_status: Some(lease), ..Transition::default() });
    let metadata = lease_metadata.map(|lease| Transition { lease_metadata: Some(lease), ..Transition::default() });
    let mut halves = vec![exporter, status, metadata];
    if ends {
        halves.rotate_left(1);
    }
    let successor = successor.map(|lease| Transition { successor: Some(lease), ..Transition::default() });
    successor.into_iter().chain(halves.into_iter().flatten()).collect()
}
