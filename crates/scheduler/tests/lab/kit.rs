//! A lab on paper: objects in maps, the core under test, and a runtime that carries out what it decides.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{
    AccountBy, Client, ClientSpec, Condition, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterPhase,
    ExporterSpec, From, GoDuration, Lease, LeaseGroup, LeaseQuota, LeaseQuotaSpec, LeaseSpec, LocalObjectReference,
    MaintenanceWindow, MaintenanceWindowSpec, Policy, Selector, Timestamp, set_condition,
};
use jumpstarter_scheduler::{
    Action, Change, Lab, LabConfig,
    transition::{self, Transition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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
        self.lab = Lab::new(self.config.clone());
        self.exporters.values().for_each(|exporter| self.lab.observe(Change::Exporter(exporter)));
        self.leases.values().for_each(|lease| self.lab.observe(Change::Lease(lease)));
        self.policies.values().for_each(|policy| self.lab.observe(Change::Policy(policy)));
        self.clients.values().for_each(|client| self.lab.observe(Change::Client(client)));
        self.quotas.values().for_each(|quota| self.lab.observe(Change::Quota(quota)));
        self.windows.values().for_each(|window| self.lab.observe(Change::Window(window)));
        for exporter in &self.owes {
            self.lab.observe(Change::TearDown { exporter, pending: true });
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

/// An exporter that is registered, online and has never reported its phase, labelled `board=x`.
pub(crate) fn exporter(name: &str) -> Exporter {
    let mut exporter = Exporter::new(name, ExporterSpec::default());
    exporter.metadata.uid = Some(format!("uid-{name}"));
    exporter.label("board", "x").condition("Registered", true).condition("Online", true)
}

pub(crate) trait ExporterExt {
    fn label(self, key: &str, value: &str) -> Self;
    fn condition(self, type_: &str, status: bool) -> Self;
    fn online(self, online: bool) -> Self;
    fn enabled(self, enabled: bool) -> Self;
    fn phase(self, phase: ExporterPhase) -> Self;
    fn claimed_for(self, lease: &str) -> Self;
    fn says(self, message: &str) -> Self;
}

impl ExporterExt for Exporter {
    fn label(mut self, key: &str, value: &str) -> Self {
        self.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    fn condition(mut self, type_: &str, status: bool) -> Self {
        let conditions = &mut self.status.get_or_insert_default().conditions;
        set_condition(conditions, type_, status, "Test", "", None, at(0));
        self
    }

    fn online(self, online: bool) -> Self {
        self.condition("Online", online)
    }

    fn enabled(mut self, enabled: bool) -> Self {
        self.spec.enabled = Some(enabled);
        self
    }

    fn phase(mut self, phase: ExporterPhase) -> Self {
        self.status.get_or_insert_default().exporter_status = Some(phase);
        self
    }

    fn claimed_for(mut self, lease: &str) -> Self {
        self.status.get_or_insert_default().lease_ref = Some(LocalObjectReference::new(lease));
        self
    }

    fn says(mut self, message: &str) -> Self {
        self.status.get_or_insert_default().status_message = Some(message.to_owned());
        self
    }
}

/// A lease of alice for `board=x` and an hour, created at the start of the test.
pub(crate) fn lease(name: &str) -> Lease {
    let mut lease = Lease::new(name, LeaseSpec::default());
    lease.metadata.uid = Some(format!("uid-{name}"));
    lease.metadata.creation_timestamp = Some(Time(at(0)));
    lease.by("alice").wants("board=x").lasting(3600)
}

pub(crate) trait LeaseExt {
    fn by(self, client: &str) -> Self;
    fn wants(self, selector: &str) -> Self;
    fn pinned(self, exporter: &str) -> Self;
    fn lasting(self, secs: i64) -> Self;
    fn endless(self) -> Self;
    fn begins(self, secs: i64) -> Self;
    fn ends(self, secs: i64) -> Self;
    fn created(self, secs: i64) -> Self;
    fn allow_disabled(self) -> Self;
    fn released(self) -> Self;
    fn pending(self, reason: &str) -> Self;
    fn ready(self) -> Self;
    fn on(self, exporter: &str) -> Self;
    fn begun(self, secs: i64) -> Self;
    fn ended(self) -> Self;
    fn ended_at(self, secs: i64) -> Self;
    fn requeues(self) -> Self;
    /// A member of a group of so many, whose devices must have equal values of these labels.
    fn in_group(self, group: &str, size: usize, same: &[&str]) -> Self;
}

impl LeaseExt for Lease {
    fn by(mut self, client: &str) -> Self {
        self.spec.client_ref = LocalObjectReference::new(client);
        self
    }

    fn wants(mut self, selector: &str) -> Self {
        self.spec.selector = Selector::parse(selector).unwrap().to_label_selector();
        self
    }

    fn pinned(mut self, exporter: &str) -> Self {
        self.spec.exporter_ref = Some(LocalObjectReference::new(exporter));
        self.wants("")
    }

    fn lasting(mut self, secs: i64) -> Self {
        self.spec.duration = Some(GoDuration::from_secs(secs));
        self
    }

    fn endless(mut self) -> Self {
        self.spec.duration = None;
        self
    }

    fn begins(mut self, secs: i64) -> Self {
        self.spec.begin_time = Some(Time(at(secs)));
        self
    }

    fn ends(mut self, secs: i64) -> Self {
        self.spec.end_time = Some(Time(at(secs)));
        self
    }

    fn created(mut self, secs: i64) -> Self {
        self.metadata.creation_timestamp = Some(Time(at(secs)));
        self
    }

    fn allow_disabled(mut self) -> Self {
        self.spec.allow_disabled = Some(true);
        self
    }

    fn released(mut self) -> Self {
        self.spec.release = Some(true);
        self
    }

    fn pending(mut self, reason: &str) -> Self {
        let conditions = &mut self.status.get_or_insert_default().conditions;
        set_condition(conditions, "Pending", true, reason, "as before", None, at(0));
        self
    }

    fn ready(mut self) -> Self {
        let conditions = &mut self.status.get_or_insert_default().conditions;
        set_condition(conditions, "Ready", true, "Ready", "", None, at(0));
        self
    }

    fn on(mut self, exporter: &str) -> Self {
        self.status.get_or_insert_default().exporter_ref = Some(LocalObjectReference::new(exporter));
        self.begun(0)
    }

    fn begun(mut self, secs: i64) -> Self {
        self.status.get_or_insert_default().begin_time = Some(Time(at(secs)));
        self
    }

    fn ended(mut self) -> Self {
        self.status.get_or_insert_default().ended = true;
        self
    }

    fn ended_at(mut self, secs: i64) -> Self {
        self.status.get_or_insert_default().end_time = Some(Time(at(secs)));
        self.ended()
    }

    fn requeues(mut self) -> Self {
        self.metadata.annotations.get_or_insert_default().insert(transition::REQUEUE.to_owned(), "true".to_owned());
        self
    }

    fn in_group(mut self, group: &str, size: usize, same: &[&str]) -> Self {
        let same = same.iter().map(|key| (*key).to_owned());
        LeaseGroup { name: group.to_owned(), size, same: same.collect() }.write(&mut self.metadata);
        self
    }
}

pub(crate) fn client(name: &str, labels: &[(&str, &str)]) -> Client {
    let mut client = Client::new(name, ClientSpec::default());
    client.metadata.labels = Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
    client
}

/// A window for exporters of `board=x` that opens once.
pub(crate) fn window(name: &str, start: i64, secs: i64) -> MaintenanceWindow {
    let spec = MaintenanceWindowSpec {
        exporter_selector: Some(Selector::parse("board=x").unwrap().to_label_selector()),
        start: Some(Time(at(start))),
        duration: Some(GoDuration::from_secs(secs)),
        reason: Some("new power supply".to_owned()),
        ..MaintenanceWindowSpec::default()
    };
    MaintenanceWindow::new(name, spec)
}

/// A policy about the exporters that `exporters` selects.
pub(crate) fn policy(name: &str, exporters: &str, rules: &[Policy]) -> ExporterAccessPolicy {
    let spec = ExporterAccessPolicySpec {
        exporter_selector: Some(Selector::parse(exporters).unwrap().to_label_selector()),
        policies: Some(rules.to_vec()),
    };
    ExporterAccessPolicy::new(name, spec)
}

/// A rule for the clients that `clients` selects.
pub(crate) fn rule(clients: &str, priority: i64) -> Policy {
    Policy {
        priority: Some(priority),
        from: Some(vec![From { client_selector: Selector::parse(clients).unwrap().to_label_selector() }]),
        ..Policy::default()
    }
}

pub(crate) trait RuleExt {
    fn at_most(self, secs: i64) -> Self;
    fn spot(self) -> Self;
    fn described(self, text: &str) -> Self;
}

impl RuleExt for Policy {
    fn at_most(mut self, secs: i64) -> Self {
        self.maximum_duration = Some(GoDuration::from_secs(secs));
        self
    }

    fn spot(mut self) -> Self {
        self.spot_access = Some(true);
        self
    }

    fn described(mut self, text: &str) -> Self {
        self.description = Some(text.to_owned());
        self
    }
}

/// A quota of everybody and everything, one account a client, that limits nothing.
pub(crate) fn quota(name: &str) -> LeaseQuota {
    LeaseQuota::new(name, LeaseQuotaSpec::default())
}

pub(crate) trait QuotaExt {
    fn of(self, clients: &str) -> Self;
    fn counts(self, exporters: &str) -> Self;
    fn together(self) -> Self;
    fn by_team(self) -> Self;
    fn devices(self, most: i64) -> Self;
    fn time(self, secs: i64, period: i64) -> Self;
    fn waiting(self, most: i64) -> Self;
    fn weight(self, weight: i64) -> Self;
}

impl QuotaExt for LeaseQuota {
    fn of(mut self, clients: &str) -> Self {
        self.spec.client_selector = Some(Selector::parse(clients).unwrap().to_label_selector());
        self
    }

    fn counts(mut self, exporters: &str) -> Self {
        self.spec.exporter_selector = Some(Selector::parse(exporters).unwrap().to_label_selector());
        self
    }

    fn together(mut self) -> Self {
        self.spec.account_by = Some(AccountBy::All);
        self
    }

    fn by_team(mut self) -> Self {
        self.spec.account_by = Some(AccountBy::Label);
        self.spec.account_label = Some("team".to_owned());
        self
    }

    fn devices(mut self, most: i64) -> Self {
        self.spec.max_devices = Some(most);
        self
    }

    fn time(mut self, secs: i64, period: i64) -> Self {
        self.spec.max_device_time = Some(GoDuration::from_secs(secs));
        self.spec.period = Some(GoDuration::from_secs(period));
        self
    }

    fn waiting(mut self, most: i64) -> Self {
        self.spec.max_waiting = Some(most);
        self
    }

    fn weight(mut self, weight: i64) -> Self {
        self.spec.weight = Some(weight);
        self
    }
}
