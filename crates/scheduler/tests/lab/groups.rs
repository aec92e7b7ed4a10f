//! Several leases that are served together: the rules of `docs/scheduling.md`.

mod faults;
mod line;
mod oracle;
mod stories;

use jumpstarter_model::{Exporter, ExporterPhase, Lease};
use jumpstarter_scheduler::{Action, LeaseStanding};

use crate::kit::{
    ExporterExt as _, LeaseExt as _, QuotaExt as _, RuleExt as _, World, at, client, exporter, lease, policy, quota,
    rule,
};

/// An exporter of a kind of board in a rack.
fn device(name: &str, board: &str, rack: &str) -> Exporter {
    exporter(name).label("board", board).label("rack", rack)
}

/// A member of the group `g` of so many, in one rack.
fn member(name: &str, board: &str, size: usize) -> Lease {
    lease(name).wants(&format!("board={board}")).in_group("g", size, &["rack"])
}

/// A group of two, a board `x` and a power supply `psu`.
fn duo(group: &str, created: i64) -> [Lease; 2] {
    [("x", "board=x"), ("psu", "board=psu")].map(|(name, selector)| {
        lease(&format!("{group}-{name}")).wants(selector).created(created).in_group(group, 2, &["rack"])
    })
}

/// Exporters that leases hold, by lease.
fn held(world: &World) -> Vec<(&str, &str)> {
    let live = world.leases.iter().filter(|(_, lease)| !lease.is_ended());
    live.filter_map(|(name, lease)| Some((name.as_str(), lease.assigned_exporter()?))).collect()
}

fn put_all(world: &mut World, leases: impl IntoIterator<Item = Lease>) {
    leases.into_iter().for_each(|lease| world.put(lease));
}

#[test]
fn a_group_is_served_together_or_not_at_all() {
    let mut world = World::with(&[device("a", "x", "1")], &[]);
    put_all(&mut world, [lease("before").wants("board=psu").created(-1)]);
    world.put(device("b", "psu", "1"));
    world.settle();
    put_all(&mut world, duo("g", 1));
    world.settle_at(1);
    assert_eq!(held(&world), [("before", "b")]);
    world.expect(&[("g-x", "Pending/GroupNotAvailable"), ("g-psu", "Pending/GroupNotAvailable")]);
    assert_eq!(
        world.message("g-x"),
        "Exporters with rack=1 are free for 1 of the 2 leases of the group; waiting for board=psu"
    );
    world.edit_lease("before", |lease| *lease = lease.clone().released());
    world.settle_at(2);
    world.expect(&[("g-x", "Ready/Ready on a"), ("g-psu", "Ready/Ready on b")]);
}

#[test]
fn labels_that_must_be_equal_are() {
    let devices = [device("a", "x", "1"), device("b", "psu", "2"), exporter("c"), device("d", "x", "2")];
    let mut world = World::with(&devices, &duo("g", 0));
    world.settle();
    assert_eq!(held(&world), [("g-psu", "b"), ("g-x", "d")]);
    // Without the label a device has nothing that could be equal.
    let mut world = World::with(&[exporter("a"), exporter("b").label("board", "psu")], &duo("g", 0));
    world.settle();
    world.expect(&[("g-x", "Unsatisfiable/GroupTooLarge, ended"), ("g-psu", "Unsatisfiable/GroupTooLarge, ended")]);
}

#[test]
fn members_that_compete_get_what_each_can_use() {
    let any = lease("any").wants("board").in_group("g", 2, &[]);
    let only = lease("only").wants("board=x").created(1).in_group("g", 2, &[]);
    let mut world = World::with(&[device("a", "x", "1"), device("b", "y", "1")], &[any, only]);
    world.settle();
    assert_eq!(held(&world), [("any", "b"), ("only", "a")]);
}

