//! Spot leases and who makes way for whom. The names are sentences of `docs/scheduling.md`.

use jumpstarter_model::{ExporterPhase, Lease};
use jumpstarter_scheduler::{Action, transition};

use crate::kit::{ExporterExt as _, LeaseExt as _, RuleExt as _, World, at, exporter, lease, policy, rule, window};

/// Alice, of team a, has spot access to the exporters of `board=x`; bob, of team b, has them in full right.
fn lab(exporters: &[&str], leases: &[Lease]) -> World {
    let exporters = exporters.iter().map(|name| exporter(name)).collect::<Vec<_>>();
    let mut world = World::with(&exporters, &[]);
    world.put(policy("p", "board=x", &[rule("team=b", 0), rule("team=a", 3).spot()]));
    leases.iter().cloned().for_each(|lease| world.put(lease));
    world.settle();
    world
}

/// A lease of bob's.
fn full(name: &str) -> Lease {
    lease(name).by("bob")
}

fn told(actions: &[Action]) -> Vec<&str> {
    let told = actions.iter().filter(|action| matches!(action, Action::GiveNotice { .. }));
    told.filter_map(Action::lease).collect()
}

fn spared(actions: &[Action]) -> Vec<&str> {
    let spared = actions.iter().filter(|action| matches!(action, Action::WithdrawNotice { .. }));
    spared.filter_map(Action::lease).collect()
}

const NOTICED: &str = "Preempting/PreemptionNotice on ";

#[test]
fn a_free_exporter_is_given_as_spot_to_who_has_no_better_access() {
    let world = lab(&["a"], &[lease("spot")]);
    world.expect(&[("spot", "Ready/Ready on a")]);
    let status = world.leases["spot"].status.clone().unwrap();
    assert_eq!((status.spot_access, status.priority), (Some(true), Some(3)));
}

#[test]
fn full_access_comes_before_spot_access_whatever_the_priority() {
    let mut world = World::with(&[exporter("a"), exporter("b").label("kind", "full")], &[]);
    world.put(policy("p", "!kind", &[rule("", 9).spot()]));
    world.put(policy("q", "kind=full", &[rule("", -9)]));
    world.put(lease("l"));
    world.settle();
    world.expect(&[("l", "Ready/Ready on b")]);
    // A younger lease in full right is served before an elder one as spot.
    let world = lab(&["a"], &[lease("spot").created(1), full("full").created(2)]);
    world.expect(&[("full", "Ready/Ready on a"), ("spot", "Pending/NotAvailable")]);
}

#[test]
fn a_spot_lease_makes_way_after_a_notice_and_a_grace() {
    let mut world = lab(&["a"], &[lease("spot")]);
    world.tears_down_at_once = false;
    world.put(full("full").created(10));
    let actions = world.settle_at(10);
    assert_eq!(told(&actions), ["spot"]);
    world.expect(&[("spot", &format!("{NOTICED}a")), ("full", "Pending/NotAvailable")]);
    assert!(world.message("spot").contains("ends at 2027-01-15T08:01:10Z"), "{}", world.message("spot"));
    assert_eq!(world.wake_at, Some(at(70)));
    assert_eq!(world.settle_at(69), []);
    world.settle_at(70);
    world.expect(&[("spot", "not Ready/Preempted on a, ended"), ("full", "Pending/NotAvailable")]);
    world.confirm_tear_down("a");
    world.settle_at(75);
    world.expect(&[("full", "Ready/Ready on a")]);
    assert_eq!(world.leases["full"].status.as_ref().unwrap().spot_access, Some(false));
}

#[test]
fn without_a_grace_there_is_no_notice() {
    let mut world = lab(&["a"], &[lease("spot")]).with_grace(0);
    world.put(full("full").created(10));
    world.settle_at(10);
    world.expect(&[("spot", "not Ready/Preempted on a, ended"), ("full", "Ready/Ready on a")]);
}

#[test]
fn nobody_makes_way_for_a_spot_lease() {
    let mut world = lab(&["a"], &[lease("low")]);
    world.put(policy("q", "board=x", &[rule("team=c", 99).spot()]));
    world.put(crate::kit::client("carol", &[("team", "c")]));
    world.put(lease("high").by("carol").created(1));
    assert_eq!(told(&world.settle()), Vec::<&str>::new());
    world.expect(&[("low", "Ready/Ready on a"), ("high", "Pending/NotAvailable")]);
}

