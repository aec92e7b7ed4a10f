//! When a device is quarantined, and for how long.

use super::*;

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
