//! Who comes first.

use jumpstarter_model::ExporterPhase;

use crate::kit::{ExporterExt as _, LeaseExt as _, World, exporter, lease, policy, rule};

/// Holder `h` on exporter `a`, and these leases in the queue.
fn queue(waiting: &[jumpstarter_model::Lease]) -> World {
    let mut world = World::with(&[exporter("a").claimed_for("h")], &[lease("h").on("a").ready().created(-100)]);
    waiting.iter().cloned().for_each(|lease| world.put(lease));
    world.settle();
    world
}

fn free(world: &mut World) {
    world.edit_lease("h", |lease| *lease = lease.clone().released());
}

#[test]
fn the_eldest_is_served_first() {
    let mut world = queue(&[lease("late").created(2), lease("early").created(1)]);
    world.expect(&[("early", "Pending/NotAvailable"), ("late", "Pending/NotAvailable")]);
    free(&mut world);
    world.settle();
    world.expect(&[("early", "Ready/Ready on a"), ("late", "Pending/NotAvailable")]);
}

#[test]
fn a_new_lease_does_not_overtake_when_a_device_frees() {
    let mut world = queue(&[lease("old").created(1)]);
    free(&mut world);
    world.put(lease("new").created(5));
    world.settle();
    world.expect(&[("old", "Ready/Ready on a"), ("new", "Pending/NotAvailable")]);
}

#[test]
fn a_pinned_lease_stands_in_the_same_line() {
    let mut world = queue(&[lease("any").created(2), lease("pinned").pinned("a").created(1)]);
    free(&mut world);
    world.settle();
    world.expect(&[("pinned", "Ready/Ready on a"), ("any", "Pending/NotAvailable")]);
}

#[test]
fn within_a_second_the_uid_decides_then_the_name() {
    let with_uid = |name: &str, uid: &str| {
        let mut lease = lease(name);
        lease.metadata.uid = Some(uid.to_owned());
        lease
    };
    let mut world = queue(&[with_uid("a", "2"), with_uid("b", "1")]);
    free(&mut world);
    world.settle();
    world.expect(&[("b", "Ready/Ready on a"), ("a", "Pending/NotAvailable")]);
    let mut world = queue(&[with_uid("y", "1"), with_uid("x", "1")]);
    free(&mut world);
    world.settle();
    world.expect(&[("x", "Ready/Ready on a"), ("y", "Pending/NotAvailable")]);
}

#[test]
fn one_that_cannot_use_the_device_does_not_hold_up_the_line() {
    let mut world =
        queue(&[lease("other").wants("board=x,slot=9").created(1).pending("Offline"), lease("me").created(2)]);
    free(&mut world);
    world.settle();
    world.expect(&[("me", "Ready/Ready on a"), ("other", "Pending/NotFound")]);
}

#[test]
fn priority_comes_before_age() {
    let mut world = World::with(&[exporter("a").claimed_for("h")], &[lease("h").on("a").ready().created(-100)]);
    world.put(policy("p", "board=x", &[rule("team=a", 1), rule("team=b", 5)]));
    world.put(lease("alices").by("alice").created(1));
    world.put(lease("bobs").by("bob").created(2));
    world.settle();
    free(&mut world);
    world.settle();
    world.expect(&[("bobs", "Ready/Ready on a"), ("alices", "Pending/NotAvailable")]);
    assert_eq!(world.leases["bobs"].status.as_ref().unwrap().priority, Some(5));
    assert_eq!(world.leases["bobs"].status.as_ref().unwrap().spot_access, Some(false));
}

#[test]
fn priority_holds_for_its_exporters_only() {
    let mut world = World::with(&[exporter("a").label("slot", "1"), exporter("b").label("slot", "2")], &[]);
    world.put(policy("p", "", &[rule("", 0)]));
    world.put(policy("q", "slot=2", &[rule("team=b", 9)]));
    world.put(lease("alices").by("alice").created(1));
    world.put(lease("bobs").by("bob").created(2));
    world.settle();
    world.expect(&[("alices", "Ready/Ready on a"), ("bobs", "Ready/Ready on b")]);
}

#[test]
fn a_lease_takes_the_exporter_of_its_highest_priority() {
    let mut world = World::with(&[exporter("a"), exporter("b").label("slot", "2")], &[]);
    world.put(policy("p", "", &[rule("", 0)]));
    world.put(policy("q", "slot=2", &[rule("", 3), rule("", -1)]));
    world.put(lease("l"));
    world.settle();
    world.expect(&[("l", "Ready/Ready on b")]);
}

#[test]
fn many_devices_at_once_go_to_the_eldest_leases() {
    let exporters = (0..20).map(|i| exporter(&format!("e{i:02}")).online(false)).collect::<Vec<_>>();
    let leases = (0..30).map(|i| lease(&format!("l{i:02}")).created(i)).collect::<Vec<_>>();
    let mut world = World::with(&exporters, &leases);
    world.settle();
    for exporter in exporters {
        world.put(exporter.online(true));
    }
    world.settle();
    for i in 0..30 {
        let state = if i < 20 { format!("Ready/Ready on e{i:02}") } else { "Pending/NotAvailable".to_owned() };
        world.expect(&[(&format!("l{i:02}"), &state)]);
    }
}

#[test]
fn a_device_that_tears_down_goes_to_the_eldest_without_telling_the_others_anything() {
    let mut world = queue(&[lease("l1").created(1), lease("l2").created(2), lease("l3").created(3)]);
    world.tears_down_at_once = false;
    free(&mut world);
    let told = world.settle();
    assert_eq!(told.len(), 1, "only the end of the holder: {told:?}");
    world.edit_exporter("a", |exporter| exporter.phase(ExporterPhase::AfterLeaseHook));
    assert_eq!(world.settle(), []);
    world.edit_exporter("a", |exporter| exporter.phase(ExporterPhase::Available));
    assert_eq!(world.settle(), []);
    world.confirm_tear_down("a");
    let told = world.settle();
    assert_eq!(told.len(), 1, "only the assignment: {told:?}");
    world.expect(&[("l1", "Pending/Preparing on a"), ("l2", "Pending/NotAvailable")]);
}
