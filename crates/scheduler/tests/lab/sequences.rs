//! Random histories of a lab, with crashes, against named invariants and the [oracle](crate::oracle). One file for each
//! kind of lab; here is what all of them do and check.

mod any;
mod caps;
mod contests;
mod plans;
mod step;

use std::collections::BTreeMap;

use jumpstarter_model::{ExporterPhase, Lease, LeaseStatus, LocalObjectReference, Selector, condition};
use jumpstarter_scheduler::{Action, RefusedAs, transition};

use self::step::{Asked, Edit, Limits, Step, Target, Turn};
use crate::{
    kit::{
        ExporterExt as _, LeaseExt as _, QuotaExt as _, RuleExt as _, World, client, exporter, lease, policy, quota,
        rule, window,
    },
    oracle,
};

const EXPORTERS: [&str; 4] = ["a", "b", "c", "d"];
const CLIENTS: [&str; 3] = ["alice", "bob", "carol"];
const SELECTORS: [&str; 9] =
    ["board=x", "board=x", "board=x", "board=x", "board=y", "board in (x,y)", "board", "!special", "board!=x"];
/// One history.
struct History {
    world: World,
    created: usize,
    /// Status of leases when they ended.
    ended: BTreeMap<String, LeaseStatus>,
    /// Whether nothing but leases changes, so that no account is ever beyond a cap.
    steady: bool,
}

impl History {
    fn new(grace: i64) -> Self {
        let exporters = EXPORTERS.map(|name| exporter(name).label("board", if name < "c" { "x" } else { "y" }));
        let mut world = World::with(&exporters, &[]).with_grace(grace);
        world.put(client("carol", &[("team", "a")]));
        world.tears_down_at_once = false;
        Self { world, created: 0, ended: BTreeMap::new(), steady: false }
    }

    /// Team b has the better right to `board=x`, team a to `board=y`.
    fn crowded(grace: i64) -> Self {
        let mut history = Self::new(grace);
        let rules = |full: &str, spot: &str| [rule(full, 1), rule(full, 2).at_most(60), rule(spot, 0).spot()];
        history.world.put(policy("p", "board=x", &rules("team=b", "")));
        history.world.put(policy("q", "board=y", &rules("team=a", "team=b")));
        history
    }

    /// These quotas hold from the start to the end.
    fn limited(quotas: &[Limits]) -> Self {
        let mut history = Self::new(0);
        history.steady = true;
        for (name, quota) in ["p", "q", "r"].into_iter().zip(quotas) {
            history.limit(name, *quota);
        }
        history
    }

