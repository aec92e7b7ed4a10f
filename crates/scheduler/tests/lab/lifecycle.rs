//! From the begin of a lease to its end.

use jumpstarter_model::{ExporterPhase, GoDuration, LocalObjectReference, Timestamp};

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease};

fn running() -> World {
    let mut world = World::with(&[exporter("a")], &[lease("l").lasting(100)]);
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);
    world
}

fn ended_at(world: &World, lease: &str) -> Option<Timestamp> {
    world.leases[lease].status.as_ref().unwrap().end_time.as_ref().map(|time| time.0)
}

#[test]
fn a_lease_ends_on_the_second() {
    let mut world = running();
    assert_eq!(world.wake_at, Some(at(100)));
    world.settle_at(99);
    world.expect(&[("l", "Ready/Ready on a")]);
    world.settle_at(100);
    world.expect(&[("l", "not Ready/Expired on a, ended")]);
    assert_eq!(ended_at(&world, "l"), Some(at(100)));
    assert_eq!(world.wake_at, None);
    assert!(!world.message("l").to_lowercase().contains("expired"), "{}", world.message("l"));
    assert_eq!(world.leases["l"].metadata.labels.as_ref().unwrap()["jumpstarter.dev/lease-ended"], "true");
    assert_eq!(world.exporters["a"].status.as_ref().unwrap().lease_ref, None);
}

#[test]
fn the_end_is_the_requested_one_before_all_others() {
    for (asked, end) in [
        (lease("l").lasting(100), 100),
        (lease("l").lasting(100).begins(-40), 60),
        (lease("l").lasting(100).ends(70), 70),
        (lease("l").endless().ends(30), 30),
        (lease("l").endless().begins(-10).ends(20), 20),
    ] {
        let mut world = World::with(&[exporter("a")], &[asked]);
        world.settle();
        assert_eq!(world.wake_at, Some(at(end)));
    }
}

#[test]
fn release_ends_a_running_lease_at_once() {
    let mut world = running();
    world.now = at(10);
    world.edit_lease("l", |lease| lease.spec.release = Some(true));
    world.settle();
    world.expect(&[("l", "not Ready/Released on a, ended")]);
    assert_eq!(ended_at(&world, "l"), Some(at(10)));
}

#[test]
fn release_comes_before_the_end_of_time() {
    let mut world = running();
    world.now = at(100);
    world.edit_lease("l", |lease| lease.spec.release = Some(true));
    world.settle();
    world.expect(&[("l", "not Ready/Released on a, ended")]);
}

#[test]
fn an_extension_and_a_shortening_are_followed() {
    let mut world = running();
    world.edit_lease("l", |lease| lease.spec.duration = Some(GoDuration::from_secs(200)));
    world.settle_at(100);
    world.expect(&[("l", "Ready/Ready on a")]);
    assert_eq!(world.wake_at, Some(at(200)));
    world.edit_lease("l", |lease| lease.spec.duration = Some(GoDuration::from_secs(90)));
    world.settle();
    world.expect(&[("l", "not Ready/Expired on a, ended")]);
}

#[test]
fn a_transfer_changes_nothing_for_the_holder() {
    let mut world = running();
    world.edit_lease("l", |lease| lease.spec.client_ref = LocalObjectReference::new("bob"));
    assert_eq!(world.settle(), []);
}

#[test]
fn an_exporter_that_goes_away_or_out_of_service_keeps_its_lease() {
    let mut world = running();
    world.edit_exporter("a", |exporter| exporter.online(false).phase(ExporterPhase::Offline));
    world.settle_at(50);
    world.edit_exporter("a", |exporter| exporter.enabled(false).label("board", "y"));
    world.settle_at(60);
    world.expect(&[("l", "Ready/Ready on a")]);
}

#[test]
fn a_deleted_exporter_ends_its_lease() {
    let mut world = running();
    world.delete_exporter("a");
    world.settle();
    world.expect(&[("l", "not Ready/Released on a, ended")]);
    assert!(world.message("l").contains("exporter a was deleted"), "{}", world.message("l"));
}

#[test]
fn a_deleted_lease_frees_its_exporter_after_its_tear_down() {
    let mut world = running();
    world.tears_down_at_once = false;
    world.put(lease("next").created(1));
    world.settle();
    world.leases.remove("l");
    world.lab.observe(jumpstarter_scheduler::Change::LeaseDeleted("l"));
    world.settle();
    assert_eq!(world.exporters["a"].status.as_ref().unwrap().lease_ref, None);
    world.expect(&[("next", "Pending/NotAvailable")]);
    world.confirm_tear_down("a");
    world.settle();
    world.expect(&[("next", "Ready/Ready on a")]);
}

#[test]
fn the_next_waits_for_the_tear_down() {
    let mut world = running();
    world.tears_down_at_once = false;
    world.put(lease("next").created(1));
    world.settle();
    world.edit_lease("l", |lease| lease.spec.release = Some(true));
    world.settle();
    world.expect(&[("l", "not Ready/Released on a, ended"), ("next", "Pending/NotAvailable")]);
    world.confirm_tear_down("a");
    world.settle();
    world.expect(&[("next", "Ready/Ready on a")]);
}

#[test]
fn a_failed_hook_is_named_in_the_end_of_the_lease() {
    let mut world = running();
    world.edit_exporter("a", |exporter| {
        exporter.phase(ExporterPhase::BeforeLeaseHookFailed).says("beforeLease hook failed (Expired certificate)")
    });
    world.edit_lease("l", |lease| lease.spec.release = Some(true));
    world.settle();
    assert!(world.message("l").contains("beforeLease hook failed ("), "{}", world.message("l"));
    assert!(!world.message("l").to_lowercase().contains("expired"), "{}", world.message("l"));
}

#[test]
fn an_exporter_that_left_is_named_in_the_end_of_the_lease() {
    let mut world = running();
    world.edit_exporter("a", |exporter| exporter.phase(ExporterPhase::Offline).says("shutting down after a hook"));
    world.edit_lease("l", |lease| lease.spec.release = Some(true));
    world.settle();
    assert!(world.message("l").contains("shutting down after a hook"), "{}", world.message("l"));
}

#[test]
fn an_ended_lease_is_left_alone() {
    let mut ended = lease("l").on("gone").ended();
    ended.metadata.labels = Some([("jumpstarter.dev/lease-ended".to_owned(), "true".to_owned())].into());
    let mut world = World::with(&[exporter("a")], &[ended]);
    assert_eq!(world.settle(), []);
    assert_eq!(world.lab.explain("l", at(0)), None);
}

#[test]
fn a_failed_write_is_decided_again() {
    let mut world = World::with(&[exporter("a")], &[lease("l")]);
    let first = world.decide();
    assert_eq!(first.len(), 1);
    world.settled(&first[0]);
    assert_eq!(world.decide(), first);
}
