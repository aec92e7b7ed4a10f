//! Writes that take their time: what is told meanwhile does not undo what was decided, and whatever order they end in,
//! no device gets two holders and nobody is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{Exporter, ExporterPhase, Lease};
use jumpstarter_scheduler::{Action, Change, Lab, LabConfig};
use proptest::{prelude::*, sample::select};

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease};

#[test]
fn what_is_told_of_an_object_that_is_being_written_does_not_undo_the_decision() {
    let mut world = World::with(&[exporter("a"), exporter("b")], &[lease("l")]);
    let assign = world.decide().remove(0);
    assert_eq!(assign.exporter(), Some("a"));
    // A late event tells both as they were.
    let (old_lease, old_exporter) = (world.leases["l"].clone(), world.exporters["a"].clone());
    world.put(old_lease);
    world.put(old_exporter);
    assert_eq!(world.decide(), [], "neither given out again nor repaired");
    world.put(lease("next").created(1));
    assert_eq!(world.decide()[0].exporter(), Some("b"), "the first stays taken");
}

#[test]
fn the_truth_counts_once_the_outcome_is_known() {
    let mut world = World::with(&[exporter("a")], &[lease("l")]);
    let assign = world.decide().remove(0);
    world.edit_exporter("a", |exporter| exporter.online(false));
    assert_eq!(world.decide(), []);
    world.settled(&assign);
    let told = world.decide();
    assert!(matches!(&told[..], [Action::Wait { reason, .. }] if reason == "Offline"), "{told:?}");
}

#[test]
fn an_exporter_is_not_given_on_before_it_is_known_to_be_free() {
    let mut world = World::with(&[exporter("a")], &[lease("l")]);
    world.settle();
    world.put(lease("next").created(1));
    world.settle();
    world.edit_lease("l", |lease| lease.spec.release = Some(true));
    let end = world.decide().remove(0);
    assert_eq!((end.lease(), end.exporter()), (Some("l"), Some("a")));
    // Nothing is owed as far as presence knows, but the exporter may be told of the old lease at this very moment.
    world.lab.observe(Change::TearDown { exporter: "a", pending: false });
    assert_eq!(world.decide(), []);
    world.carry_out(&end);
    world.settle();
    world.expect(&[("l", "not Ready/Released on a, ended"), ("next", "Ready/Ready on a")]);
}

#[test]
fn an_exporter_that_comes_back_goes_to_the_eldest_even_while_that_is_being_written() {
    let leases = [lease("eldest"), lease("next").created(1)];
    let mut world = World::with(&[exporter("a").online(false)], &leases);
    world.settle();
    let back = world.exporters["a"].clone().online(true);
    assert!(world.lab.assume(Change::Exporter(&back)));
    // The younger one happens to be looked at again at this moment.
    let next = world.leases["next"].clone();
    world.put(next);
    let actions = world.decide();
    let assigned = actions.iter().find(|action| matches!(action, Action::Assign { .. })).expect("the device is free");
    assert_eq!((assigned.lease(), assigned.exporter()), (Some("eldest"), Some("a")), "{actions:?}");
}