    fn limit(&mut self, name: &str, Limits { exporters, by, devices, time, weight }: Limits) {
        let quota = quota(name).counts(exporters);
        let mut quota = match by {
            0 => quota,
            1 => quota.together(),
            _ => quota.by_team(),
        };
        quota.spec.max_devices = devices;
        quota.spec.weight = weight;
        self.world.put(match time {
            Some((most, period)) => quota.time(most, period),
            None => quota,
        });
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.take(step);
        }
        self.settle();
        // Who waits on a quota need not be served.
        for name in ["p", "q", "r"] {
            self.world.delete_quota(name);
        }
        self.drain();
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create { client, target, times, requeues } => self.create(client, *target, *times, *requeues),
            Step::Edit { lease, edit } => {
                if let Some(name) = self.world.pick(*lease) {
                    let now = self.world.secs();
                    self.world.edit_lease(&name, |lease| apply_edit(lease, *edit, now));
                }
            }
            Step::Delete { lease } => {
                if let Some(name) = self.world.pick(*lease) {
                    self.world.delete_lease(&name);
                }
            }
            Step::Exporter { name, change } => self.turn(name, *change),
            Step::Policy { name, exporters, clients, terms } => {
                let mut first = rule(clients, terms.priority);
                if let Some(secs) = terms.at_most {
                    first = first.at_most(secs);
                }
                let rules = [if terms.spot { first.spot() } else { first }, rule("team=a", 0)];
                self.world.put(policy(name, exporters, &rules));
            }
            Step::NoPolicy { name } => self.world.delete_policy(name),
            Step::Quota { name, quota } => self.limit(name, *quota),
            Step::NoQuota { name } => self.world.delete_quota(name),
            Step::Client { name, team } => self.world.put(client(name, &[("team", team)])),
            Step::NoClient { name } => self.world.delete_client(name),
            Step::Window { name, board, clients, begin, secs } => {
                let mut window = window(name, self.world.secs() + begin, *secs);
                let selector = |text: &str| Selector::parse(text).unwrap().to_label_selector();
                window.spec.exporter_selector = Some(selector(&format!("board={board}")));
                window.spec.client_selector = clients.map(selector);
                self.world.put(window);
            }
            Step::NoWindow { name } => self.world.delete_window(name),
            Step::TornDown { exporter } => self.world.confirm_tear_down(exporter),
            Step::Wait { secs } => {
                self.settle();
                self.world.pass(*secs);
            }
            Step::Settle => self.settle(),
            Step::Crash { writes } => self.world.crash(*writes, |_, _| ()),
            Step::Conflict { action } => self.world.conflict(*action, |_, _| ()),
        }
    }

    fn create(&mut self, client: &str, target: Target, times: Asked, requeues: bool) {
        self.created += 1;
        let name = format!("l{:03}", self.created);
        let lease = lease(&name).by(client).created(self.world.secs());
        let lease = if requeues { lease.requeues() } else { lease };
        let lease = match target {
            Target::Selector(selector) => lease.wants(selector),
            Target::Pinned { exporter, allow_disabled: true } => lease.pinned(exporter).allow_disabled(),
            Target::Pinned { exporter, allow_disabled: false } => lease.pinned(exporter),
        };
        let now = self.world.secs();
        self.world.put(match times {
            Asked::Duration(secs) => lease.lasting(secs),
            Asked::Begin(begin, secs) => lease.begins(now + begin).lasting(secs),
            Asked::End(end) => lease.endless().ends(now + end),
        });
    }

    fn turn(&mut self, name: &str, change: Turn) {
        if !self.world.exporters.contains_key(name) {
            return self.world.put(exporter(name));
        }
        match change {
            Turn::Online(online) => self.world.edit_exporter(name, |exporter| exporter.online(online)),
            Turn::Registered(registered) => {
                self.world.edit_exporter(name, |exporter| exporter.condition("Registered", registered));
            }
            Turn::Enabled(enabled) => self.world.edit_exporter(name, |exporter| exporter.enabled(enabled)),
            Turn::Phase(phase) => self.world.edit_exporter(name, |exporter| exporter.phase(phase)),
            Turn::Board(board) => self.world.edit_exporter(name, |exporter| exporter.label("board", board)),
            Turn::Deleted => self.world.delete_exporter(name),
        }
    }

    fn settle(&mut self) {
        let mut next = Vec::new();
        for _ in 0..50 {
            let mut actions = next;
            if actions.is_empty() {
                actions = self.world.decide_as_rebuilt();
            }
            next = actions.split_off(one_round(&actions));
            let is_assignment = |action: &&Action| matches!(action, Action::Assign { .. });
            let repairs = |action: &Action| self.repairs(action);
            let early = |action: &&Action| {
                !is_assignment(action)
                    && (!is_verdict(action) || is_plan(action))
                    && (!is_contest(action) || repairs(action))
            };
            let first = actions.iter().take_while(early).count();
            actions[..first].iter().for_each(|action| self.carry_out(action));
            // What is being ended holds its device still, to quotas.
            let ends = |action: &&Action| matches!(action, Action::End { .. } | Action::Preempt { .. });
            let ending = actions.iter().filter(ends).filter_map(Action::lease).map(str::to_owned);
            self.world.ending = ending.collect();
            let expected = oracle::assignments(&self.world);
            self.world.ending.clear();
            let given = actions.iter().filter(is_assignment);
            let named = |one: &Action| (one.lease().unwrap().to_owned(), one.exporter().unwrap().to_owned());
            let given = given.map(named).collect();
            // By shares others may come first, but not nobody.
            if expected.is_empty() || self.world.quotas.values().all(|quota| quota.spec.weight.is_none()) {
                assert_eq!(expected, given, "who should get what, and who does");
            }
            let rest = &actions[first..];
            let given = rest.iter().take_while(|action| !is_verdict(action) && !is_contest(action)).count();
            rest[..given].iter().for_each(|action| self.carry_out(action));
            // What follows when somebody ends at once is looked at when all is done.
            if !rest.iter().any(|action| matches!(action, Action::Preempt { .. })) {
                self.check_contest(rest);
            }
            rest[given..].iter().for_each(|action| self.carry_out(action));
            self.check();
            if actions.is_empty() {
                oracle::caps::check_told(&self.world);
                assert_eq!(oracle::contest(&self.world), oracle::Contest::default(), "who should make way");
                return;
            }
        }
        panic!("never settles");
    }

    /// Whether it completes what somebody has left half-done.
    fn repairs(&self, action: &Action) -> bool {
        action.successor().is_some_and(|name| self.world.leases.contains_key(name))
    }

    /// Those who are told to make way, and to stay, are those who should.
    fn check_contest(&self, actions: &[Action]) {
        let mut found = oracle::Contest::default();
        for action in actions {
            match action {
                Action::GiveNotice { lease, .. } => _ = found.chosen.insert(lease.clone()),
                Action::WithdrawNotice { lease, .. } => _ = found.spared.insert(lease.clone()),
                _ => {}
            }
        }
        assert_eq!(oracle::contest(&self.world), found, "who should make way, and who does");
    }

    fn carry_out(&mut self, action: &Action) {
        self.check_refusal(action);
        self.check_backfill(action);
        self.world.carry_out(action);
    }

    fn check_refusal(&self, action: &Action) {
        if let Action::Refuse { lease, condition: RefusedAs::Unsatisfiable, .. } = action {
            let status = self.world.leases[lease].status.clone().unwrap_or_default();
            let told = condition::find(&status.conditions, "Pending").map(|found| found.reason.clone());
            assert!(told.is_none_or(|reason| reason == "Scheduled"), "a waiting lease is refused: {action:?}");
        }
    }

    /// Nobody gets an exporter who might keep it longer than until somebody else has reserved it.
    fn check_backfill(&self, action: &Action) {
        let Action::Assign { lease: name, exporter, .. } = action else { return };
        let lease = &self.world.leases[name];
        let fits = oracle::fits(&self.world, exporter, lease, &self.world.exporters[exporter], self.world.now);
        assert!(fits, "{name} gets {exporter}, which is spoken for");
    }

    /// What holds whenever everything is written.
    fn check(&mut self) {
        if self.steady {
            oracle::caps::check(&self.world);
        }
        let reserved = oracle::reservations(&self.world);
        for (index, one) in reserved.iter().enumerate() {
            for other in reserved[..index].iter().filter(|other| other.exporter == one.exporter) {
                let (first, second) = (&one.lease, &other.lease);
                assert!(one.end <= other.begin || other.end <= one.begin, "{first} and {second} overlap");
            }
        }
        self.world.check_holders();
        for (name, lease) in &self.world.leases {
            let status = lease.status.clone().unwrap_or_default();
            let conditions = &status.conditions;
            assert!(condition::find(conditions, "Pending").is_none_or(|found| found.status == "True"));
            let ready = conditions.iter().position(|found| found.type_ == "Ready");
            let last = ready.is_none_or(|index| index + 1 == conditions.len());
            assert!(last || (!status.ended && oracle::is_noticed(lease).is_some()), "Ready is the last of {name}");
            self.check_preempted(name, lease);
            if status.ended {
                let known = self.ended.entry(name.clone()).or_insert_with(|| status.clone());
                assert_eq!(*known, status, "the ended lease {name} changed");
            }
        }
    }

    /// Only holders of spot are preempted, and those who asked for it wait again, once.
    fn check_preempted(&self, name: &str, lease: &Lease) {
        let status = lease.status.clone().unwrap_or_default();
        let preempted = status.conditions.iter().any(|found| found.reason == "Preempted");
        assert!(!preempted || (status.ended && status.spot_access == Some(true)), "{name} is preempted");
        let successors = self.world.leases.values().filter(|other| transition::is_successor(other, name));
        let asked = lease.metadata.annotations.iter().flatten().any(|(key, _)| key == transition::REQUEUE);
        // Who deletes leases may delete this one too.
        assert!(successors.count() <= usize::from(preempted && asked), "successors of {name}");
    }

    /// In the end everything works, everybody lets go in turn, and everybody who can be served was.
    fn drain(&mut self) {
        for name in EXPORTERS {
            if !self.world.exporters.contains_key(name) {
                self.world.put(exporter(name));
            }
            self.world.edit_exporter(name, |exporter| {
                exporter.condition("Registered", true).online(true).enabled(true).phase(ExporterPhase::Available)
            });
        }
        for _ in 0..self.world.leases.len() + 2 {
            for name in EXPORTERS {
                self.world.confirm_tear_down(name);
            }
            self.settle();
            for name in self.world.holders() {
                self.world.edit_lease(&name, |lease| lease.spec.release = Some(true));
            }
            self.settle();
        }
        for (name, lease) in self.world.leases.iter().filter(|(_, lease)| oracle::waits(lease, self.world.now)) {
            let servable = self.world.exporters.iter().any(|(name, exporter)| {
                oracle::suits(lease, exporter)
                    && oracle::granted(&self.world, lease, exporter).is_some()
                    && oracle::fits(&self.world, name, lease, exporter, self.world.now)
            });
            assert!(!servable, "{name} was never served");
        }
    }
}