#[test]
fn members_become_ready_together() {
    let devices = [device("a", "x", "1").phase(ExporterPhase::Available), device("b", "psu", "1")];
    let mut world = World::with(&devices, &duo("g", 0));
    world.settle();
    world.expect(&[("g-x", "Pending/Preparing on a"), ("g-psu", "Pending/Preparing on b")]);
    world.edit_exporter("a", |exporter| exporter.phase(ExporterPhase::BeforeLeaseHook));
    assert_eq!(world.settle_at(10), []);
    world.edit_exporter("a", |exporter| exporter.phase(ExporterPhase::LeaseReady));
    world.settle_at(20);
    world.expect(&[("g-x", "Ready/Ready on a"), ("g-psu", "Ready/Ready on b")]);
    let begins = ["g-x", "g-psu"].map(|name| world.leases[name].status.clone().unwrap().begin_time.unwrap().0);
    assert_eq!(begins, [at(0), at(0)], "their time is the same");
}

#[test]
fn until_all_are_ready_the_end_of_one_is_the_end_of_all() {
    let devices = [device("a", "x", "1").phase(ExporterPhase::Available), device("b", "psu", "1")];
    let mut world = World::with(&devices, &duo("g", 0));
    world.settle();
    world.edit_lease("g-psu", |lease| *lease = lease.clone().released());
    world.settle_at(1);
    world.expect(&[("g-x", "not Ready/Released on a, ended"), ("g-psu", "not Ready/Released on b, ended")]);
    assert!(world.message("g-x").contains("before all of them were ready"), "{}", world.message("g-x"));
    // A group that waits is given up with one of its leases too.
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1").online(false)], &duo("g", 0));
    world.settle();
    world.edit_lease("g-psu", |lease| *lease = lease.clone().released());
    world.settle_at(1);
    world.expect(&[("g-psu", "not Ready/Released, ended"), ("g-x", "Invalid/GroupIncomplete, ended")]);
}

#[test]
fn once_all_are_ready_each_is_a_lease_like_any_other() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &duo("g", 0));
    world.settle();
    world.edit_lease("g-psu", |lease| *lease = lease.clone().released());
    world.settle_at(1);
    world.expect(&[("g-x", "Ready/Ready on a"), ("g-psu", "not Ready/Released on b, ended")]);
    world.restart();
    assert_eq!(world.settle_at(2), []);
    world.put(lease("late").wants("board=psu").created(3).in_group("g", 2, &["rack"]));
    world.settle_at(3);
    world.expect(&[("g-x", "Ready/Ready on a"), ("late", "Invalid/GroupMismatch, ended")]);
    world.settle_at(3600);
    world.expect(&[("g-x", "not Ready/Expired on a, ended")]);
}

#[test]
fn a_group_must_be_complete_within_a_minute() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[]);
    let [first, second] = duo("g", 10);
    world.put(first);
    world.settle_at(10);
    world.expect(&[("g-x", "Pending/GroupIncomplete")]);
    assert_eq!(world.wake_at, Some(at(70)));
    assert_eq!(world.settle_at(69), []);
    world.settle_at(70);
    world.expect(&[("g-x", "Invalid/GroupIncomplete, ended")]);
    assert!(world.message("g-x").contains("Only 1 of the 2 leases"), "{}", world.message("g-x"));
    // Who comes too late is refused too, since the others are over.
    world.put(second.created(10));
    world.settle_at(71);
    world.expect(&[("g-psu", "Invalid/GroupIncomplete, ended")]);
}

#[test]
fn a_group_larger_than_the_lab_is_refused_with_counts() {
    let devices = [device("a", "x", "1"), device("b", "x", "1").online(false), device("c", "psu", "1")];
    let three = ["m1", "m2", "m3"].map(|name| member(name, "x", 3));
    let mut world = World::with(&devices, &three);
    world.settle();
    world.expect(&["m1", "m2", "m3"].map(|name| (name, "Unsatisfiable/GroupTooLarge, ended")));
    let text = "3 leases of the group need board=x, and the lab has 2 such exporters with equal rack for the group";
    assert_eq!(world.message("m1"), text);
    // The same exporter twice.
    let twice = ["p1", "p2"].map(|name| lease(name).pinned("a").in_group("twice", 2, &[]));
    put_all(&mut world, twice);
    world.settle();
    world.expect(&["p1", "p2"].map(|name| (name, "Unsatisfiable/GroupTooLarge, ended")));
    let text = "2 leases of the group need the exporter a, and the lab has 1 such exporters for the group";
    assert_eq!(world.message("p1"), text);
    // What one of them could not have by itself.
    let none = [lease("n1").in_group("none", 2, &[]), lease("n2").wants("board=zz").in_group("none", 2, &[])];
    put_all(&mut world, none);
    world.settle();
    world.expect(&["n1", "n2"].map(|name| (name, "Unsatisfiable/NoAccess, ended")));
    assert!(world.message("n1").contains("The lease n2 of the group"), "{}", world.message("n1"));
}

