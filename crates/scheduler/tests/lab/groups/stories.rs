//! Random stories of labs with groups, with crashes, against the [oracle](super::oracle); and with reservations, windows
//! and quotas, of which that knows nothing, against a core that is built anew from the objects.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{LeaseGroup, condition::is_true};
use proptest::{prelude::*, sample::select};

use super::{oracle, *};
use crate::{
    kit::{PHASES, client, window},
    oracle::{granted, suits, waits},
};

#[derive(Clone, Debug)]
enum Step {
    Group { client: &'static str, wants: Vec<&'static str>, same: bool, secs: i64, missing: usize, begins: Option<i64> },
    Single { client: &'static str, wants: &'static str, secs: i64 },
    Release { lease: usize },
    Delete { lease: usize },
    Last { lease: usize, secs: i64 },
    Online { exporter: &'static str, online: bool },
    Phase { exporter: &'static str, phase: ExporterPhase },
    Label { exporter: &'static str, key: &'static str, value: &'static str },
    Gone { exporter: &'static str },
    Policy { name: &'static str, exporters: &'static str, priorities: (i64, i64), at_most: Option<i64> },
    NoPolicy { name: &'static str },
    TornDown { exporter: &'static str },
    Wait { secs: i64 },
    Settle,
    Crash { writes: usize },
    Conflict { action: usize },
    Ahead { client: &'static str, wants: &'static str, begins: i64, secs: i64 },
    Window { name: &'static str, begin: i64, secs: i64 },
    NoWindow { name: &'static str },
    Quota { devices: i64 },
    NoQuota,
}

const EXPORTERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const CLIENTS: [&str; 2] = ["alice", "bob"];
const WANTS: [&str; 4] = ["board=x", "board=x", "board=y", "board"];

fn step() -> impl Strategy<Value = Step> {
    let exporter = || select(&EXPORTERS[..]);
    let client = || select(&CLIENTS[..]);
    let group = (
        client(),
        proptest::collection::vec(select(&WANTS[..]), 1..4),
        any::<bool>(),
        5..150_i64,
        prop_oneof![8 => Just(0_usize), 1 => Just(1)],
        proptest::option::weighted(0.1, -10..40_i64),
    );
    prop_oneof![
        6 => group.prop_map(|(client, wants, same, secs, missing, begins)| {
            Step::Group { client, wants, same, secs, missing, begins }
        }),
        8 => (client(), select(&WANTS[..]), 5..150_i64)
            .prop_map(|(client, wants, secs)| Step::Single { client, wants, secs }),
        5 => any::<usize>().prop_map(|lease| Step::Release { lease }),
        1 => any::<usize>().prop_map(|lease| Step::Delete { lease }),
        1 => (any::<usize>(), 1..200_i64).prop_map(|(lease, secs)| Step::Last { lease, secs }),
        2 => (exporter(), any::<bool>()).prop_map(|(exporter, online)| Step::Online { exporter, online }),
        2 => (exporter(), select(&PHASES[..])).prop_map(|(exporter, phase)| Step::Phase { exporter, phase }),
        1 => (exporter(), select(&["x", "y"][..]))
            .prop_map(|(exporter, value)| Step::Label { exporter, key: "board", value }),
        1 => (exporter(), select(&["1", "2"][..]))
            .prop_map(|(exporter, value)| Step::Label { exporter, key: "rack", value }),
        1 => exporter().prop_map(|exporter| Step::Gone { exporter }),
        2 => (
            select(&["p", "q"][..]),
            select(&["", "board=x", "rack=1"][..]),
            (-1..3_i64, -1..3_i64),
            proptest::option::weighted(0.3, 20..150_i64),
        )
            .prop_map(|(name, exporters, priorities, at_most)| Step::Policy { name, exporters, priorities, at_most }),
        1 => select(&["p", "q"][..]).prop_map(|name| Step::NoPolicy { name }),
        8 => exporter().prop_map(|exporter| Step::TornDown { exporter }),
        4 => (1..40_i64).prop_map(|secs| Step::Wait { secs }),
        10 => Just(Step::Settle),
        3 => (0..12_usize).prop_map(|writes| Step::Crash { writes }),
        2 => (0..6_usize).prop_map(|action| Step::Conflict { action }),
    ]
}

/// The same in a lab in which more is asked for than devices.
fn crowded_step() -> impl Strategy<Value = Step> {
    let windows = || select(&["v", "w"][..]);
    prop_oneof![
        40 => step(),
        6 => (select(&CLIENTS[..]), select(&WANTS[..]), 5..90_i64, 5..60_i64)
            .prop_map(|(client, wants, begins, secs)| Step::Ahead { client, wants, begins, secs }),
        2 => (windows(), 1..60_i64, 5..40_i64).prop_map(|(name, begin, secs)| Step::Window { name, begin, secs }),
        1 => windows().prop_map(|name| Step::NoWindow { name }),
        1 => (1..5_i64).prop_map(|devices| Step::Quota { devices }),
        1 => Just(Step::NoQuota),
    ]
}

struct Story {
    world: World,
    created: usize,
    /// Groups that have become ready.
    opened: BTreeSet<String>,
    /// Whether the oracle knows all that there is.
    foretold: bool,
}

impl Story {
    fn new(foretold: bool) -> Self {
        let place = |name: &str| {
            let board = if matches!(name, "a" | "b" | "d") { "x" } else { "y" };
            device(name, board, if name < "d" { "1" } else { "2" })
        };
        let mut world = World::with(&EXPORTERS.map(place), &[]);
        world.put(client("bob", &[("team", "b")]));
        world.tears_down_at_once = false;
        Self { world, created: 0, opened: BTreeSet::new(), foretold }
    }

    fn run(mut self, steps: &[Step]) {
        for step in steps {
            self.take(step);
        }
        self.settle();
        self.world.delete_quota("q");
        for name in ["v", "w"] {
            self.world.delete_window(name);
        }
        self.drain();
    }

    fn edit(&mut self, exporter: &str, edit: impl FnOnce(Exporter) -> Exporter) {
        if !self.world.exporters.contains_key(exporter) {
            self.world.put(device(exporter, "x", "1"));
        }
        self.world.edit_exporter(exporter, edit);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Group { client, wants, same, secs, missing, begins } => {
                self.created += 1;
                let group = format!("g{:03}", self.created);
                let same: &[&str] = if *same { &["rack"] } else { &[] };
                for (number, one) in wants.iter().enumerate().skip(*missing) {
                    let lease = lease(&format!("{group}-{number}")).by(client).wants(one).created(self.world.secs());
                    let lease = lease.lasting(*secs).in_group(&group, wants.len(), same);
                    self.world.put(match begins {
                        Some(begin) => lease.begins(self.world.secs() + begin),
                        None => lease,
                    });
                }
            }
            Step::Single { client, wants, secs } => {
                self.created += 1;
                let lease = lease(&format!("l{:03}", self.created)).by(client).wants(wants).created(self.world.secs());
                self.world.put(lease.lasting(*secs));
            }
            Step::Release { lease } => {
                if let Some(name) = self.world.pick(*lease) {
                    self.world.edit_lease(&name, |lease| lease.spec.release = Some(true));
                }
            }
            Step::Delete { lease } => {
                if let Some(name) = self.world.pick(*lease) {
                    self.world.delete_lease(&name);
                }
            }
            Step::Last { lease, secs } => {
                if let Some(name) = self.world.pick(*lease) {
                    self.world.edit_lease(&name, |lease| *lease = lease.clone().lasting(*secs));
                }
            }
            Step::Online { exporter, online } => self.edit(exporter, |exporter| exporter.online(*online)),
            Step::Phase { exporter, phase } => self.edit(exporter, |exporter| exporter.phase(*phase)),
            Step::Label { exporter, key, value } => self.edit(exporter, |exporter| exporter.label(key, value)),
            Step::Gone { exporter } => self.world.delete_exporter(exporter),
            Step::Policy { name, exporters, priorities, at_most } => {
                let first = rule("team=b", priorities.0);
                let first = at_most.map_or(first.clone(), |secs| first.at_most(secs));
                self.world.put(policy(name, exporters, &[first, rule("team=a", priorities.1)]));
            }
            Step::NoPolicy { name } => self.world.delete_policy(name),
            Step::TornDown { exporter } => self.world.confirm_tear_down(exporter),
            Step::Wait { secs } => {
                self.settle();
                self.world.pass(*secs);
            }
            Step::Settle => self.settle(),
            Step::Crash { writes } => {
                self.world.crash(*writes, |world, action| check_opening(world, &mut self.opened, action));
            }
            Step::Conflict { action } => {
                self.world.conflict(*action, |world, action| check_opening(world, &mut self.opened, action));
            }
            Step::Ahead { client, wants, begins, secs } => {
                self.created += 1;
                let lease = lease(&format!("r{:03}", self.created)).by(client).wants(wants).created(self.world.secs());
                self.world.put(lease.begins(self.world.secs() + begins).lasting(*secs));
            }
            Step::Window { name, begin, secs } => self.world.put(window(name, self.world.secs() + begin, *secs)),
            Step::NoWindow { name } => self.world.delete_window(name),
            Step::Quota { devices } => self.world.put(quota("q").devices(*devices)),
            Step::NoQuota => self.world.delete_quota("q"),
        }
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            let actions = self.world.decide_as_rebuilt();
            let gives = |action: &&Action| matches!(action, Action::Assign { .. } | Action::Claim { .. });
            let tells = |action: &&Action| matches!(action, Action::Wait { .. } | Action::Refuse { .. });
            let first = actions
                .iter()
                .position(|action| gives(&action))
                .unwrap_or_else(|| actions.iter().rposition(|action| !tells(&action)).map_or(0, |last| last + 1));
            actions[..first].iter().for_each(|action| self.carry_out(action));
            // Which member of a group gets which of its devices is not said.
            let whose = |lease: &str| {
                let group = LeaseGroup::name_of(&self.world.leases[lease].metadata);
                group.unwrap_or(lease).to_owned()
            };
            let given = actions.iter().filter(gives).map(|one| (one.lease().unwrap(), one.exporter().unwrap()));
            let given = given.inspect(|(lease, exporter)| self.check_fit(lease, exporter));
            let given = given.map(|(lease, exporter)| (whose(lease), exporter.to_owned())).collect::<BTreeSet<_>>();
            if self.foretold {
                let expected = oracle::outcome(&self.world).into_iter();
                let expected = expected.map(|(lease, exporter)| (whose(&lease), exporter)).collect();
                assert_eq!(given, expected, "who gets what, and who should");
            }
            actions[first..].iter().for_each(|action| self.carry_out(action));
            if actions.is_empty() {
                return self.check();
            }
        }
        panic!("never settles");
    }

    fn check_fit(&self, lease: &str, exporter: &str) {
        let (lease, exporter) = (&self.world.leases[lease], &self.world.exporters[exporter]);
        let fits = suits(lease, exporter) && granted(&self.world, lease, exporter).is_some();
        assert!(fits, "{:?} is given to {:?}", exporter.metadata.name, lease.metadata.name);
    }

    fn carry_out(&mut self, action: &Action) {
        check_opening(&self.world, &mut self.opened, action);
        self.world.carry_out(action);
    }

    /// What holds whenever everything is written.
    fn check(&self) {
        self.world.check_holders();
        for lease in self.world.leases.values() {
            let Some(Ok(says)) = LeaseGroup::of(&lease.metadata) else { continue };
            let members = members(&self.world, &says.name);
            let live = members.values().filter(|lease| !lease.is_ended()).collect::<Vec<_>>();
            let holds = live.iter().filter(|lease| lease.assigned_exporter().is_some()).count();
            let ready = live
                .iter()
                .any(|lease| lease.status.as_ref().is_some_and(|status| is_true(&status.conditions, "Ready")));
            assert!(ready || holds == 0 || holds == says.size, "{holds} of {} are served", says.name);
            assert!(!ready || holds == live.len(), "some of {} wait, others are ready", says.name);
        }
    }

    /// In the end everything works, everybody lets go in turn, and everybody who can be served was.
    fn drain(&mut self) {
        for name in EXPORTERS {
            self.edit(name, |exporter| exporter.online(true).phase(ExporterPhase::Available));
        }
        for _ in 0..self.world.leases.len() + 2 {
            for name in EXPORTERS {
                self.world.confirm_tear_down(name);
            }
            self.settle();
            // One after the other, so that devices come free one by one.
            let Some(name) = self.world.holders().into_iter().next() else {
                if self.world.owes.is_empty() {
                    break;
                }
                continue;
            };
            self.world.edit_lease(&name, |lease| lease.spec.release = Some(true));
            self.settle();
            self.world.now = at(self.world.secs() + 1);
        }
        if !self.foretold {
            // Some wait for what is reserved.
            return;
        }
        let waiting = self.world.leases.values().filter(|lease| waits(lease, self.world.now));
        for lease in waiting.filter(|lease| LeaseGroup::name_of(&lease.metadata).is_none()) {
            let servable = self.world.exporters.values();
            let mut servable =
                servable.filter(|exporter| suits(lease, exporter) && granted(&self.world, lease, exporter).is_some());
            assert!(servable.next().is_none(), "{:?} was never served", lease.metadata.name);
        }
    }
}

/// When the first of a group is ready, all of its leases hold devices, with equal labels when they were given out.
fn check_opening(world: &World, opened: &mut BTreeSet<String>, action: &Action) {
    let (Action::MakeReady { lease } | Action::Assign { lease, ready: true, .. }) = action else { return };
    let Some(Ok(says)) = LeaseGroup::of(&world.leases[lease].metadata) else { return };
    if opened.insert(says.name.clone()) {
        let members = members(world, &says.name);
        let holders = members.values().filter(|lease| !lease.is_ended() && lease.assigned_exporter().is_some());
        assert_eq!(holders.count(), says.size, "members of {} that hold something", says.name);
    }
}

fn members<'a>(world: &'a World, group: &str) -> BTreeMap<&'a String, &'a Lease> {
    let leases = world.leases.iter();
    leases.filter(|(_, lease)| LeaseGroup::name_of(&lease.metadata) == Some(group)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn every_story_of_groups_keeps_the_rules(steps in proptest::collection::vec(step(), 1..60)) {
        Story::new(true).run(&steps);
    }

    #[test]
    fn what_is_kept_back_is_the_same_after_a_restart(steps in proptest::collection::vec(crowded_step(), 1..60)) {
        Story::new(false).run(&steps);
    }
}