#[test]
fn nobody_in_full_right_makes_way() {
    let mut world = lab(&["a"], &[full("first")]);
    world.put(policy("q", "board=x", &[rule("team=c", 99)]));
    world.put(crate::kit::client("carol", &[("team", "c")]));
    world.put(lease("high").by("carol").created(1));
    assert_eq!(told(&world.settle()), Vec::<&str>::new());
    world.expect(&[("first", "Ready/Ready on a"), ("high", "Pending/NotAvailable")]);
}

#[test]
fn a_free_exporter_saves_everybody() {
    let mut world = lab(&["a", "b"], &[lease("spot")]);
    world.put(full("full").created(1));
    assert_eq!(told(&world.settle()), Vec::<&str>::new());
    world.expect(&[("spot", "Ready/Ready on a"), ("full", "Ready/Ready on b")]);
}

#[test]
fn the_victim_is_the_lowest_priority_then_the_youngest() {
    let mut world = World::with(&["a", "b", "c"].map(exporter), &[]);
    let low = rule("team=a", 1).spot().at_most(60 * 60);
    world.put(policy("p", "board=x", &[rule("team=b", 0), low, rule("team=c", 2).spot()]));
    world.put(crate::kit::client("carol", &[("team", "c")]));
    world.put(lease("old"));
    world.settle_at(0);
    world.put(lease("young").created(1));
    world.settle_at(5);
    world.put(lease("valued").by("carol").created(2));
    world.settle_at(6);
    for (secs, next, victim) in [(10, "f1", "young"), (11, "f2", "old"), (12, "f3", "valued")] {
        world.put(full(next).created(secs));
        assert_eq!(told(&world.settle_at(secs)), [victim], "for {next}");
    }
    world.put(full("f4").created(20));
    assert_eq!(told(&world.settle_at(20)), Vec::<&str>::new(), "nobody is left");
}

#[test]
fn no_more_make_way_than_leases_wait() {
    let mut world = lab(&["a", "b", "c"], &["s1", "s2", "s3"].map(lease));
    world.put(full("f1").created(1));
    world.put(full("f2").created(1));
    assert_eq!(told(&world.settle_at(1)).len(), 2);
    assert_eq!(world.settle_at(2), []);
}

#[test]
fn an_exporter_on_its_way_back_saves_a_spot_lease() {
    let mut world = lab(&["a", "b"], &[full("leaves"), lease("spot")]);
    world.tears_down_at_once = false;
    world.edit_lease("leaves", |lease| *lease = lease.clone().released());
    world.put(full("next").created(1));
    assert_eq!(told(&world.settle_at(1)), Vec::<&str>::new());
    // It does not come back after all.
    world.edit_exporter("a", |exporter| exporter.phase(ExporterPhase::AfterLeaseHookFailed));
    assert_eq!(told(&world.settle_at(2)), ["spot"]);
}

#[test]
fn an_exporter_on_its_way_back_saves_a_spot_lease_also_where_maintenance_is_ahead() {
    let mut world = lab(&["a", "b"], &[lease("s1"), lease("s2")]).with_grace(0);
    world.tears_down_at_once = false;
    world.put(window("w", 100_000, 60));
    world.put(full("full"));
    world.settle_at(10);
    let waits = ("full", "Pending/NotReady");
    world.expect(&[("s1", "Ready/Ready on a"), ("s2", "not Ready/Preempted on b, ended"), waits]);
    world.edit_lease("s1", |lease| lease.spec.tags = None);
    world.settle_at(20);
    world.expect(&[("s1", "Ready/Ready on a"), waits]);
}

#[test]
fn a_lease_that_ends_within_the_grace_saves_a_spot_lease() {
    let mut world = lab(&["a", "b"], &[full("short").lasting(100), lease("spot")]);
    world.put(full("next").created(39));
    assert_eq!(told(&world.settle_at(39)), ["spot"], "61 s to go");
    let mut world = lab(&["a", "b"], &[full("short").lasting(100), lease("spot")]);
    world.put(full("next").created(40));
    assert_eq!(told(&world.settle_at(40)), Vec::<&str>::new(), "60 s to go");
    // It is extended.
    world.edit_lease("short", |lease| *lease = lease.clone().lasting(500));
    assert_eq!(told(&world.settle_at(41)), ["spot"]);
}

#[test]
fn a_notice_is_withdrawn_when_the_need_is_gone() {
    let mut world = lab(&["a"], &[lease("spot")]);
    world.put(full("full").created(1));
    assert_eq!(told(&world.settle_at(1)), ["spot"]);
    world.edit_lease("full", |lease| *lease = lease.clone().released());
    assert_eq!(spared(&world.settle_at(30)), ["spot"]);
    world.expect(&[("spot", "Ready/Ready on a")]);
    assert_eq!(world.settle_at(61), []);
    // The next need has a notice, and a grace, of its own.
    world.put(full("again").created(70));
    assert_eq!(told(&world.settle_at(70)), ["spot"]);
    assert_eq!(world.wake_at, Some(at(130)));
}

