//! The decision table (kubernetes.md §4.2) for leases that nobody has looked at yet.

use jumpstarter_model::{Exporter, ExporterPhase, Lease};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease};

/// Decides about `lease` alone, with these exporters.
#[track_caller]
fn check(exporters: &[Exporter], lease: Lease, state: &str) -> World {
    let name = lease.metadata.name.clone().unwrap();
    let mut world = World::with(exporters, &[lease]);
    world.settle();
    world.expect(&[(&name, state)]);
    world
}

#[test]
fn a_free_exporter_is_given_at_once() {
    check(&[exporter("a")], lease("l"), "Ready/Ready on a");
    check(&[exporter("a").phase(ExporterPhase::Unspecified)], lease("l"), "Ready/Ready on a");
    check(&[exporter("a").phase(ExporterPhase::Available)], lease("l"), "Pending/Preparing on a");
}

#[test]
fn the_first_by_name_is_given() {
    check(&[exporter("b"), exporter("a"), exporter("c")], lease("l"), "Ready/Ready on a");
    check(&[exporter("b"), exporter("a").online(false)], lease("l"), "Ready/Ready on b");
    check(&[exporter("a").enabled(false), exporter("b")], lease("l"), "Ready/Ready on b");
}

#[test]
fn every_operator_of_a_selector_counts() {
    let exporters = [exporter("a"), exporter("b").label("slot", "1"), exporter("c").label("board", "y")];
    for (selector, state) in [
        ("board=y", "Ready/Ready on c"),
        ("board in (y,z)", "Ready/Ready on c"),
        ("board!=x", "Ready/Ready on c"),
        ("board notin (x)", "Ready/Ready on c"),
        ("slot", "Ready/Ready on b"),
        ("board=x,slot", "Ready/Ready on b"),
        ("!slot,board", "Ready/Ready on a"),
        ("!board", "Unsatisfiable/NoAccess, ended"),
        ("board=x,slot=2", "Unsatisfiable/NoAccess, ended"),
        ("board=z", "Unsatisfiable/NoAccess, ended"),
    ] {
        let world = check(&exporters, lease("l").wants(selector), state);
        assert_eq!(world.leases["l"].status.as_ref().unwrap().ended, state.ends_with("ended"), "{selector}");
    }
}

#[test]
fn a_lease_without_a_target_is_invalid() {
    check(&[exporter("a")], lease("l").wants(""), "Invalid/InvalidSelector, ended");
    check(&[exporter("a")], lease("l").pinned(""), "Invalid/InvalidSelector, ended");
}

#[test]
fn a_malformed_selector_is_invalid() {
    let mut malformed = lease("l");
    malformed.spec.selector.match_expressions = Some(vec![LabelSelectorRequirement::default()]);
    check(&[exporter("a")], malformed, "Invalid/InvalidSelector, ended");
}

#[test]
fn a_pinned_exporter_must_exist_match_and_be_enabled() {
    let exporters = [exporter("a"), exporter("off").enabled(false)];
    check(&exporters, lease("l").pinned("a"), "Ready/Ready on a");
    check(&exporters, lease("l").pinned("a").wants("board=x"), "Ready/Ready on a");
    check(&exporters, lease("l").pinned("b"), "Unsatisfiable/ExporterNotFound, ended");
    check(&exporters, lease("l").pinned("a").wants("board=y"), "Unsatisfiable/SelectorMismatch, ended");
    check(&exporters, lease("l").pinned("off").allow_disabled(), "Ready/Ready on off");
    let world = check(&exporters, lease("l").pinned("off"), "Unsatisfiable/ExporterDisabled, ended");
    for words in ["is disabled", "spec.allowDisabled: true", "--allow-disabled"] {
        assert!(world.message("l").contains(words), "{}", world.message("l"));
    }
}

#[test]
fn allow_disabled_means_nothing_without_a_pin() {
    check(&[exporter("a").enabled(false)], lease("l").allow_disabled(), "Pending/AllDisabled");
}

