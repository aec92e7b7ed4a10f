//! What counts as a failure of a device, and what does not.

use super::*;

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
