//! Devices that fail: what counts, who is quarantined, and how that ends. The names are sentences of
//! `docs/scheduling.md`.

use jumpstarter_model::{ExporterPhase, LeaseFailure, condition};
use jumpstarter_scheduler::{Action, CandidateReason, LiftCause, QuarantineCause, health, transition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease};

const HOUR: i64 = 3600;

impl World {
    /// A report of the exporter, stored as the service does.
    pub(crate) fn report(&mut self, name: &str, phase: ExporterPhase) {
        let now = self.now;
        self.edit_exporter(name, |mut exporter| {
            let status = exporter.status.get_or_insert_default();
            let was = status.exporter_status.replace(phase);
            status.status_message = Some("said so".to_owned());
            health::reported(status, was, now);
            exporter
        });
    }

    /// The connection to the exporter is lost, stored as the service does.
    pub(crate) fn lose(&mut self, name: &str) {
        let now = self.now;
        self.edit_exporter(name, |exporter| {
            let mut exporter = exporter.online(false);
            let status = exporter.status.get_or_insert_default();
            status.exporter_status = Some(ExporterPhase::Offline);
            health::connection_lost(status, now);
            exporter
        });
    }

    pub(crate) fn release(&mut self, lease: &str) {
        self.edit_lease(lease, |lease| lease.spec.release = Some(true));
        self.settle();
    }

    pub(crate) fn annotate(&mut self, name: &str, key: &str, value: Option<&str>) {
        self.edit_exporter(name, |mut exporter| {
            let annotations = exporter.metadata.annotations.get_or_insert_default();
            match value {
                Some(value) => _ = annotations.insert(key.to_owned(), value.to_owned()),
                None => _ = annotations.remove(key),
            }
            exporter
        });
        self.settle();
    }

    pub(crate) fn score(&self, name: &str) -> i32 {
        self.exporters[name].status.as_ref().and_then(|status| status.health.as_ref()).map_or(0, |health| health.score)
    }

    fn failures(&self, name: &str) -> Vec<String> {
        let health = self.exporters[name].status.as_ref().and_then(|status| status.health.clone()).unwrap_or_default();
        health.failures.into_iter().map(|failure| format!("{} {}", failure.reason, failure.lease)).collect()
    }

    /// What the exporter's condition says, `-` when there is none.
    pub(crate) fn quarantine(&self, name: &str) -> String {
        let conditions = &self.exporters[name].status.as_ref().unwrap().conditions;
        condition::find(conditions, "Quarantined")
            .map_or("-".to_owned(), |found| format!("{} {}", found.status, found.reason))
    }

    /// One lease pinned to the exporter from begin to end; its hook fails or it does not.
    pub(crate) fn turn(&mut self, name: &str, lease_name: &str, fails: bool) {
        let created = self.now.as_second() - at(0).as_second();
        self.put(lease(lease_name).pinned(name).allow_disabled().created(created).lasting(HOUR));
        self.settle();
        assert_eq!(self.leases[lease_name].assigned_exporter(), Some(name), "{}", self.state(lease_name));
        self.play(name, lease_name, fails);
    }

    /// Goes through with a lease that has the exporter.
    pub(crate) fn play(&mut self, name: &str, lease: &str, fails: bool) {
        self.report(name, ExporterPhase::BeforeLeaseHook);
        self.settle();
        self.report(name, if fails { ExporterPhase::BeforeLeaseHookFailed } else { ExporterPhase::LeaseReady });
        self.settle();
        if self.leases.get(lease).is_some_and(|lease| !lease.is_ended()) {
            self.release(lease);
        }
        self.report(name, ExporterPhase::Available);
        self.settle();
    }

    fn fail(&mut self, name: &str, times: usize) {
        for time in 0..times {
            let lease = format!("bad-{name}-{}-{time}", self.leases.len());
            self.turn(name, &lease, true);
        }
    }
}

