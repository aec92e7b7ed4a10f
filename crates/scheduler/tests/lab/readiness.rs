//! When the client of an assigned lease is told to dial (protocol.md §5.2).

use jumpstarter_model::ExporterPhase::{
    self, AfterLeaseHook, AfterLeaseHookFailed, Available, BeforeLeaseHook, BeforeLeaseHookFailed, LeaseReady, Offline,
};
use jumpstarter_model::set_condition;

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease};

const PREPARING: &str = "Pending/Preparing on a";
const READY: &str = "Ready/Ready on a";

fn assigned() -> World {
    let mut world = World::with(&[exporter("a").phase(Available)], &[lease("l")]);
    world.settle();
    world.expect(&[("l", PREPARING)]);
    world
}

#[track_caller]
fn check(phase: ExporterPhase, state: &str, wake_at: i64) {
    let mut world = assigned();
    world.edit_exporter("a", |exporter| exporter.phase(phase));
    world.settle_at(1);
    world.expect(&[("l", state)]);
    assert_eq!(world.wake_at, Some(at(wake_at)), "{phase:?}");
}

#[test]
fn the_exporters_phase_decides() {
    check(Available, PREPARING, 3);
    check(Offline, PREPARING, 3);
    check(BeforeLeaseHook, PREPARING, 1800);
    check(LeaseReady, READY, 3600);
    check(BeforeLeaseHookFailed, READY, 3600);
    check(AfterLeaseHook, READY, 3600);
    check(AfterLeaseHookFailed, READY, 3600);
}

#[test]
fn an_exporter_that_does_not_react_is_not_waited_for() {
    let mut world = assigned();
    world.settle_at(2);
    world.expect(&[("l", PREPARING)]);
    world.settle_at(3);
    world.expect(&[("l", READY)]);
}

#[test]
fn an_exporter_that_went_away_is_not_waited_for() {
    let mut world = assigned();
    world.edit_exporter("a", |exporter| exporter.online(false).phase(BeforeLeaseHook));
    world.settle_at(2);
    world.expect(&[("l", PREPARING)]);
    world.settle_at(3);
    world.expect(&[("l", READY)]);
}

#[test]
fn an_exporter_that_leaves_during_its_hook_may_come_back_for_a_moment() {
    let mut world = assigned();
    world.edit_exporter("a", |exporter| exporter.phase(BeforeLeaseHook));
    world.settle_at(25);
    world.edit_exporter("a", |mut exporter| {
        let conditions = &mut exporter.status.get_or_insert_default().conditions;
        set_condition(conditions, "Online", false, "Offline", "", None, at(25));
        exporter.phase(Offline)
    });
    world.settle_at(27);
    world.expect(&[("l", PREPARING)]);
    world.settle_at(28);
    world.expect(&[("l", READY)]);
}

#[test]
fn a_hook_is_waited_for_within_a_limit() {
    let mut world = assigned();
    world.edit_exporter("a", |exporter| exporter.phase(BeforeLeaseHook));
    world.settle_at(1799);
    world.expect(&[("l", PREPARING)]);
    let mut patient = World::with(&[], &[]);
    patient.exporters = world.exporters.clone();
    patient.leases = world.leases.clone();
    patient.restart();
    patient.edit_exporter("a", |exporter| exporter.phase(LeaseReady));
    patient.settle_at(1799);
    patient.expect(&[("l", READY)]);
    world.settle_at(1800);
    world.expect(&[("l", READY)]);
}

#[test]
fn ready_stays_ready_whatever_the_exporter_says_later() {
    let mut world = assigned();
    for phase in [LeaseReady, BeforeLeaseHook, Available, AfterLeaseHook, Offline] {
        world.edit_exporter("a", |exporter| exporter.phase(phase));
        world.settle_at(1);
        world.expect(&[("l", READY)]);
    }
}

#[test]
fn a_lease_found_ready_is_left_alone() {
    let mut world =
        World::with(&[exporter("a").phase(BeforeLeaseHook).claimed_for("l")], &[lease("l").on("a").ready()]);
    assert_eq!(world.settle(), []);
}

#[test]
fn a_preparing_lease_can_be_released_and_can_run_out() {
    let mut world = assigned();
    world.edit_lease("l", |lease| lease.spec.release = Some(true));
    world.settle();
    world.expect(&[("l", "not Ready/Released on a, ended")]);

    let mut world = World::with(&[exporter("a").phase(Available)], &[lease("l").lasting(2)]);
    world.settle();
    assert_eq!(world.wake_at, Some(at(2)));
    world.settle_at(2);
    world.expect(&[("l", "not Ready/Expired on a, ended")]);
}