#[test]
fn a_group_that_waits_is_not_refused_when_devices_go() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[lease("first").created(-1)]);
    world.settle();
    put_all(&mut world, duo("g", 0));
    world.settle();
    world.delete_exporter("b");
    world.settle_at(1);
    world.expect(
        &[("g-x", "Pending/NoAccess"), ("g-psu", "Pending/NoAccess")].map(|(name, _)| (name, "Pending/NotFound")),
    );
    world.put(device("c", "psu", "1"));
    world.edit_lease("first", |lease| *lease = lease.clone().released());
    world.settle_at(2);
    assert_eq!(held(&world), [("g-psu", "c"), ("g-x", "a")]);
}

#[test]
fn the_first_lease_says_what_the_group_is() {
    let devices = ["a", "b", "c", "d"].map(exporter);
    let first = || lease("m1").in_group("g", 2, &[]).created(0);
    for (other, fault) in [
        (lease("m2").in_group("g", 3, &[]), "has 2 leases"),
        (lease("m2").in_group("g", 2, &["rack"]), "are []"),
        (lease("m2").in_group("g", 2, &[]).by("bob"), "belongs to the client alice"),
        (lease("m2").in_group("g", 2, &[]).begins(100), "another begin"),
        (lease("m2").in_group("g", 99, &[]), "1 to 16"),
    ] {
        let mut world = World::with(&devices, &[first(), other.created(1)]);
        world.settle_at(1);
        world.expect(&[("m1", "Pending/GroupIncomplete"), ("m2", "Invalid/GroupMismatch, ended")]);
        assert!(world.message("m2").contains(fault), "{}", world.message("m2"));
        // Who does not belong to it does it no harm.
        world.put(lease("m3").in_group("g", 2, &[]).created(2));
        world.put(lease("m4").in_group("g", 2, &[]).created(3));
        world.settle_at(3);
        world.expect(&[("m1", "Ready/Ready on a"), ("m3", "Ready/Ready on b")]);
        assert_eq!(world.state("m4"), "Invalid/GroupMismatch, ended");
    }
    let mut alone = lease("alone").in_group("g", 2, &[]);
    alone.metadata.annotations = None;
    let mut world = World::with(&devices, &[alone]);
    world.settle();
    world.expect(&[("alone", "Invalid/GroupMismatch, ended")]);
    assert!(world.message("alone").contains("lease-group-size is missing"), "{}", world.message("alone"));
}

#[test]
fn a_scheduled_group_waits_from_its_begin() {
    let group = duo("g", 0).map(|lease| lease.begins(100));
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &group);
    world.settle();
    world.expect(&[("g-x", "Pending/Scheduled"), ("g-psu", "Pending/Scheduled")]);
    // Nothing is reserved for it.
    world.put(lease("short").created(50).lasting(60));
    world.settle_at(50);
    world.settle_at(100);
    world.expect(&[("short", "Ready/Ready on a"), ("g-x", "Pending/GroupNotAvailable")]);
    world.settle_at(110);
    world.expect(&[("g-x", "Ready/Ready on a"), ("g-psu", "Ready/Ready on b")]);
}

#[test]
fn all_members_need_access() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[]);
    world.put(policy("p", "board=x", &[rule("", 5)]));
    put_all(&mut world, duo("g", 0));
    world.settle();
    world.expect(&[("g-x", "Unsatisfiable/NoAccess, ended"), ("g-psu", "Unsatisfiable/NoAccess, ended")]);
    assert!(world.message("g-x").contains("The lease g-psu of the group"), "{}", world.message("g-x"));
}