fn apply_edit(lease: &mut Lease, edit: Edit, now: i64) {
    match edit {
        Edit::Begin(secs) => *lease = lease.clone().begins(now + secs),
        Edit::Release => lease.spec.release = Some(true),
        Edit::Last(secs) => *lease = lease.clone().lasting(secs),
        Edit::Transfer(client) => lease.spec.client_ref = LocalObjectReference::new(client),
        Edit::Want(selector) => *lease = lease.clone().wants(selector),
    }
}

fn is_contest(action: &Action) -> bool {
    matches!(action, Action::GiveNotice { .. } | Action::WithdrawNotice { .. } | Action::Preempt { .. })
}

/// How many of the actions come of one round of giving out: in its end it is told who waits, and who is refused, which
/// may open up what was reserved.
fn one_round(actions: &[Action]) -> usize {
    let told = |action: &Action| is_verdict(action) && !is_plan(action);
    let before = actions.iter().take_while(|action| !told(action)).count();
    before + actions[before..].iter().take_while(|action| told(action)).count()
}

/// What is told of a reservation.
fn is_plan(action: &Action) -> bool {
    matches!(action, Action::Wait { reason, .. } | Action::Refuse { reason, .. }
        if reason == "Scheduled" || reason == "ReservationConflict")
}

fn is_verdict(action: &Action) -> bool {
    matches!(action, Action::Wait { .. } | Action::Refuse { .. })
}
