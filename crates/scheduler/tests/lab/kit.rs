//! A lab on paper: objects in maps, the core under test, and a runtime that carries out what it decides.

mod objects;
mod story;

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{
    Client, Condition, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, MaintenanceWindow, Timestamp,
};
use jumpstarter_scheduler::{
    Action, Change, Lab, LabConfig,
    transition::{self, Transition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use objects::{
    ExporterExt, LeaseExt, QuotaExt, RuleExt, client, exporter, lease, policy, quota, rule, window,
};
pub(crate) use story::{PHASES, halves};

/// So many seconds into the test.
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + secs).unwrap()
}

pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) config: LabConfig,
    pub(crate) now: Timestamp,
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) exporters: BTreeMap<String, Exporter>,
    pub(crate) leases: BTreeMap<String, Lease>,
    pub(crate) policies: BTreeMap<String, ExporterAccessPolicy>,
    pub(crate) clients: BTreeMap<String, Client>,
    pub(crate) quotas: BTreeMap<String, LeaseQuota>,
    pub(crate) windows: BTreeMap<String, MaintenanceWindow>,
    /// Exporters that owe a tear-down.
    pub(crate) owes: BTreeSet<String>,
    /// Leases whose end is being written.
    pub(crate) ending: BTreeSet<String>,
    /// Whether exporters tear down at once.
    pub(crate) tears_down_at_once: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            lab: Lab::new(LabConfig::default()),
            config: LabConfig::default(),
            now: at(0),
            wake_at: None,
            exporters: BTreeMap::new(),
            leases: BTreeMap::new(),
            policies: BTreeMap::new(),
            clients: BTreeMap::new(),
            quotas: BTreeMap::new(),
            windows: BTreeMap::new(),
            owes: BTreeSet::new(),
            ending: BTreeSet::new(),
            tears_down_at_once: true,
        }
    }

    /// A lab with these exporters and leases, and the clients `alice` and `bob`.
    pub(crate) fn with(exporters: &[Exporter], leases: &[Lease]) -> Self {
        let mut world = Self::new();
        world.put(client("alice", &[("team", "a")]));
        world.put(client("bob", &[("team", "b")]));
        exporters.iter().cloned().for_each(|exporter| world.put(exporter));
        leases.iter().cloned().for_each(|lease| world.put(lease));
        world
    }

    /// Nobody has heard anything yet, so the settings can still be others.
    pub(crate) fn with_grace(mut self, secs: i64) -> Self {
        self.config.preemption_grace = jiff::SignedDuration::from_secs(secs);
        self.restart();
        self
    }

    pub(crate) fn put(&mut self, object: impl Into<Thing>) {
        match object.into() {
            Thing::Exporter(exporter) => {
                self.lab.observe(Change::Exporter(&exporter));
                self.exporters.insert(exporter.metadata.name.clone().unwrap(), exporter);
            }
            Thing::Lease(lease) => {
                self.lab.observe(Change::Lease(&lease));
                self.leases.insert(lease.metadata.name.clone().unwrap(), lease);
            }
            Thing::Policy(policy) => {
                self.lab.observe(Change::Policy(&policy));
                self.policies.insert(policy.metadata.name.clone().unwrap(), policy);
            }
            Thing::Quota(quota) => {
                self.lab.observe(Change::Quota(&quota));
                self.quotas.insert(quota.metadata.name.clone().unwrap(), quota);
            }
            Thing::Client(client) => {
                self.lab.observe(Change::Client(&client));
                self.clients.insert(client.metadata.name.clone().unwrap(), client);
            }
            Thing::Window(window) => {
                self.lab.observe(Change::Window(&window));
                self.windows.insert(window.metadata.name.clone().unwrap(), window);
            }
        }
    }

    pub(crate) fn edit_exporter(&mut self, name: &str, edit: impl FnOnce(Exporter) -> Exporter) {
        let edited = edit(self.exporters[name].clone());
        self.put(edited);
    }

    pub(crate) fn edit_lease(&mut self, name: &str, edit: impl FnOnce(&mut Lease)) {
        let mut edited = self.leases[name].clone();
        edit(&mut edited);
        self.put(edited);
    }

    pub(crate) fn delete_exporter(&mut self, name: &str) {
        self.exporters.remove(name);
        self.owes.remove(name);
        self.lab.observe(Change::ExporterDeleted(name));
    }

    pub(crate) fn delete_lease(&mut self, name: &str) {
        self.leases.remove(name);
        self.lab.observe(Change::LeaseDeleted(name));
    }

    pub(crate) fn delete_client(&mut self, name: &str) {
        self.clients.remove(name);
        self.lab.observe(Change::ClientDeleted(name));
    }

    pub(crate) fn delete_policy(&mut self, name: &str) {
        self.policies.remove(name);
        self.lab.observe(Change::PolicyDeleted(name));
    }

    pub(crate) fn delete_quota(&mut self, name: &str) {
        self.quotas.remove(name);
        self.lab.observe(Change::QuotaDeleted(name));
    }

    pub(crate) fn delete_window(&mut self, name: &str) {
        self.windows.remove(name);
        self.lab.observe(Change::WindowDeleted(name));
    }

    pub(crate) fn confirm_tear_down(&mut self, exporter: &str) {
        self.owes.remove(exporter);
        self.lab.observe(Change::TearDown { exporter, pending: false });
    }

    /// A new core that learns everything from the objects, as after a restart.
    pub(crate) fn restart(&mut self) {
        self.lab = self.rebuilt();
    }

    fn tell_all(&self, lab: &mut Lab) {
        self.exporters.values().for_each(|exporter| lab.observe(Change::Exporter(exporter)));
        self.leases.values().for_each(|lease| lab.observe(Change::Lease(lease)));
        self.policies.values().for_each(|policy| lab.observe(Change::Policy(policy)));
        self.clients.values().for_each(|client| lab.observe(Change::Client(client)));
        self.quotas.values().for_each(|quota| lab.observe(Change::Quota(quota)));
        self.windows.values().for_each(|window| lab.observe(Change::Window(window)));
        for exporter in &self.owes {
            lab.observe(Change::TearDown { exporter, pending: true });
        }
    }

    /// What the core decides now; asking again must yield nothing.
    #[track_caller]
    pub(crate) fn decide(&mut self) -> Vec<Action> {
        let decisions = self.lab.decide(self.now);
        self.wake_at = decisions.wake_at;
        let again = self.lab.decide(self.now);
        assert_eq!(again.actions, [], "asked again after {:?}", decisions.actions);
        assert_eq!(again.wake_at, decisions.wake_at, "asked again");
        assert!(self.wake_at.is_none_or(|at| at > self.now), "wakes in the past: {:?}", self.wake_at);
        decisions.actions
    }

    /// Lets the core decide and carries it out, until it has nothing more to say.
    #[track_caller]
    pub(crate) fn settle(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        for _ in 0..100 {
            let actions = self.decide();
            if actions.is_empty() {
                return done;
            }
            for action in &actions {
                self.carry_out(action);
            }
            done.extend(actions);
        }
        panic!("never settles: {done:?}");
    }

    pub(crate) fn settle_at(&mut self, secs: i64) -> Vec<Action> {
        self.now = at(secs);
        self.settle()
    }

    pub(crate) fn transition(&self, action: &Action) -> Option<Transition> {
        let lease = action.lease().and_then(|name| self.leases.get(name));
        let exporter = action.exporter().or_else(|| lease?.assigned_exporter());
        let exporter = exporter.and_then(|name| self.exporters.get(name));
        let mut transition = transition::apply(action, lease, exporter, self.now)?;
        if action.successor().is_some_and(|name| self.leases.contains_key(name)) {
            transition.successor = None;
        }
        Some(transition)
    }

    /// Writes an action, which must fit, and settles it.
    #[track_caller]
    pub(crate) fn carry_out(&mut self, action: &Action) {
        let transition = self.transition(action).unwrap_or_else(|| panic!("{action:?} does not fit"));
        self.write(action, transition);
        self.settled(action);
    }

    /// Tells the core that the outcome of an action is known, and what is true now.
    pub(crate) fn settled(&mut self, action: &Action) {
        self.lab.settle(action);
        if let Some(name) = action.lease() {
            match self.leases.get(name) {
                Some(lease) => self.lab.observe(Change::Lease(lease)),
                None => self.lab.observe(Change::LeaseDeleted(name)),
            }
        }
        if let Some(name) = action.exporter() {
            match self.exporters.get(name) {
                Some(exporter) => self.lab.observe(Change::Exporter(exporter)),
                None => self.lab.observe(Change::ExporterDeleted(name)),
            }
            self.lab.observe(Change::TearDown { exporter: name, pending: self.owes.contains(name) });
        }
    }

    /// Writes a transition whole, as the embedded store does.
    pub(crate) fn write(&mut self, action: &Action, transition: Transition) {
        let Transition { successor, exporter_status, lease_status, lease_metadata } = transition;
        if let Some(mut lease) = successor {
            let name = lease.metadata.name.clone().unwrap();
            assert!(!self.leases.contains_key(&name), "{name} is created twice");
            lease.metadata.uid = Some(format!("uid-{name}"));
            lease.metadata.creation_timestamp = Some(Time(self.now));
            self.put(lease);
        }
        if let Some(lease) = lease_metadata.or(lease_status) {
            self.put(stored(lease));
        }
        if let Some(exporter) = exporter_status {
            let name = exporter.metadata.name.clone().unwrap();
            let claimed =
                |exporter: &Exporter| exporter.status.as_ref().is_some_and(|status| status.lease_ref.is_some());
            let freed = !claimed(&exporter) && self.exporters.get(&name).is_some_and(claimed);
            self.put(exporter);
            if freed {
                self.note_freed(&name, action);
            }
        }
    }

    /// An exporter taken from a lease owes a tear-down, unless it never heard of it.
    fn note_freed(&mut self, name: &str, action: &Action) {
        let told = |lease: &Lease| lease.is_ended() || lease.assigned_exporter().is_some();
        let told = action.lease().and_then(|name| self.leases.get(name)).is_none_or(told);
        if told && !self.tears_down_at_once {
            self.owes.insert(name.to_owned());
        }
        self.lab.observe(Change::TearDown { exporter: name, pending: self.owes.contains(name) });
    }

    /// The state of a lease as existing clients show it.
    pub(crate) fn state(&self, lease: &str) -> String {
        let Some(lease) = self.leases.get(lease) else { return "gone".to_owned() };
        let status = lease.status.clone().unwrap_or_default();
        let shown =
            status.conditions.last().map_or("undecided".to_owned(), |Condition { type_, status, reason, .. }| {
                format!("{}{type_}/{reason}", if status == "True" { "" } else { "not " })
            });
        let on = lease.assigned_exporter().map(|name| format!(" on {name}")).unwrap_or_default();
        format!("{shown}{on}{}", if status.ended { ", ended" } else { "" })
    }

    pub(crate) fn message(&self, lease: &str) -> &str {
        &self.leases[lease].status.as_ref().unwrap().conditions.last().unwrap().message
    }

    #[track_caller]
    pub(crate) fn expect(&self, states: &[(&str, &str)]) {
        let found = states.iter().map(|(lease, _)| (*lease, self.state(lease))).collect::<Vec<_>>();
        let found = found.iter().map(|(lease, state)| (*lease, state.as_str())).collect::<Vec<_>>();
        assert_eq!(found, states);
    }
}

/// As a store keeps it: times in whole seconds.
fn stored(mut lease: Lease) -> Lease {
    if let Some(status) = &mut lease.status {
        for time in [&mut status.begin_time, &mut status.end_time].into_iter().flatten() {
            time.0 = jumpstarter_model::lease_time::whole_second(time.0);
        }
    }
    lease
}

pub(crate) enum Thing {
    Exporter(Exporter),
    Lease(Lease),
    Policy(ExporterAccessPolicy),
    Quota(LeaseQuota),
    Client(Client),
    Window(MaintenanceWindow),
}

macro_rules! thing {
    ($($kind:ident $variant:ident),*) => {$(
        impl std::convert::From<$kind> for Thing {
            fn from(object: $kind) -> Self {
                Self::$variant(object)
            }
        }
    )*};
}
thing!(Exporter Exporter, Lease Lease, ExporterAccessPolicy Policy, LeaseQuota Quota, Client Client,
    MaintenanceWindow Window);
