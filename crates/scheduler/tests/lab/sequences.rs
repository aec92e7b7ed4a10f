//! Random histories of a lab, with crashes, against named invariants and the [oracle](crate::oracle).

use std::collections::BTreeMap;

use jumpstarter_model::{ExporterPhase, Lease, LeaseStatus, LocalObjectReference, Selector, condition};
use jumpstarter_scheduler::{
    Action, Change, Lab, LabConfig, RefusedAs,
    transition::{self, Transition},
};
use proptest::{prelude::*, sample::select};

use crate::{
    kit::{
        ExporterExt as _, LeaseExt as _, QuotaExt as _, RuleExt as _, World, at, client, exporter, lease, policy,
        quota, rule, window,
    },
    oracle,
};

#[derive(Clone, Debug)]
enum Step {
    Create {
        client: &'static str,
        target: Target,
        times: Asked,
        requeues: bool,
    },
    Edit {
        lease: usize,
        edit: Edit,
    },
    Delete {
        lease: usize,
    },
    Exporter {
        name: &'static str,
        change: Turn,
    },
    Policy {
        name: &'static str,
        exporters: &'static str,
        clients: &'static str,
        terms: Terms,
    },
    NoPolicy {
        name: &'static str,
    },
    Quota {
        name: &'static str,
        quota: Limits,
    },
    NoQuota {
        name: &'static str,
    },
    Client {
        name: &'static str,
        team: &'static str,
    },
    NoClient {
        name: &'static str,
    },
    TornDown {
        exporter: &'static str,
    },
    Wait {
        secs: i64,
    },
    /// Maintenance, so many seconds from now, or none any more.
    Window {
        name: &'static str,
        board: &'static str,
        clients: Option<&'static str>,
        begin: i64,
        secs: i64,
    },
    NoWindow {
        name: &'static str,
    },
    Settle,
    /// The process dies after so many of the writes that it decided on, then starts again.
    Crash {
        writes: usize,
    },
    /// One decided write fails and the true objects are observed again; the others succeed.
    Conflict {
        action: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Selector(&'static str),
    Pinned { exporter: &'static str, allow_disabled: bool },
}

/// Seconds from now.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Duration(i64),
    Begin(i64, i64),
    End(i64),
}

#[derive(Clone, Copy, Debug)]
enum Edit {
    Release,
    Last(i64),
    Transfer(&'static str),
    Want(&'static str),
    Begin(i64),
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Online(bool),
    Registered(bool),
    Enabled(bool),
    Phase(ExporterPhase),
    Board(&'static str),
    Deleted,
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    priority: i64,
    at_most: Option<i64>,
    spot: bool,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    exporters: &'static str,
    by: u8,
    devices: Option<i64>,
    time: Option<(i64, i64)>,
    weight: Option<i64>,
}

const EXPORTERS: [&str; 4] = ["a", "b", "c", "d"];
const CLIENTS: [&str; 3] = ["alice", "bob", "carol"];
const SELECTORS: [&str; 9] =
    ["board=x", "board=x", "board=x", "board=x", "board=y", "board in (x,y)", "board", "!special", "board!=x"];
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

fn step() -> impl Strategy<Value = Step> {
    let target = prop_oneof![
        3 => select(&SELECTORS[..]).prop_map(Target::Selector),
        1 => (select(&EXPORTERS[..]), any::<bool>())
            .prop_map(|(exporter, allow_disabled)| Target::Pinned { exporter, allow_disabled }),
    ];
    let times = prop_oneof![
        4 => (20..200_i64).prop_map(Asked::Duration),
        1 => (-20..40_i64, 20..200_i64).prop_map(|(begin, duration)| Asked::Begin(begin, duration)),
        1 => (5..200_i64).prop_map(Asked::End),
    ];
    let edit = prop_oneof![
        4 => Just(Edit::Release),
        1 => (1..200_i64).prop_map(Edit::Last),
        1 => select(&CLIENTS[..]).prop_map(Edit::Transfer),
        1 => select(&SELECTORS[..]).prop_map(Edit::Want),
    ];
    let turn = prop_oneof![
        3 => any::<bool>().prop_map(Turn::Online),
        1 => any::<bool>().prop_map(Turn::Registered),
        2 => any::<bool>().prop_map(Turn::Enabled),
        4 => select(&PHASES[..]).prop_map(Turn::Phase),
        1 => select(&["x", "y"][..]).prop_map(Turn::Board),
        1 => Just(Turn::Deleted),
    ];
    let terms = (-2..3_i64, proptest::option::of(10..150_i64), proptest::bool::weighted(0.5));
    let terms = terms.prop_map(|(priority, at_most, spot)| Terms { priority, at_most, spot });
    prop_oneof![
        9 => (select(&CLIENTS[..]), target, times, any::<bool>())
            .prop_map(|(client, target, times, requeues)| Step::Create { client, target, times, requeues }),
        4 => (any::<usize>(), edit).prop_map(|(lease, edit)| Step::Edit { lease, edit }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        6 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        5 => (select(&["p", "q"][..]), select(&["", "board=x", "board=y"][..]), select(&["", "team=b"][..]), terms)
            .prop_map(|(name, exporters, clients, terms)| Step::Policy { name, exporters, clients, terms }),
        1 => select(&["p", "q"][..]).prop_map(|name| Step::NoPolicy { name }),
        2 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        1 => select(&CLIENTS[..]).prop_map(|name| Step::NoClient { name }),
        6 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        3 => (1..60_i64).prop_map(|secs| Step::Wait { secs }),
        8 => Just(Step::Settle),
        2 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

/// Steps of a lab in which some have full access and others spot access to the same exporters.
fn crowded_step() -> impl Strategy<Value = Step> {
    let times = (5..120_i64).prop_map(Asked::Duration);
    let target = select(&["board=x", "board=x", "board=y", "board"][..]).prop_map(Target::Selector);
    let turn = prop_oneof![
        2 => select(&PHASES[..]).prop_map(Turn::Phase),
        1 => any::<bool>().prop_map(Turn::Online),
    ];
    prop_oneof![
        10 => (select(&CLIENTS[..]), target, times, any::<bool>())
            .prop_map(|(client, target, times, requeues)| Step::Create { client, target, times, requeues }),
        3 => any::<usize>().prop_map(|lease| Step::Edit { lease, edit: Edit::Release }),
        1 => (any::<usize>(), 1..100_i64).prop_map(|(lease, secs)| Step::Edit { lease, edit: Edit::Last(secs) }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        1 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        1 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        10 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        4 => (1..30_i64).prop_map(|secs| Step::Wait { secs }),
        10 => Just(Step::Settle),
        3 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

fn limits(weights: bool) -> impl Strategy<Value = Limits> {
    let devices = proptest::option::of(0..4_i64);
    let time = proptest::option::of((0..300_i64, 60..200_i64));
    let weight = proptest::option::of(1..4_i64);
    (select(&["", "board=x", "board"][..]), 0..3_u8, devices, time, weight).prop_map(
        move |(exporters, by, devices, time, weight)| Limits {
            exporters,
            by,
            devices,
            time,
            weight: weight.filter(|_| weights),
        },
    )
}

/// Steps of a lab without spot access.
fn limited_step() -> impl Strategy<Value = Step> {
    let target = select(&["board=x", "board=x", "board=y", "board"][..]).prop_map(Target::Selector);
    let times = prop_oneof![
        4 => (5..120_i64).prop_map(Asked::Duration),
        1 => (-20..40_i64, 20..200_i64).prop_map(|(begin, duration)| Asked::Begin(begin, duration)),
        1 => (5..200_i64).prop_map(Asked::End),
    ];
    let turn = prop_oneof![
        2 => select(&PHASES[..]).prop_map(Turn::Phase),
        2 => any::<bool>().prop_map(Turn::Online),
    ];
    prop_oneof![
        12 => (select(&CLIENTS[..]), target, times)
            .prop_map(|(client, target, times)| Step::Create { client, target, times, requeues: false }),
        3 => any::<usize>().prop_map(|lease| Step::Edit { lease, edit: Edit::Release }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        1 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        10 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        5 => (1..60_i64).prop_map(|secs| Step::Wait { secs }),
        10 => Just(Step::Settle),
        3 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

/// The same with quotas, clients and exporters that change.
fn unsteady_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => limited_step(),
        2 => (select(&["p", "q", "r"][..]), limits(true)).prop_map(|(name, quota)| Step::Quota { name, quota }),
        1 => select(&["p", "q", "r"][..]).prop_map(|name| Step::NoQuota { name }),
        1 => (any::<usize>(), 1..200_i64).prop_map(|(lease, secs)| Step::Edit { lease, edit: Edit::Last(secs) }),
        1 => (any::<usize>(), select(&CLIENTS[..]))
            .prop_map(|(lease, client)| Step::Edit { lease, edit: Edit::Transfer(client) }),
        1 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        1 => select(&CLIENTS[..]).prop_map(|name| Step::NoClient { name }),
        1 => (select(&EXPORTERS[..]), select(&["x", "y"][..]))
            .prop_map(|(name, board)| Step::Exporter { name, change: Turn::Board(board) }),
        1 => select(&EXPORTERS[..]).prop_map(|name| Step::Exporter { name, change: Turn::Deleted }),
    ]
}

/// Steps of a lab in which most is planned ahead.
fn planned_step() -> impl Strategy<Value = Step> {
    let target = prop_oneof![
        3 => select(&["board=x", "board=y", "board"][..]).prop_map(Target::Selector),
        1 => select(&EXPORTERS[..]).prop_map(|exporter| Target::Pinned { exporter, allow_disabled: false }),
    ];
    let times = prop_oneof![
        5 => (5..100_i64, 5..60_i64).prop_map(|(begin, duration)| Asked::Begin(begin, duration)),
        3 => (5..100_i64).prop_map(Asked::Duration),
        1 => (5..100_i64).prop_map(Asked::End),
    ];
    let edit = prop_oneof![
        3 => Just(Edit::Release),
        2 => (1..100_i64).prop_map(Edit::Last),
        2 => (1..60_i64).prop_map(Edit::Begin),
        1 => select(&["board=x", "board=y"][..]).prop_map(Edit::Want),
    ];
    let turn = prop_oneof![
        2 => any::<bool>().prop_map(Turn::Online),
        2 => any::<bool>().prop_map(Turn::Enabled),
        1 => select(&["x", "y"][..]).prop_map(Turn::Board),
        1 => Just(Turn::Deleted),
    ];
    let windows = || select(&["w", "v"][..]);
    prop_oneof![
        12 => (select(&CLIENTS[..]), target, times, Just(false))
            .prop_map(|(client, target, times, requeues)| Step::Create { client, target, times, requeues }),
        4 => (any::<usize>(), edit).prop_map(|(lease, edit)| Step::Edit { lease, edit }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        3 => (select(&EXPORTERS[..]), turn).prop_map(|(name, change)| Step::Exporter { name, change }),
        1 => (select(&CLIENTS[..]), select(&["a", "b"][..])).prop_map(|(name, team)| Step::Client { name, team }),
        2 => (windows(), select(&["x", "y"][..]), proptest::option::of(Just("team=b")), 1..60_i64, 5..40_i64)
            .prop_map(|(name, board, clients, begin, secs)| Step::Window { name, board, clients, begin, secs }),
        1 => windows().prop_map(|name| Step::NoWindow { name }),
        8 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        6 => (1..30_i64).prop_map(|secs| Step::Wait { secs }),
        8 => Just(Step::Settle),
        3 => (0..8_usize).prop_map(|writes| Step::Crash { writes }),
        1 => (0..4_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

/// One history.
struct History {
    world: World,
    secs: i64,
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
        Self { world, secs: 0, created: 0, ended: BTreeMap::new(), steady: false }
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

    fn pick(&self, index: usize) -> Option<String> {
        let live = self.world.leases.iter().filter(|(_, lease)| !lease.is_ended()).collect::<Vec<_>>();
        (!live.is_empty()).then(|| live[index % live.len()].0.clone())
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create { client, target, times, requeues } => self.create(client, *target, *times, *requeues),
            Step::Edit { lease, edit } => {
                if let Some(name) = self.pick(*lease) {
                    let now = self.secs;
                    self.world.edit_lease(&name, |lease| apply_edit(lease, *edit, now));
                }
            }
            Step::Delete { lease } => {
                if let Some(name) = self.pick(*lease) {
                    self.world.leases.remove(&name);
                    self.world.lab.observe(Change::LeaseDeleted(&name));
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
            Step::NoClient { name } => {
                self.world.clients.remove(*name);
                self.world.lab.observe(Change::ClientDeleted(name));
            }
            Step::Window { name, board, clients, begin, secs } => {
                let mut window = window(name, self.secs + begin, *secs);
                let selector = |text: &str| Selector::parse(text).unwrap().to_label_selector();
                window.spec.exporter_selector = Some(selector(&format!("board={board}")));
                window.spec.client_selector = clients.map(selector);
                self.world.put(window);
            }
            Step::NoWindow { name } => self.world.delete_window(name),
            Step::TornDown { exporter } => self.world.confirm_tear_down(exporter),
            Step::Wait { secs } => self.wait(*secs),
            Step::Settle => self.settle(),
            Step::Crash { writes } => self.crash(*writes),
            Step::Conflict { action } => self.conflict(*action),
        }
    }

    fn create(&mut self, client: &str, target: Target, times: Asked, requeues: bool) {
        self.created += 1;
        let name = format!("l{:03}", self.created);
        let lease = lease(&name).by(client).created(self.secs);
        let lease = if requeues { lease.requeues() } else { lease };
        let lease = match target {
            Target::Selector(selector) => lease.wants(selector),
            Target::Pinned { exporter, allow_disabled: true } => lease.pinned(exporter).allow_disabled(),
            Target::Pinned { exporter, allow_disabled: false } => lease.pinned(exporter),
        };
        let now = self.secs;
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

    /// Lets time pass. Before the instant that the core asked to be woken at, nothing happens.
    fn wait(&mut self, secs: i64) {
        self.settle();
        if let Some(wake_at) = self.world.wake_at
            && wake_at > at(self.secs + 1)
        {
            let before = wake_at.as_second() - at(0).as_second() - 1;
            self.world.now = at(before.min(self.secs + secs));
            assert_eq!(self.world.decide(), [], "woken too late");
            assert_eq!(rebuilt(&self.world).decide(self.world.now).actions, [], "woken too late");
        }
        self.secs += secs;
        self.world.now = at(self.secs);
    }

    /// What the core decides; a core that knows nothing but the objects decides the same.
    fn decide(&mut self) -> Vec<Action> {
        let sorted = |actions: &[Action]| {
            let mut texts = actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>();
            texts.sort();
            texts
        };
        let fresh = rebuilt(&self.world).decide(self.world.now);
        let actions = self.world.decide();
        assert_eq!(sorted(&actions), sorted(&fresh.actions), "decided, and decided by a new core");
        assert_eq!(self.world.wake_at, fresh.wake_at, "woken, and woken by a new core");
        actions
    }

    fn settle(&mut self) {
        let mut next = Vec::new();
        for _ in 0..50 {
            let mut actions = next;
            if actions.is_empty() {
                actions = self.decide();
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

    fn crash(&mut self, writes: usize) {
        let actions = self.decide();
        let mut left = writes;
        'crashed: for action in &actions {
            let Some(transition) = self.world.transition(action) else { continue };
            for half in halves(transition) {
                if left == 0 {
                    break 'crashed;
                }
                left -= 1;
                self.world.write(action, half);
            }
        }
        self.world.restart();
    }

    fn conflict(&mut self, failing: usize) {
        let actions = self.decide();
        for (index, action) in actions.iter().enumerate() {
            if index == failing {
                self.world.settled(action);
            } else if let Some(transition) = self.world.transition(action) {
                self.world.write(action, transition);
                self.world.settled(action);
            } else {
                // Follows from the one that failed.
                self.world.restart();
                return;
            }
        }
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
        for (name, exporter) in &self.world.exporters {
            let live = self.world.leases.iter().filter(|(_, lease)| !lease.is_ended());
            let holders = live.filter(|(_, lease)| lease.assigned_exporter() == Some(name));
            let holders = holders.map(|(lease, _)| lease.clone()).collect::<Vec<_>>();
            let claim = exporter.status.as_ref().and_then(|status| status.lease_ref.clone());
            assert_eq!(holders, claim.map(|claim| claim.name).into_iter().collect::<Vec<_>>(), "holders of {name}");
        }
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
            let live = self.world.leases.iter().filter(|(_, lease)| !lease.is_ended());
            let holders = live.filter(|(_, lease)| lease.assigned_exporter().is_some());
            for name in holders.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
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

/// A new core over the same objects.
pub(crate) fn rebuilt(world: &World) -> Lab {
    let mut copy = World::new();
    copy.exporters = world.exporters.clone();
    copy.leases = world.leases.clone();
    copy.policies = world.policies.clone();
    copy.clients = world.clients.clone();
    copy.quotas = world.quotas.clone();
    copy.windows = world.windows.clone();
    copy.owes = world.owes.clone();
    copy.config = world.config.clone();
    copy.restart();
    std::mem::replace(&mut copy.lab, Lab::new(LabConfig::default()))
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_rules(
        grace in select(&[0, 15, 40][..]),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        History::new(grace).run(&steps);
    }

    #[test]
    fn every_contest_keeps_the_rules(
        grace in select(&[0, 15, 40][..]),
        steps in proptest::collection::vec(crowded_step(), 1..60),
    ) {
        History::crowded(grace).run(&steps);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_keeps_the_rules(steps in proptest::collection::vec(planned_step(), 1..60)) {
        History::new(15).run(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn a_cap_is_never_exceeded(
        quotas in proptest::collection::vec(limits(false), 1..4),
        steps in proptest::collection::vec(limited_step(), 1..60),
    ) {
        History::limited(&quotas).run(&steps);
    }

    #[test]
    fn every_history_with_quotas_and_shares_keeps_the_rules(
        steps in proptest::collection::vec(unsteady_step(), 1..60),
    ) {
        History::new(0).run(&steps);
    }
}
