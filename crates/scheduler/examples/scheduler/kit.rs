//! A lab with its objects, where every decision is carried out at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jumpstarter_model::{Exporter, Lease, Timestamp};
use jumpstarter_scheduler::{Action, Change, Lab, LabConfig, transition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// See the module.
pub(crate) struct Kit {
    pub(crate) lab: Lab,
    pub(crate) now: Timestamp,
    pub(crate) exporters: BTreeMap<String, Exporter>,
    pub(crate) leases: BTreeMap<String, Lease>,
    /// Time spent in the core since it was taken last, and inputs told to it.
    pub(crate) spent: Duration,
    pub(crate) inputs: u64,
    /// Leases that got a device, and those that lost it, since these were taken last.
    pub(crate) granted: Vec<(String, String)>,
    pub(crate) ended: Vec<String>,
}

impl Kit {
    pub(crate) fn new() -> Self {
        Self::with(LabConfig::default())
    }

    pub(crate) fn with(config: LabConfig) -> Self {
        Self {
            lab: Lab::new(config),
            now: Timestamp::UNIX_EPOCH,
            exporters: BTreeMap::new(),
            leases: BTreeMap::new(),
            spent: Duration::ZERO,
            inputs: 0,
            granted: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Tells the core something.
    pub(crate) fn tell(&mut self, change: Change<'_>) {
        let started = Instant::now();
        self.lab.observe(change);
        self.spent += started.elapsed();
        self.inputs += 1;
    }

    pub(crate) fn put_exporter(&mut self, exporter: Exporter) {
        self.tell(Change::Exporter(&exporter));
        self.exporters.insert(exporter.metadata.name.clone().unwrap_or_default(), exporter);
    }

    pub(crate) fn put_lease(&mut self, lease: Lease) {
        self.tell(Change::Lease(&lease));
        self.leases.insert(lease.metadata.name.clone().unwrap_or_default(), lease);
    }

    /// Asks for an end of a lease.
    pub(crate) fn release(&mut self, name: &str) {
        let mut lease = self.leases[name].clone();
        lease.spec.release = Some(true);
        self.put_lease(lease);
    }

    /// The exporter has nothing to tear down any more.
    pub(crate) fn torn_down(&mut self, exporter: &str) {
        self.tell(Change::TearDown { exporter, pending: false });
    }

    /// What the core says now; nothing of it is carried out.
    pub(crate) fn decide(&mut self) -> Vec<Action> {
        let started = Instant::now();
        let decisions = self.lab.decide(self.now);
        self.spent += started.elapsed();
        decisions.actions
    }

    /// Decides and carries out until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        loop {
            let actions = self.decide();
            if actions.is_empty() {
                return;
            }
            self.carry_out(&actions);
        }
    }

    pub(crate) fn carry_out(&mut self, actions: &[Action]) {
        for action in actions {
            let lease = action.lease().and_then(|name| self.leases.get(name));
            let exporter = action.exporter().or_else(|| lease?.assigned_exporter());
            let exporter = exporter.and_then(|name| self.exporters.get(name));
            let written = transition::apply(action, lease, exporter, self.now);
            let started = Instant::now();
            self.lab.settle(action);
            self.spent += started.elapsed();
            match action {
                Action::Assign { lease, exporter, .. } => self.granted.push((lease.clone(), exporter.clone())),
                Action::End { lease, .. } | Action::Refuse { lease, .. } => self.ended.push(lease.clone()),
                _ => {}
            }
            let Some(written) = written else { continue };
            if let Some(mut lease) = written.successor {
                lease.metadata.creation_timestamp = Some(Time(self.now));
                self.put_lease(lease);
            }
            if let Some(lease) = written.lease_metadata.or(written.lease_status) {
                self.put_lease(lease);
            }
            if let Some(exporter) = written.exporter_status {
                self.put_exporter(exporter);
            }
        }
    }

    /// Gives a lease back, and its exporter to whoever is next once that is torn down; what the core takes for both, in
    /// microseconds.
    pub(crate) fn pass_on(&mut self, lease: &str, exporter: &str) -> f64 {
        self.took();
        self.release(lease);
        let ended = self.decide();
        let mut spent = self.took();
        self.carry_out(&ended);
        self.took();
        self.torn_down(exporter);
        let given = self.decide();
        spent += self.took();
        self.carry_out(&given);
        spent
    }

    /// The time spent in the core since the last call, in microseconds.
    pub(crate) fn took(&mut self) -> f64 {
        std::mem::take(&mut self.spent).as_secs_f64() * 1e6
    }
}
