//! Whatever a crash or another writer leaves behind has one completion.

use jumpstarter_model::{Exporter, ExporterPhase, Lease};
use jumpstarter_scheduler::{
    Action::{self, Adopt, CompleteClaim, End, Label, Unclaim},
    EndCause,
};

use crate::kit::{ExporterExt as _, LeaseExt as _, World, exporter, lease, policy, rule};

#[track_caller]
fn check(exporters: &[Exporter], leases: &[Lease], actions: &[Action], states: &[(&str, &str)]) -> World {
    let mut world = World::with(exporters, leases);
    assert_eq!(world.settle(), actions);
    world.expect(states);
    world.restart();
    assert_eq!(world.settle(), [], "nothing is left to repair");
    world
}

fn claim(exporter: &str, lease: &str, ready: bool) -> Action {
    CompleteClaim { exporter: exporter.into(), lease: lease.into(), priority: 0, spot_access: false, ready }
}

fn unclaim(exporter: &str, lease: &str) -> Action {
    Unclaim { exporter: exporter.into(), lease: lease.into() }
}

fn adopt(exporter: &str, lease: &str) -> Action {
    Adopt { exporter: exporter.into(), lease: lease.into() }
}

#[test]
fn a_claim_without_the_lease_half_is_completed() {
    let world =
        check(&[exporter("a").claimed_for("l")], &[lease("l")], &[claim("a", "l", true)], &[("l", "Ready/Ready on a")]);
    assert_eq!(world.leases["l"].metadata.owner_references.as_ref().unwrap()[0].uid, "uid-a");
    check(
        &[exporter("a").claimed_for("l").phase(ExporterPhase::Available)],
        &[lease("l").pending("Offline")],
        &[claim("a", "l", false)],
        &[("l", "Pending/Preparing on a")],
    );
}

#[test]
fn a_completed_claim_is_not_given_to_an_elder_lease() {
    check(
        &[exporter("a").claimed_for("l")],
        &[lease("elder").created(-5).pending("NotAvailable"), lease("l")],
        &[claim("a", "l", true)],
        &[("l", "Ready/Ready on a"), ("elder", "Pending/NotAvailable")],
    );
}

#[test]
fn a_claim_that_no_longer_fits_is_given_up() {
    let offline = lease("l").pending("Offline");
    let mut world = World::with(&[exporter("a").claimed_for("l").enabled(false)], std::slice::from_ref(&offline));
    assert_eq!(world.settle()[0], unclaim("a", "l"));
    world.expect(&[("l", "Pending/AllDisabled")]);

    let mut world = World::with(&[exporter("a").claimed_for("l")], &[offline.clone().wants("board=y")]);
    assert_eq!(world.settle()[0], unclaim("a", "l"));

    let mut world = World::with(&[exporter("a").claimed_for("l")], std::slice::from_ref(&offline));
    world.put(policy("p", "", &[rule("team=b", 0)]));
    assert_eq!(world.settle()[0], unclaim("a", "l"));
    world.expect(&[("l", "Pending/NoAccess")]);

    let mut world = World::with(&[exporter("a").claimed_for("l")], &[offline.begins(100)]);
    assert_eq!(world.settle()[0], unclaim("a", "l"));
    world.expect(&[("l", "Pending/Scheduled")]);

    let mut world = World::with(&[exporter("a").claimed_for("l")], &[lease("l").released()]);
    assert_eq!(world.settle()[0], unclaim("a", "l"));
    world.expect(&[("l", "not Ready/Released, ended")]);
    assert_eq!(world.exporters["a"].status.as_ref().unwrap().lease_ref, None);
}

#[test]
fn a_claim_for_a_lease_that_is_gone_ended_or_elsewhere_is_cleared() {
    check(&[exporter("a").claimed_for("l")], &[], &[unclaim("a", "l")], &[]);
    check(
        &[exporter("a").claimed_for("l")],
        &[lease("l").on("a").ready().ended()],
        &[Label { lease: "l".into() }, unclaim("a", "l")],
        &[],
    );
    check(
        &[exporter("a").claimed_for("l"), exporter("b").claimed_for("l")],
        &[lease("l").on("b").ready()],
        &[unclaim("a", "l")],
        &[("l", "Ready/Ready on b")],
    );
}

#[test]
fn a_lease_without_the_exporters_half_is_adopted() {
    check(&[exporter("a")], &[lease("l").on("a").ready()], &[adopt("a", "l")], &[("l", "Ready/Ready on a")]);
    check(
        &[exporter("a").claimed_for("old")],
        &[lease("l").on("a").ready()],
        &[unclaim("a", "old"), adopt("a", "l")],
        &[("l", "Ready/Ready on a")],
    );
}

#[test]
fn a_lease_without_a_begin_gets_one() {
    let mut unbegun = lease("l").on("a");
    unbegun.status.as_mut().unwrap().begin_time = None;
    let mut world = World::with(&[exporter("a").claimed_for("l")], &[unbegun]);
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);
    assert!(world.leases["l"].status.as_ref().unwrap().begin_time.is_some());
}

#[test]
fn of_two_holders_the_claimed_one_stays_else_the_elder() {
    let two = [lease("young").on("a").ready().created(9), lease("old").on("a").ready().created(1)];
    let ends = |lease: &str, holder: &str| End {
        lease: lease.into(),
        exporter: Some("a".into()),
        cause: EndCause::Released,
        message: format!("The exporter a is held by another lease, {holder}"),
    };
    check(
        &[exporter("a")],
        &two,
        &[adopt("a", "old"), ends("young", "old")],
        &[("old", "Ready/Ready on a"), ("young", "not Ready/Released on a, ended")],
    );
    check(
        &[exporter("a").claimed_for("young")],
        &two,
        &[ends("old", "young")],
        &[("young", "Ready/Ready on a"), ("old", "not Ready/Released on a, ended")],
    );
}

#[test]
fn a_lost_label_is_written_again() {
    let world = check(&[], &[lease("l").on("a").ready().ended()], &[Label { lease: "l".into() }], &[]);
    assert_eq!(world.leases["l"].metadata.labels.as_ref().unwrap()["jumpstarter.dev/lease-ended"], "true");
}

#[test]
fn a_held_exporter_is_not_given_out_even_if_it_does_not_say_so() {
    let mut world = World::with(&[exporter("a")], &[lease("h").on("a").ready(), lease("l").created(-9)]);
    world.settle();
    world.expect(&[("h", "Ready/Ready on a"), ("l", "Pending/NotAvailable")]);
}