#[test]
fn an_exporter_that_comes_free_meanwhile_ends_the_need() {
    let mut world = lab(&["a", "b"], &[full("long"), lease("spot")]);
    world.put(full("next").created(1));
    assert_eq!(told(&world.settle_at(1)), ["spot"]);
    world.edit_lease("long", |lease| *lease = lease.clone().released());
    let actions = world.settle_at(20);
    assert_eq!(spared(&actions), ["spot"]);
    world.expect(&[("next", "Ready/Ready on a"), ("spot", "Ready/Ready on b")]);
}

#[test]
fn who_cannot_use_the_exporter_of_a_spot_lease_does_not_drive_it_out() {
    let mut world = lab(&["a", "b"], &[full("holds").pinned("b"), lease("spot")]);
    world.put(full("pinned").pinned("b").created(1));
    assert_eq!(told(&world.settle_at(1)), Vec::<&str>::new());
    world.expect(&[("pinned", "Pending/NotAvailable"), ("spot", "Ready/Ready on a")]);
}

#[test]
fn one_victim_may_help_by_way_of_another_lease() {
    // Only `b` suits the second; the first can use either, and is provided for with `b` until the second comes.
    let mut world = lab(&["a", "b"], &[lease("spot").pinned("a"), full("ends").pinned("b").lasting(40)]);
    world.put(full("either").created(1));
    assert_eq!(told(&world.settle_at(1)), Vec::<&str>::new());
    world.put(full("only-b").pinned("b").created(2));
    assert_eq!(told(&world.settle_at(2)), ["spot"]);
}

#[test]
fn a_spot_lease_is_queued_again_if_its_owner_asked_for_it() {
    let mut world = lab(&["a"], &[lease("spot").requeues(), lease("other").created(1)]);
    world.put(full("full").created(10).lasting(100));
    world.settle_at(10);
    world.settle_at(70);
    let name = transition::successor_name(&world.leases["spot"]);
    world.expect(&[("spot", "not Ready/Preempted on a, ended"), (&name, "Pending/NotAvailable")]);
    assert!(world.message("spot").contains(&name), "{}", world.message("spot"));
    assert_eq!(world.leases["spot"].metadata.annotations.as_ref().unwrap()[transition::REQUEUED_AS], name);
    assert_eq!(world.leases[&name].spec, world.leases["spot"].spec);
    // It goes to the end of the queue, and may be preempted again.
    world.settle_at(170);
    world.expect(&[("other", "Ready/Ready on a"), (&name, "Pending/NotAvailable")]);
    world.edit_lease("other", |lease| *lease = lease.clone().released());
    world.settle_at(171);
    world.put(full("once-more").created(180));
    world.settle_at(180);
    world.settle_at(240);
    let next = transition::successor_name(&world.leases[&name]);
    world.expect(&[(&name, "not Ready/Preempted on a, ended"), (&next, "Pending/NotAvailable")]);
    assert!(next != name && next.starts_with("spot-r") && next.len() == name.len(), "{name}, then {next}");
}

#[test]
fn a_preemption_that_was_cut_short_is_completed() {
    let mut world = lab(&["a"], &[lease("spot").requeues()]);
    world.put(full("full").created(1));
    world.settle_at(1);
    world.now = at(61);
    let actions = world.decide();
    let [preempt @ Action::Preempt { .. }] = actions.as_slice() else { panic!("{actions:?}") };
    let written = world.transition(preempt).unwrap();
    let successor = transition::Transition { successor: written.successor, ..transition::Transition::default() };
    world.write(preempt, successor);
    // Who wanted the exporter is gone: what was begun is brought to its end all the same.
    world.edit_lease("full", |lease| *lease = lease.clone().released());
    world.restart();
    world.settle();
    let name = transition::successor_name(&world.leases["spot"]);
    world.expect(&[("spot", "not Ready/Preempted on a, ended"), (&name, "Ready/Ready on a")]);
}

#[test]
fn a_release_within_the_grace_is_a_release() {
    let mut world = lab(&["a"], &[lease("spot").requeues()]);
    world.put(full("full").created(1));
    world.settle_at(1);
    world.edit_lease("spot", |lease| *lease = lease.clone().released());
    world.settle_at(10);
    world.expect(&[("spot", "not Ready/Released on a, ended"), ("full", "Ready/Ready on a")]);
    assert_eq!(world.leases.len(), 2, "nobody follows");
}
