//! A lease that was told to wait keeps waiting.

use jumpstarter_model::{Exporter, ExporterPhase};
use jumpstarter_scheduler::Action;

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease};

#[track_caller]
fn check(exporters: &[Exporter], waiting: jumpstarter_model::Lease, state: &str) {
    let name = waiting.metadata.name.clone().unwrap();
    let mut world = World::with(exporters, &[waiting]);
    world.settle();
    world.expect(&[(&name, state)]);
}

#[test]
fn it_stays_when_nothing_can_serve_it_now() {
    let waits = || lease("l").pending("NotAvailable");
    check(&[], waits(), "Pending/NotFound");
    check(&[], waits().pinned("a"), "Pending/ExporterNotFound");
    check(&[exporter("a")], waits().pinned("a").wants("board=y"), "Pending/SelectorMismatch");
    check(&[exporter("a").enabled(false)], waits().pinned("a"), "Pending/ExporterDisabled");
    check(&[exporter("a").enabled(false)], waits(), "Pending/AllDisabled");
    check(&[exporter("a").online(false)], waits(), "Pending/Offline");
}

#[test]
fn it_ends_when_its_request_no_longer_makes_sense() {
    check(&[exporter("a")], lease("l").pending("NotAvailable").wants(""), "Invalid/InvalidSelector, ended");
}

#[test]
fn it_is_served_when_what_it_waits_for_appears() {
    type Cure = fn(&mut World);
    let cures: [(&str, Exporter, Cure); 5] = [
        ("AllDisabled", exporter("a").enabled(false), |world| world.edit_exporter("a", |e| e.enabled(true))),
        ("Offline", exporter("a").online(false), |world| world.edit_exporter("a", |e| e.online(true))),
        ("NotReady", exporter("a").phase(ExporterPhase::AfterLeaseHook), |world| {
            world.edit_exporter("a", |e| e.phase(ExporterPhase::Unspecified));
        }),
        ("NotFound", exporter("a").label("board", "y"), |world| {
            world.edit_exporter("a", |e| e.label("board", "x"));
        }),
        ("NotFound", exporter("b").label("board", "y"), |world| world.put(exporter("a"))),
    ];
    for (reason, before, cure) in cures {
        let mut world = World::with(&[before], &[lease("l").pending("Waiting")]);
        world.settle();
        world.expect(&[("l", &format!("Pending/{reason}"))]);
        cure(&mut world);
        world.settle();
        world.expect(&[("l", "Ready/Ready on a")]);
    }
}

#[test]
fn it_stays_when_its_exporters_vanish() {
    let mut world = World::with(&[exporter("a").online(false)], &[lease("l")]);
    world.settle();
    world.expect(&[("l", "Pending/Offline")]);
    world.delete_exporter("a");
    world.settle();
    world.expect(&[("l", "Pending/NotFound")]);
}

#[test]
fn a_changed_selector_is_followed() {
    let mut world = World::with(&[exporter("a").online(false), exporter("b").label("board", "y")], &[lease("l")]);
    world.settle();
    world.expect(&[("l", "Pending/Offline")]);
    world.edit_lease("l", |lease| *lease = lease.clone().wants("board=y"));
    world.settle();
    world.expect(&[("l", "Ready/Ready on b")]);
}

#[test]
fn counts_alone_rewrite_nothing() {
    let exporters = (0..5).map(|i| exporter(&format!("e{i}")).online(false)).collect::<Vec<_>>();
    let mut world = World::with(&exporters, &[lease("l")]);
    world.settle();
    world.put(exporter("e9").online(false));
    world.delete_exporter("e0");
    assert_eq!(world.settle(), []);
}

#[test]
fn the_same_reason_is_not_written_again_after_a_restart() {
    let mut world = World::with(&[exporter("a").online(false)], &[lease("l")]);
    world.settle();
    world.restart();
    assert_eq!(world.settle(), []);
}

#[test]
fn a_foreign_reason_is_replaced_once() {
    let mut world = World::with(&[exporter("a").online(false)], &[lease("l").pending("SomethingElse")]);
    assert!(matches!(&world.settle()[..], [Action::Wait { reason, .. }] if reason == "Offline"));
}

#[test]
fn a_lease_past_its_own_end_is_never_given_anything() {
    let mut world = World::with(&[exporter("a").online(false)], &[lease("l").endless().ends(100)]);
    world.settle();
    world.expect(&[("l", "Pending/Offline")]);
    assert_eq!(world.wake_at, Some(at(100)));
    world.now = at(100);
    world.edit_exporter("a", |exporter| exporter.online(true));
    world.settle();
    world.expect(&[("l", "not Ready/Expired, ended")]);
    assert_eq!(world.wake_at, None);
}

#[test]
fn begin_and_duration_give_an_end_to_wait_for_too() {
    let mut world = World::with(&[exporter("a").online(false)], &[lease("l").begins(10).lasting(60)]);
    world.settle();
    assert_eq!(world.wake_at, Some(at(10)));
    world.settle_at(10);
    world.expect(&[("l", "Pending/Offline")]);
    world.settle_at(70);
    world.expect(&[("l", "not Ready/Expired, ended")]);
}

#[test]
fn a_lease_of_no_length_never_begins() {
    for nothing in [lease("l").endless(), lease("l").lasting(0), lease("l").lasting(-5), lease("l").endless().begins(0)]
    {
        check(&[exporter("a")], nothing, "not Ready/Expired, ended");
    }
}

#[test]
fn release_ends_waiting_and_scheduled_leases() {
    check(&[exporter("a").online(false)], lease("l").released(), "not Ready/Released, ended");
    check(&[exporter("a")], lease("l").begins(100).released(), "not Ready/Released, ended");
    check(&[exporter("a")], lease("l").wants("").released(), "not Ready/Released, ended");
}