/// Exporters `a`, `b` …, idle and reporting.
fn idle(count: usize) -> World {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let exporters = names[..count].iter().map(|name| exporter(name).phase(ExporterPhase::Available));
    World::with(&exporters.collect::<Vec<_>>(), &[])
}

fn unchecked(count: usize) -> World {
    let mut world = idle(count);
    world.config.quarantine.checks = false;
    world.restart();
    world
}

#[test]
fn a_failed_hook_counts_once_and_whoever_tells_it_again() {
    let mut world = idle(2);
    world.turn("a", "l", true);
    assert_eq!(world.failures("a"), ["BeforeLeaseHookFailed l"]);
    assert_eq!(world.score("a"), 20);
    world.report("a", ExporterPhase::Available);
    world.restart();
    world.settle();
    world.put(lease("m").pinned("a").created(5));
    world.settle();
    world.report("a", ExporterPhase::LeaseReady);
    world.release("m");
    assert_eq!(world.score("a"), 20, "the tear-down is not over");
    world.report("a", ExporterPhase::AfterLeaseHook);
    world.report("a", ExporterPhase::AfterLeaseHookFailed);
    world.report("a", ExporterPhase::AfterLeaseHookFailed);
    world.report("a", ExporterPhase::Available);
    assert_eq!(world.failures("a"), ["BeforeLeaseHookFailed l", "AfterLeaseHookFailed m"]);
    assert_eq!(world.score("a"), 36);
}

#[test]
fn a_lost_connection_counts_while_somebody_holds_the_device() {
    let mut world = idle(2);
    world.lose("a");
    assert_eq!(world.score("a"), 0);
    world.edit_exporter("a", |exporter| exporter.online(true).phase(ExporterPhase::Available));
    world.put(lease("l").pinned("a"));
    world.settle();
    world.report("a", ExporterPhase::LeaseReady);
    world.lose("a");
    world.settle();
    assert_eq!(world.failures("a"), ["ConnectionLost l"]);
    world.release("l");
    assert_eq!(world.score("a"), 20, "a lease fails once");
}

#[test]
fn a_session_that_never_begins_counts_after_a_minute() {
    for (known, secs, failures) in [(true, 61, 1), (true, 30, 0), (false, 61, 0)] {
        let mut world = idle(2);
        if known {
            world.turn("a", "earlier", false);
        }
        world.put(lease("l").pinned("a"));
        world.settle();
        world.settle_at(10);
        world.expect(&[("l", "Ready/Ready on a")]);
        world.settle_at(secs);
        world.release("l");
        assert_eq!(world.failures("a").len(), failures, "known {known}, after {secs} s");
    }
}

#[test]
fn what_users_do_never_counts() {
    let mut world = idle(2);
    for number in 0..6 {
        // Released before it was ready, while the hook was running, and when its time was over.
        let name = format!("l{number}");
        world.put(lease(&name).pinned("a").lasting(100).created(100 * number));
        world.settle_at(100 * number);
        if number % 3 == 1 {
            world.report("a", ExporterPhase::BeforeLeaseHook);
        }
        if number % 3 == 2 {
            world.report("a", ExporterPhase::LeaseReady);
            world.settle_at(100 * number + 100);
        } else {
            world.release(&name);
        }
        if number % 3 == 1 {
            // The hook that was killed for that.
            world.report("a", ExporterPhase::BeforeLeaseHookFailed);
        }
        world.report("a", ExporterPhase::Available);
        world.settle();
        assert_eq!((world.score("a"), world.quarantine("a")), (0, "-".to_owned()), "{name}");
    }
}

#[test]
fn exporters_that_never_report_are_never_blamed_for_silence() {
    let mut world = World::with(&["a", "b"].map(exporter), &[]);
    for number in 0..6 {
        let name = format!("l{number}");
        world.put(lease(&name).pinned("a").created(200 * number));
        world.settle_at(200 * number);
        world.settle_at(200 * number + 150);
        world.release(&name);
    }
    assert!(world.exporters["a"].status.as_ref().unwrap().health.is_none());
}