#[test]
fn a_member_may_be_given_as_spot_and_makes_way_as_one() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[]);
    world.put(policy("p", "", &[rule("team=b", 0), rule("team=a", 0).spot()]));
    put_all(&mut world, duo("g", 0).map(Lease::requeues));
    world.settle();
    assert_eq!(held(&world), [("g-psu", "b"), ("g-x", "a")]);
    world.put(lease("full").by("bob").created(1));
    world.settle_at(1);
    world.settle_at(61);
    world.expect(&[("full", "Ready/Ready on a"), ("g-psu", "Ready/Ready on b")]);
    // What waits in the stead of the member waits for itself.
    let successor = world.leases.keys().find(|name| name.starts_with("g-x-r")).unwrap().clone();
    world.edit_lease("full", |lease| *lease = lease.clone().released());
    world.settle_at(70);
    world.expect(&[(&successor, "Ready/Ready on a")]);
}

#[test]
fn a_group_keeps_within_quotas_or_waits() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1"), device("c", "y", "1")], &[]);
    world.put(quota("q").devices(2));
    world.put(lease("one").wants("board=y"));
    world.settle();
    put_all(&mut world, duo("g", 1));
    world.settle_at(1);
    world.expect(&[("g-x", "Pending/QuotaExceeded"), ("g-psu", "Pending/QuotaExceeded")]);
    // It holds nobody else up meanwhile.
    world.put(lease("bobs").by("bob").created(2));
    world.settle_at(2);
    world.expect(&[("bobs", "Ready/Ready on a")]);
    for (secs, lease) in [(3, "bobs"), (4, "one")] {
        world.edit_lease(lease, |lease| *lease = lease.clone().released());
        world.settle_at(secs);
    }
    world.expect(&[("g-x", "Ready/Ready on a"), ("g-psu", "Ready/Ready on b")]);
}

#[test]
fn a_group_larger_than_a_quota_is_refused() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[]);
    world.put(quota("small").devices(1));
    put_all(&mut world, duo("g", 0));
    world.settle();
    world.expect(&[("g-x", "Unsatisfiable/QuotaExceeded, ended"), ("g-psu", "Unsatisfiable/QuotaExceeded, ended")]);
    assert!(
        world.message("g-x").contains("The quota small lets client alice have 1 of the 2"),
        "{}",
        world.message("g-x")
    );
}

#[test]
fn nobody_makes_way_for_a_group() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[]);
    world.put(policy("p", "", &[rule("team=b", 0), rule("team=a", 0).spot()]));
    world.put(lease("spot"));
    world.settle();
    put_all(&mut world, duo("g", 1).map(|lease| lease.by("bob")));
    let actions = world.settle_at(1);
    assert!(!actions.iter().any(|action| matches!(action, Action::GiveNotice { .. })), "{actions:?}");
    world.expect(&[("spot", "Ready/Ready on a"), ("g-x", "Pending/GroupNotAvailable")]);
}

#[test]
fn nobody_makes_way_for_who_stands_behind_a_group() {
    let told = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::GiveNotice { .. }));
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[]);
    world.put(policy("p", "", &[rule("team=b", 0), rule("team=a", 0).spot()]));
    world.put(lease("spot"));
    world.put(lease("on-b").wants("board=psu").by("bob").lasting(2000));
    world.settle();
    put_all(&mut world, duo("g", 1).map(|lease| lease.by("bob")));
    world.settle_at(1);
    // `a` would be kept back for the group until `on-b` ends, and this one lasts longer.
    world.put(lease("behind").by("bob").created(2).lasting(3000));
    let actions = world.settle_at(2);
    assert!(!told(&actions), "{actions:?}");
    for name in ["g-x", "g-psu"] {
        world.edit_lease(name, |lease| *lease = lease.clone().released());
    }
    let actions = world.settle_at(3);
    assert!(told(&actions), "the group has given up: {actions:?}");
}