#[test]
fn waits_where_waiting_helps() {
    check(&[exporter("a").enabled(false)], lease("l"), "Pending/AllDisabled");
    check(&[exporter("a").online(false)], lease("l"), "Pending/Offline");
    check(&[exporter("a").condition("Registered", false)], lease("l"), "Pending/Offline");
    check(&[exporter("a").phase(ExporterPhase::AfterLeaseHook)], lease("l"), "Pending/NotReady");
    check(&[exporter("a").phase(ExporterPhase::LeaseReady)], lease("l"), "Pending/NotReady");
    check(&[exporter("a").phase(ExporterPhase::Offline)], lease("l"), "Pending/NotReady");
    check(&[exporter("a").online(false).phase(ExporterPhase::Available)], lease("l"), "Pending/Offline");
}

#[test]
fn a_held_exporter_is_waited_for() {
    let held = || vec![exporter("a").claimed_for("h")];
    let mut world = World::with(&held(), &[lease("h").on("a").ready(), lease("l").created(1)]);
    world.settle();
    world.expect(&[("h", "Ready/Ready on a"), ("l", "Pending/NotAvailable")]);
    assert!(world.message("l").contains("but all of them are already leased"), "{}", world.message("l"));
    assert!(world.message("l").contains('a'), "names an example");
}

#[test]
fn the_nearest_obstacle_is_the_reason() {
    let exporters = [
        exporter("a").online(false),
        exporter("b").claimed_for("h"),
        exporter("c").phase(ExporterPhase::AfterLeaseHookFailed),
    ];
    let holder = lease("h").on("b").ready();
    let mut world = World::with(&exporters, &[holder.clone(), lease("l").created(1)]);
    world.settle();
    world.expect(&[("l", "Pending/NotReady")]);
    let mut world = World::with(&exporters[..2], &[holder, lease("l").created(1)]);
    world.settle();
    world.expect(&[("l", "Pending/NotAvailable")]);
}

#[test]
fn messages_say_what_clients_look_for() {
    for (found, words) in [
        (exporter("rack-7").online(false), "none of them are online"),
        (exporter("rack-7").phase(ExporterPhase::AfterLeaseHook), "none are ready"),
    ] {
        let mut world = World::with(&[found], &[lease("l")]);
        world.settle();
        assert!(world.message("l").contains(words), "{}", world.message("l"));
        assert!(world.message("l").contains("rack-7"), "{}", world.message("l"));
    }
    let world = check(&[], lease("l"), "Unsatisfiable/NoAccess, ended");
    assert!(world.message("l").contains("none of them are approved by any policy"), "{}", world.message("l"));
}

#[test]
fn an_exporter_that_owes_a_tear_down_is_not_given() {
    let mut world = World::with(&[exporter("a").phase(ExporterPhase::Available)], &[lease("l")]);
    world.lab.observe(jumpstarter_scheduler::Change::TearDown { exporter: "a", pending: true });
    world.settle();
    world.expect(&[("l", "Pending/NotReady")]);
    world.confirm_tear_down("a");
    world.settle();
    world.expect(&[("l", "Pending/Preparing on a")]);
}

#[test]
fn nothing_is_decided_before_the_begin() {
    let mut world = World::with(&[exporter("a")], &[lease("l").begins(100), lease("never").pinned("b").begins(100)]);
    world.settle();
    world.expect(&[("l", "Pending/Scheduled"), ("never", "Pending/Scheduled")]);
    assert_eq!(world.wake_at, Some(at(100)));
    world.settle_at(99);
    world.expect(&[("l", "Pending/Scheduled"), ("never", "Pending/Scheduled")]);
    world.settle_at(100);
    world.expect(&[("l", "Ready/Ready on a"), ("never", "Unsatisfiable/ExporterNotFound, ended")]);
    assert_eq!(world.wake_at, Some(at(3700)));
}

#[test]
fn a_begin_in_the_past_is_now() {
    let world = check(&[exporter("a")], lease("l").begins(-60), "Ready/Ready on a");
    assert_eq!(world.leases["l"].status.as_ref().unwrap().begin_time.as_ref().unwrap().0, at(0));
    assert_eq!(world.wake_at, Some(at(3540)), "ends at requested begin + duration");
}

#[test]
fn a_moved_begin_is_followed() {
    let mut world = World::with(&[exporter("a")], &[lease("l").begins(100)]);
    world.settle();
    world.edit_lease("l", |lease| *lease = lease.clone().begins(50));
    world.settle();
    assert_eq!(world.wake_at, Some(at(50)));
    world.edit_lease("l", |lease| *lease = lease.clone().begins(-1));
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);
}