#[test]
fn a_device_that_always_fails_is_quarantined_after_three_leases() {
    let mut world = unchecked(2);
    world.fail("a", 2);
    assert_eq!(world.quarantine("a"), "-");
    world.fail("a", 1);
    assert_eq!(world.quarantine("a"), "True HookFailures");
    let conditions = &world.exporters["a"].status.as_ref().unwrap().conditions;
    let message = &condition::find(conditions, "Quarantined").unwrap().message;
    assert!(message.contains("bad-a-2-0") && message.contains("said so"), "{message}");
    assert!(message.starts_with(&format!("Quarantined until {}", at(HOUR))), "{message}");
    // The other one, although it was used later.
    world.turn("b", "x", false);
    world.put(lease("l").created(9));
    world.settle();
    world.expect(&[("l", "Pending/Preparing on b")]);
    world.put(lease("m").created(10));
    world.settle();
    world.expect(&[("m", "Pending/NotAvailable")]);
    assert_eq!(world.lab.quarantined(), 1);
}

#[test]
fn a_device_that_fails_now_and_then_is_quarantined_when_failures_crowd() {
    // Every other lease of a bad day; one in ten is what happens.
    let mut world = unchecked(2);
    let mut turns = 0;
    while world.quarantine("a") == "-" && turns < 20 {
        turns += 1;
        let lease = format!("l{turns}");
        world.turn("a", &lease, turns % 2 == 0 || turns % 3 == 0);
    }
    assert!((4..=12).contains(&turns), "{turns}");
    for turn in 0..100 {
        let lease = format!("m{turn}");
        world.turn("b", &lease, turn % 10 == 0);
    }
    assert_eq!(world.quarantine("b"), "-");
}

#[test]
fn a_quarantine_ends_by_itself_and_one_more_failure_brings_the_next_twice_as_long() {
    let mut world = unchecked(2);
    world.fail("a", 3);
    assert_eq!(world.wake_at, Some(at(HOUR)));
    world.settle_at(HOUR - 1);
    assert_eq!(world.quarantine("a"), "True HookFailures");
    let lifted = world.settle_at(HOUR);
    let expected =
        Action::LiftQuarantine { exporter: "a".into(), cause: LiftCause::Over, score: Some(44), heeded: None };
    assert_eq!(lifted, [expected]);
    assert_eq!(world.quarantine("a"), "False QuarantineOver");
    world.fail("a", 1);
    assert_eq!(world.quarantine("a"), "True HookFailures");
    assert_eq!(world.wake_at, Some(at(3 * HOUR)));
    world.settle_at(3 * HOUR);
    world.turn("a", "well", false);
    assert_eq!(world.quarantine("a"), "False QuarantineOver");
    assert_eq!(world.score("a"), 35);
}

#[test]
fn a_passing_check_lifts_a_quarantine() {
    let mut world = idle(2);
    world.fail("a", 3);
    world.settle_at(HOUR);
    let check = world.leases.keys().find(|name| name.starts_with("check-a-")).cloned().unwrap();
    assert_eq!(world.leases[&check].spec.client_ref.name, transition::MAINTENANCE_CLIENT);
    assert_eq!(world.leases[&check].assigned_exporter(), Some("a"));
    assert_eq!(world.quarantine("a"), "True HookFailures");
    world.report("a", ExporterPhase::BeforeLeaseHook);
    world.settle_at(HOUR + 200);
    assert!(!world.leases[&check].is_ended(), "a hook may take its time");
    world.play("a", &check, false);
    assert!(world.leases[&check].is_ended());
    assert_eq!((world.quarantine("a").as_str(), world.score("a")), ("False CheckPassed", 0));
}