#[test]
fn what_follows_from_an_assumption_is_decided_at_once() {
    let mut world = World::with(&[exporter("a").phase(ExporterPhase::Available)], &[lease("l")]);
    world.settle();
    world.expect(&[("l", "Pending/Preparing on a")]);
    let reported = world.exporters["a"].clone().phase(ExporterPhase::LeaseReady);
    assert!(world.lab.assume(Change::Exporter(&reported)));
    assert!(!world.lab.assume(Change::Exporter(&reported)), "one write of an object at a time");
    assert_eq!(world.decide(), [Action::MakeReady { lease: "l".into() }]);
    // The write failed.
    world.lab.settle_exporter("a");
    world.settled(&Action::MakeReady { lease: "l".into() });
    let truth = world.exporters["a"].clone();
    world.put(truth);
    assert_eq!(world.decide(), []);
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Create {
        target: &'static str,
    },
    Release {
        lease: usize,
    },
    Delete {
        lease: usize,
    },
    Turn {
        exporter: &'static str,
        turn: Turn,
    },
    TornDown {
        exporter: &'static str,
    },
    /// Events of everything, late or repeated.
    Repeat,
    Wait {
        secs: i64,
    },
    Decide,
    /// A write begins, if nothing it names is being written.
    Launch {
        index: usize,
    },
    /// A write ends. It fails when the objects changed under it, or for reasons of its own.
    Land {
        index: usize,
        fails: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Online(bool),
    Phase(ExporterPhase),
    Board(&'static str),
}

const EXPORTERS: [&str; 3] = ["a", "b", "c"];

fn step() -> impl Strategy<Value = Step> {
    let phases = [ExporterPhase::Available, ExporterPhase::LeaseReady, ExporterPhase::AfterLeaseHook];
    let turn = prop_oneof![
        any::<bool>().prop_map(Turn::Online),
        select(phases.to_vec()).prop_map(Turn::Phase),
        select(&["x", "y"][..]).prop_map(Turn::Board),
    ];
    prop_oneof![
        6 => select(&["board=x", "board=y", "board"][..]).prop_map(|target| Step::Create { target }),
        4 => any::<usize>().prop_map(|lease| Step::Release { lease }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        5 => (select(&EXPORTERS[..]), turn).prop_map(|(exporter, turn)| Step::Turn { exporter, turn }),
        5 => select(&EXPORTERS[..]).prop_map(|exporter| Step::TornDown { exporter }),
        2 => Just(Step::Repeat),
        2 => (1..30_i64).prop_map(|secs| Step::Wait { secs }),
        8 => Just(Step::Decide),
        10 => any::<usize>().prop_map(|index| Step::Launch { index }),
        10 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(index, fails)| Step::Land { index, fails }),
    ]
}

/// Objects that a write is conditional on.
type Seen = (Option<Lease>, Option<Exporter>);

/// One history. Actions that name the same object wait for each other, as in the runtime.
struct History {
    world: World,
    secs: i64,
    created: usize,
    waiting: Vec<Action>,
    flying: Vec<(Action, Seen)>,
}

impl History {
    fn new() -> Self {
        let mut world = World::with(&EXPORTERS.map(exporter), &[]);
        world.tears_down_at_once = false;
        Self { world, secs: 0, created: 0, waiting: Vec::new(), flying: Vec::new() }
    }

    fn live(&self, index: usize) -> Option<String> {
        let live = self.world.leases.iter().filter(|(_, lease)| !lease.is_ended()).collect::<Vec<_>>();
        (!live.is_empty()).then(|| live[index % live.len()].0.clone())
    }

    fn seen(&self, action: &Action) -> Seen {
        let lease = action.lease().and_then(|name| self.world.leases.get(name));
        let exporter = action.exporter().or_else(|| lease?.assigned_exporter());
        (lease.cloned(), exporter.and_then(|name| self.world.exporters.get(name)).cloned())
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create { target } => {
                self.created += 1;
                let name = format!("l{:03}", self.created);
                self.world.put(lease(&name).wants(target).lasting(60).created(self.secs));
            }
            Step::Release { lease } => {
                if let Some(name) = self.live(*lease) {
                    self.world.edit_lease(&name, |lease| lease.spec.release = Some(true));
                }
            }
            Step::Delete { lease } => {
                if let Some(name) = self.live(*lease) {
                    self.world.leases.remove(&name);
                    self.world.lab.observe(Change::LeaseDeleted(&name));
                }
            }
            Step::Turn { exporter, turn } => self.world.edit_exporter(exporter, |exporter| match turn {
                Turn::Online(online) => exporter.online(*online),
                Turn::Phase(phase) => exporter.phase(*phase),
                Turn::Board(board) => exporter.label("board", board),
            }),
            Step::TornDown { exporter } => self.world.confirm_tear_down(exporter),
            Step::Repeat => self.repeat(),
            Step::Wait { secs } => {
                self.secs += secs;
                self.world.now = at(self.secs);
            }
            Step::Decide => self.decide(),
            Step::Launch { index } => self.launch(*index),
            Step::Land { index, fails } => self.land(*index, *fails),
        }
        self.check();
    }

    fn repeat(&mut self) {
        self.world.exporters.values().for_each(|exporter| self.world.lab.observe(Change::Exporter(exporter)));
        self.world.leases.values().for_each(|lease| self.world.lab.observe(Change::Lease(lease)));
        for name in EXPORTERS {
            let pending = self.world.owes.contains(name);
            self.world.lab.observe(Change::TearDown { exporter: name, pending });
        }
    }

    fn decide(&mut self) {
        let actions = self.world.decide();
        self.waiting.extend(actions);
    }

    fn launch(&mut self, index: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let index = index % self.waiting.len();
        let clashes = |other: &Action| {
            (other.lease().is_some() && other.lease() == self.waiting[index].lease())
                || (other.exporter().is_some() && other.exporter() == self.waiting[index].exporter())
        };
        if self.flying.iter().any(|(other, _)| clashes(other)) || self.waiting[..index].iter().any(clashes) {
            return;
        }
        let action = self.waiting.remove(index);
        if self.world.transition(&action).is_none() {
            return self.world.settled(&action);
        }
        let seen = self.seen(&action);
        self.flying.push((action, seen));
    }

    fn land(&mut self, index: usize, fails: bool) {
        if self.flying.is_empty() {
            return;
        }
        let (action, seen) = self.flying.remove(index % self.flying.len());
        if !fails && self.seen(&action) == seen {
            self.world.carry_out(&action);
        } else {
            self.world.settled(&action);
        }
    }

    /// What holds at every moment.
    fn check(&self) {
        let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, lease) in self.world.leases.iter().filter(|(_, lease)| !lease.is_ended()) {
            if let Some(exporter) = lease.assigned_exporter() {
                holders.entry(exporter).or_default().push(name);
            }
        }
        for (exporter, leases) in &holders {
            assert_eq!(leases.len(), 1, "holders of {exporter}: {leases:?}");
        }
    }

    /// Everything under way ends; then the core knows what a new one would know, and serves whoever can be served.
    fn drain(&mut self) {
        for name in EXPORTERS {
            self.world.edit_exporter(name, |exporter| {
                exporter.online(true).phase(ExporterPhase::Available).label("board", if name < "c" { "x" } else { "y" })
            });
        }
        for _ in 0..2 * self.created + 4 {
            while !(self.waiting.is_empty() && self.flying.is_empty()) {
                self.launch(0);
                self.land(0, false);
                self.check();
            }
            let fresh = fresh(&self.world).decide(self.world.now).actions.into_iter().map(|one| format!("{one:?}"));
            let fresh = fresh.collect::<BTreeSet<_>>();
            self.decide();
            let decided = self.waiting.iter().map(|one| format!("{one:?}")).collect::<BTreeSet<_>>();
            assert_eq!(decided, fresh, "decided, and decided by a new core");
            if self.waiting.is_empty() {
                for name in EXPORTERS {
                    self.world.confirm_tear_down(name);
                }
                let live = self.world.leases.iter().filter(|(_, lease)| !lease.is_ended());
                let holders = live.filter(|(_, lease)| lease.assigned_exporter().is_some());
                for name in holders.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                    self.world.edit_lease(&name, |lease| lease.spec.release = Some(true));
                }
                self.decide();
            }
        }
        let left = self.world.leases.iter().filter(|(_, lease)| !lease.is_ended()).map(|(name, _)| name);
        assert_eq!(left.collect::<Vec<_>>(), Vec::<&String>::new(), "never served");
    }
}

/// A new core over the same objects.
fn fresh(world: &World) -> Lab {
    let mut lab = Lab::new(LabConfig::default());
    world.exporters.values().for_each(|exporter| lab.observe(Change::Exporter(exporter)));
    world.leases.values().for_each(|lease| lab.observe(Change::Lease(lease)));
    world.clients.values().for_each(|client| lab.observe(Change::Client(client)));
    for exporter in &world.owes {
        lab.observe(Change::TearDown { exporter, pending: true });
    }
    lab
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn writes_may_end_in_any_order(steps in proptest::collection::vec(step(), 1..80)) {
        let mut history = History::new();
        for step in &steps {
            history.take(step);
        }
        history.drain();
    }
}
