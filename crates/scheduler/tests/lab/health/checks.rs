//! Checks, and what follows from them.

use super::*;

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

/// One that came just too late waits until the device is idle again.
#[test]
fn nobody_makes_way_for_a_check() {
    let mut world = World::with(&[exporter("a")], &[lease("user")]).with_grace(60);
    world.put(policy("p", "", &[rule("", 0).spot()]));
    world.settle();
    world.put(lease("check-a-1").by(transition::MAINTENANCE_CLIENT).pinned("a").created(1));
    world.settle_at(1);
    world.expect(&[("user", "Ready/Ready on a"), ("check-a-1", "Pending/NotAvailable")]);
    assert!(world.leases["user"].status.as_ref().unwrap().conditions.iter().all(|it| it.type_ != "Preempting"));
}