#[test]
fn a_failing_check_prolongs_it() {
    let mut world = idle(2);
    world.fail("a", 3);
    world.settle_at(HOUR);
    let check = world.leases.keys().find(|name| name.starts_with("check-a-")).cloned().unwrap();
    world.play("a", &check, true);
    assert_eq!(world.quarantine("a"), "True CheckFailed");
    assert_eq!(world.wake_at, Some(at(3 * HOUR)));
    world.settle_at(3 * HOUR);
    let again = world.leases.keys().filter(|name| name.starts_with("check-a-")).count();
    assert_eq!(again, 2);
}

#[test]
fn a_check_that_tells_nothing_is_as_good_as_none() {
    let mut world = idle(2);
    world.fail("a", 3);
    world.settle_at(HOUR);
    // It never says that it is ready, and never has.
    world.settle_at(HOUR + 60);
    assert_eq!(world.quarantine("a"), "False QuarantineOver");
    assert_eq!(world.score("a"), 44);
}

#[test]
fn checks_are_few_at_a_time_and_each_gets_its_turn() {
    let mut world = idle(10);
    world.config.quarantine.share = 100;
    world.config.quarantine.checks_at_once = 2;
    world.restart();
    for name in ["a", "b", "c", "d", "e"] {
        world.fail(name, 3);
    }
    world.now = at(HOUR);
    for _ in 0..5 {
        world.settle();
        let live = world.leases.iter().filter(|(name, lease)| name.starts_with("check-") && !lease.is_ended());
        let live = live.map(|(name, lease)| (name.clone(), lease.assigned_exporter().map(str::to_owned)));
        let live = live.collect::<Vec<_>>();
        assert!(live.len() <= 2, "{live:?}");
        let Some((check, Some(exporter))) = live.first() else { continue };
        world.play(&exporter.clone(), &check.clone(), false);
    }
    assert_eq!(world.lab.quarantined(), 0);
}

#[test]
fn an_operator_may_ask_for_a_check() {
    let mut world = idle(3);
    world.annotate("a", transition::CHECK, Some("1"));
    let check = world.leases.keys().next().cloned().unwrap();
    world.play("a", &check, true);
    assert_eq!(world.quarantine("a"), "True CheckFailed");
    // The same request is heeded once, also by another core.
    world.restart();
    world.settle();
    assert_eq!(world.leases.len(), 1);
    world.annotate("a", transition::CHECK, Some("2"));
    let check = world.leases.keys().find(|name| **name != check).cloned().unwrap();
    world.play("a", &check, false);
    assert_eq!(world.quarantine("a"), "False CheckPassed");
}

#[test]
fn a_check_that_is_asked_for_while_somebody_has_the_device_comes_after_that() {
    let mut world = idle(2);
    world.put(lease("l").pinned("a").created(1));
    world.settle();
    world.report("a", ExporterPhase::LeaseReady);
    world.annotate("a", transition::CHECK, Some("1"));
    world.expect(&[("l", "Ready/Ready on a")]);
    assert_eq!(world.leases.len(), 1, "nothing is taken from who has it");
    world.release("l");
    world.report("a", ExporterPhase::Available);
    world.settle();
    assert_eq!(world.leases.len(), 2);
}

#[test]
fn to_lift_what_is_not_quarantined_is_to_forget_its_failures() {
    let mut world = unchecked(2);
    world.fail("a", 2);
    assert!(world.score("a") > 0);
    world.annotate("a", transition::LIFT_QUARANTINE, Some("alice"));
    world.annotate("b", transition::LIFT_QUARANTINE, Some("alice"));
    assert_eq!((world.quarantine("a").as_str(), world.score("a")), ("-", 0));
    assert_eq!((world.quarantine("b").as_str(), world.score("b")), ("-", 0));
}