#[test]
fn who_stands_behind_a_group_that_cannot_be_foreseen_drives_spot_out() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1").online(false)], &[]);
    world.put(policy("p", "", &[rule("team=b", 0), rule("team=a", 0).spot()]));
    world.put(lease("spot"));
    world.settle();
    put_all(&mut world, duo("g", 1).map(|lease| lease.by("bob")));
    world.put(lease("behind").by("bob").created(2).lasting(3000));
    let actions = world.settle_at(2);
    assert!(actions.iter().any(|action| matches!(action, Action::GiveNotice { .. })), "{actions:?}");
}

#[test]
fn who_asks_is_told_what_the_group_lacks() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[lease("holds").created(-1)]);
    world.settle();
    world.put(lease("ahead").created(0));
    put_all(&mut world, duo("g", 1));
    world.put(lease("behind").wants("board=psu").created(2));
    world.settle_at(2);
    let told = world.lab.explain("g-psu", world.now).unwrap();
    assert_eq!((told.standing, told.reason.as_str()), (LeaseStanding::Waiting, "GroupNotAvailable"));
    assert!(told.message.contains("free for 1 of the 2 leases"), "{}", told.message);
    let told = world.lab.explain("behind", world.now).unwrap();
    assert_eq!(told.reason, "Queued", "{}", told.message);
    assert_eq!(told.position, Some(3), "behind both of the group");
    assert_eq!(told.candidates[0].message, "b is kept back for the group g, which is ahead in line");
}

#[test]
fn a_group_is_not_refused_for_a_device_that_is_promised_to_somebody_else() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[]);
    world.put(lease("later").pinned("a").begins(600).lasting(600));
    world.settle();
    put_all(&mut world, duo("g", 1));
    world.settle_at(1);
    world.expect(&[("g-x", "Pending/GroupNotAvailable"), ("g-psu", "Pending/GroupNotAvailable")]);
    world.settle_at(600);
    world.settle_at(1200);
    world.expect(&[("g-x", "Ready/Ready on a"), ("g-psu", "Ready/Ready on b")]);
}

#[test]
fn a_group_is_not_refused_for_a_device_that_is_kept_for_a_group_ahead() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "x", "1")], &[]);
    world.put(lease("single").pinned("a").lasting(14));
    world.settle();
    let pair = |group: &str, secs: i64, created: i64| {
        ["0", "1"].map(|number| {
            let lease = lease(&format!("{group}-{number}")).wants("board=x").created(created).lasting(secs);
            lease.in_group(group, 2, &[])
        })
    };
    put_all(&mut world, pair("first", 5, 1));
    world.settle_at(1);
    // `b` is kept for the first until `a` is there, and this one would need it for longer.
    put_all(&mut world, pair("second", 100, 2));
    world.settle_at(2);
    world.expect(&[("second-0", "Pending/GroupNotAvailable"), ("second-1", "Pending/GroupNotAvailable")]);
    world.settle_at(14);
    world.settle_at(19);
    world.expect(&[("second-0", "Ready/Ready on a"), ("second-1", "Ready/Ready on b")]);
}

#[test]
fn a_group_keeps_devices_by_the_policies_of_the_moment() {
    let mut world = World::with(&[device("a", "x", "1"), device("c", "y", "1"), device("e", "y", "1")], &[]);
    world.put(client("bob", &[("team", "b")]));
    let ranked = |bob: i64, others: i64| policy("q", "", &[rule("team=b", bob), rule("!team", others)]);
    world.put(ranked(0, 2));
    world.put(lease("single").pinned("a").lasting(50));
    world.settle();
    let both = [("y", "board=y"), ("x", "board=x")];
    put_all(&mut world, both.map(|(name, wants)| lease(name).wants(wants).created(1).in_group("first", 2, &[])));
    world.settle_at(1);
    // `c` is kept for the first, whose priority is no longer the higher one.
    world.put(ranked(2, 0));
    world.put(lease("later").by("bob").wants("board=y").created(2).in_group("second", 1, &[]));
    world.settle_at(2);
    world.expect(&[("later", "Ready/Ready on c")]);
}