#[test]
fn an_operator_may_quarantine_and_lift() {
    let mut world = idle(1);
    world.put(lease("l").created(1));
    world.settle();
    world.annotate("a", transition::QUARANTINE, Some(&at(50).to_string()));
    // It was there first; running leases stay.
    world.expect(&[("l", "Pending/Preparing on a")]);
    world.report("a", ExporterPhase::LeaseReady);
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);
    assert_eq!(world.quarantine("a"), "True ByHand");
    world.release("l");
    world.report("a", ExporterPhase::Available);
    world.put(lease("m").created(2));
    world.settle();
    world.expect(&[("m", "Pending/Quarantined")]);
    world.settle_at(50);
    world.expect(&[("m", "Pending/Preparing on a")]);
    assert_eq!(world.quarantine("a"), "False QuarantineOver");

    let mut world = unchecked(2);
    world.fail("a", 3);
    world.annotate("a", transition::LIFT_QUARANTINE, Some("alice"));
    assert_eq!((world.quarantine("a").as_str(), world.score("a")), ("False ByHand", 0));
    // Heeded once.
    world.fail("a", 3);
    assert_eq!(world.quarantine("a"), "True HookFailures");
    assert_eq!(world.wake_at, Some(at(HOUR)), "the first in a row again");
    world.annotate("a", transition::QUARANTINE, Some("true"));
    assert_eq!(world.quarantine("a"), "True ByHand");
    world.settle_at(10 * HOUR);
    world.annotate("a", transition::QUARANTINE, None);
    assert_eq!(world.quarantine("a"), "False QuarantineOver");
    world.annotate("a", transition::QUARANTINE, Some("yesterday"));
    assert_eq!(world.quarantine("a"), "True ByHand", "who makes a mistake wants it kept back");
}

#[test]
fn maintainers_may_use_a_quarantined_device() {
    let mut world = idle(1);
    world.annotate("a", transition::QUARANTINE, Some("true"));
    world.put(lease("pinned").pinned("a").created(1));
    world.put(lease("maintainer").pinned("a").allow_disabled().created(2));
    world.settle();
    world.expect(&[("pinned", "Pending/Quarantined"), ("maintainer", "Pending/Preparing on a")]);
}

#[test]
fn never_more_than_the_share_of_a_pool_is_quarantined() {
    let mut world = unchecked(10);
    for name in ["a", "b", "c", "d"] {
        world.fail(name, 3);
    }
    let states = ["a", "b", "c", "d"].map(|name| world.quarantine(name));
    let (out, limited) = ("True HookFailures", "False QuarantineLimited");
    assert_eq!(states, [out, out, limited, limited]);
    // What comes free goes to the worst.
    world.fail("d", 1);
    world.annotate("a", transition::LIFT_QUARANTINE, Some("now"));
    let states = ["a", "b", "c", "d"].map(|name| world.quarantine(name));
    assert_eq!(states, ["False ByHand", out, limited, out]);
    for turn in 0..3 {
        let lease = format!("well{turn}");
        world.turn("c", &lease, false);
    }
    assert_eq!(world.quarantine("c"), "False Recovered");
}

#[test]
fn pools_are_told_apart_by_a_label() {
    let mut world = World::new();
    world.config.quarantine.pool_label = Some("board".to_owned());
    world.restart();
    for (name, board) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("e", "z")] {
        world.put(exporter(name).label("board", board).phase(ExporterPhase::Available));
    }
    for name in ["a", "c", "d", "e"] {
        world.fail(name, 3);
    }
    let states = ["a", "b", "c", "d", "e"].map(|name| world.quarantine(name));
    let (out, limited) = ("True HookFailures", "False QuarantineLimited");
    assert_eq!(states, [out, "-", out, limited, limited], "one of two, and never the only one");
}

#[test]
fn quarantines_by_hand_use_up_the_share() {
    let mut world = unchecked(10);
    world.annotate("i", transition::QUARANTINE, Some("true"));
    world.annotate("j", transition::QUARANTINE, Some("true"));
    world.fail("a", 3);
    assert_eq!(world.quarantine("a"), "False QuarantineLimited");
    world.annotate("i", transition::QUARANTINE, None);
    assert_eq!(world.quarantine("a"), "True HookFailures");
}

#[test]
fn a_quarantined_device_saves_no_spot_lease_and_promises_nothing_for_sure() {
    let mut world = unchecked(2);
    world.fail("a", 3);
    world.put(lease("holder").wants("board=x").created(1));
    world.settle();
    world.put(lease("l").created(2));
    world.settle();
    let why = world.lab.why("l", &jumpstarter_scheduler::WhatIf::default(), world.now).unwrap();
    let candidates = why.explanation.candidates.iter().map(|one| (one.exporter.as_str(), one.reason.clone()));
    assert_eq!(
        candidates.collect::<Vec<_>>(),
        [
            ("a", CandidateReason::Quarantined { reason: "HookFailures".into(), until: Some(at(HOUR)) }),
            ("b", CandidateReason::Leased("holder".into()))
        ]
    );
    let message = &why.explanation.candidates[0].message;
    assert_eq!(*message, format!("a is quarantined (HookFailures) until {}", at(HOUR)));
    world.edit_lease("holder", |lease| *lease = lease.clone().lasting(5 * HOUR));
    world.settle();
    let start = world.lab.why("l", &jumpstarter_scheduler::WhatIf::default(), world.now).unwrap().start.unwrap();
    assert_eq!((start.likely, start.latest), (at(HOUR), Some(at(5 * HOUR))));
    // Only the quarantined one is left.
    world.edit_exporter("b", |exporter| exporter.online(false));
    world.settle();
    world.expect(&[("l", "Pending/Quarantined")]);
    let start = world.lab.why("l", &jumpstarter_scheduler::WhatIf::default(), world.now).unwrap().start.unwrap();
    assert_eq!((start.likely, start.latest), (at(HOUR), None));
}

#[test]
fn a_quarantine_that_was_only_half_told_is_told_again() {
    let mut world = unchecked(2);
    world.edit_exporter("a", |mut exporter| {
        let health = exporter.status.get_or_insert_default().health.get_or_insert_default();
        health.score = 60;
        health.failures.push(LeaseFailure {
            reason: "NeverReady".into(),
            time: Some(Time(at(0))),
            ..LeaseFailure::default()
        });
        exporter
    });
    let actions = world.settle();
    let Some(Action::Quarantine { cause: QuarantineCause::Failures, until: Some(until), times: 1, .. }) =
        actions.first()
    else {
        panic!("{actions:?}");
    };
    assert_eq!((*until, world.quarantine("a").as_str()), (at(HOUR), "True LeaseFailures"));
    world.edit_exporter("a", |mut exporter| {
        exporter.status.get_or_insert_default().conditions.retain(|found| found.type_ != "Quarantined");
        exporter
    });
    world.settle();
    assert_eq!(world.quarantine("a"), "True LeaseFailures");
    world.restart();
    assert_eq!(world.settle(), []);
}

#[test]
fn with_a_share_of_nothing_nobody_is_quarantined() {
    let mut world = unchecked(10);
    world.config.quarantine.share = 0;
    world.restart();
    world.fail("a", 9);
    assert_eq!(world.quarantine("a"), "-");
}

#[test]
fn the_smallest_share_is_one_device_and_the_largest_all() {
    for (share, out) in [(1, 1), (100, 4)] {
        let mut world = unchecked(4);
        world.config.quarantine.share = share;
        world.restart();
        for name in ["a", "b", "c", "d"] {
            world.fail(name, 3);
        }
        let states = ["a", "b", "c", "d"].map(|name| world.quarantine(name));
        assert_eq!(states.iter().filter(|state| state.starts_with("True")).count(), out, "{share} %: {states:?}");
    }
}
