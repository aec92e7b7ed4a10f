//! Groups and single leases in one line.

use super::*;

/// Holders of `a` (board x) and `b` (power supply), and the group `g` behind them.
fn awaited() -> World {
    let holders = [lease("on-a").lasting(1000), lease("on-b").wants("board=psu").lasting(2000)];
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &holders);
    world.settle();
    put_all(&mut world, duo("g", 1));
    world.settle_at(1);
    world
}

fn release(world: &mut World, lease: &str, secs: i64) {
    world.edit_lease(lease, |lease| *lease = lease.clone().released());
    world.settle_at(secs);
}

#[test]
fn the_group_at_the_head_of_the_line_gets_devices_that_come_free_one_after_the_other() {
    let mut world = awaited();
    // A stream of single leases for the same devices.
    for number in 2..30 {
        let board = if number % 2 == 0 { "board=x" } else { "board=psu" };
        world.put(lease(&format!("single-{number}")).wants(board).created(number));
        world.settle_at(number);
    }
    release(&mut world, "on-a", 40);
    assert_eq!(held(&world), [("on-b", "b")], "a is kept back");
    release(&mut world, "on-b", 50);
    assert_eq!(held(&world), [("g-psu", "b"), ("g-x", "a")]);
}

#[test]
fn a_lease_before_the_group_in_line_is_served_first() {
    let mut world = awaited();
    world.put(policy("p", "", &[rule("team=a", 0), rule("team=b", 5)]));
    world.put(lease("better").by("bob").created(10));
    world.put(lease("elder").created(0));
    world.settle_at(10);
    release(&mut world, "on-a", 20);
    assert_eq!(held(&world), [("better", "a"), ("on-b", "b")]);
    release(&mut world, "better", 30);
    assert_eq!(held(&world), [("elder", "a"), ("on-b", "b")]);
}

#[test]
fn a_lease_that_ends_in_time_may_have_what_is_kept_back() {
    let mut world = awaited();
    release(&mut world, "on-a", 10);
    // `on-b` ends after 2000 s.
    world.put(lease("long").created(20).lasting(1981));
    world.put(lease("short").created(21).lasting(1979));
    world.settle_at(21);
    assert_eq!(held(&world), [("on-b", "b"), ("short", "a")]);
    // It came sooner: now the group waits for `short`.
    release(&mut world, "on-b", 30);
    world.put(lease("psu").wants("board=psu").created(31).lasting(1970));
    world.settle_at(31);
    assert_eq!(held(&world), [("short", "a")], "b is kept back until 2000 s");
    release(&mut world, "short", 40);
    assert_eq!(held(&world), [("g-psu", "b"), ("g-x", "a")]);
}

#[test]
fn what_is_kept_back_is_given_out_when_the_group_gives_up() {
    let mut world = awaited();
    world.put(lease("next").created(2));
    release(&mut world, "on-a", 10);
    assert_eq!(held(&world), [("on-b", "b")]);
    release(&mut world, "g-psu", 20);
    assert_eq!(held(&world), [("next", "a"), ("on-b", "b")]);
}

#[test]
fn what_is_kept_back_is_let_go_when_something_else_is_ahead() {
    let mut world = World::with(
        &[device("a", "x", "1"), device("b", "psu", "1")],
        &[lease("on-b").wants("board=psu").lasting(2500), lease("ahead").pinned("a").begins(3000).lasting(600)],
    );
    world.settle();
    put_all(&mut world, duo("g", 1).map(|lease| lease.lasting(1000)));
    world.put(lease("gap").created(1900).lasting(900));
    world.settle_at(1900);
    world.expect(&[("gap", "Pending/Reserved"), ("g-x", "Pending/GroupNotAvailable")]);
    // Until 2000 s the group could still have `a` before it is reserved, were `b` given back.
    assert_eq!(world.wake_at, Some(at(2001)));
    world.settle_at(2000);
    assert_eq!(held(&world), [("on-b", "b")]);
    world.settle_at(2001);
    assert_eq!(held(&world), [("gap", "a"), ("on-b", "b")]);
}

/// A reservation that comes nearer than what was ahead already.
#[test]
fn what_is_kept_back_follows_the_nearest_of_what_is_ahead() {
    let mut world = World::with(
        &[device("a", "x", "1"), device("b", "psu", "1")],
        &[lease("on-b").wants("board=psu").lasting(800), lease("ahead").pinned("a").begins(3000).lasting(600)],
    );
    world.settle();
    put_all(&mut world, duo("g", 1).map(|lease| lease.lasting(1000)));
    world.put(lease("gap").created(100).lasting(900));
    world.settle_at(100);
    world.expect(&[("g-x", "Pending/GroupNotAvailable")]);
    assert_eq!(held(&world), [("on-b", "b")], "a is kept back");
    world.put(lease("nearer").pinned("a").created(200).begins(1600).lasting(100));
    world.settle_at(200);
    assert_eq!(world.wake_at, Some(at(601)));
    world.settle_at(601);
    assert_eq!(held(&world), [("gap", "a"), ("on-b", "b")]);
}

#[test]
fn nothing_is_kept_back_for_a_group_that_a_quota_keeps_waiting() {
    let devices = [device("a", "x", "1"), device("b", "psu", "1"), device("c", "y", "1")];
    let mut world = World::with(&devices, &[lease("on-b").by("bob").wants("board=psu").lasting(2000)]);
    world.put(quota("q").devices(2));
    world.settle();
    put_all(&mut world, duo("g", 1));
    world.put(lease("single").by("bob").created(2));
    world.settle_at(2);
    assert_eq!(held(&world), [("on-b", "b")], "a is kept back");
    // Now the account has room for one more, which is too little.
    world.put(lease("other").wants("board=y").created(3));
    world.settle_at(3);
    assert_eq!(held(&world), [("on-b", "b"), ("other", "c"), ("single", "a")]);
    world.expect(&[("g-x", "Pending/QuotaExceeded"), ("g-psu", "Pending/QuotaExceeded")]);
}

#[test]
fn a_group_is_served_when_its_account_has_the_device_time() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &[lease("used").lasting(2000)]);
    world.put(quota("q").time(3000, 10_000));
    world.settle();
    world.settle_at(2000);
    put_all(&mut world, duo("g", 2000).map(|lease| lease.lasting(1000)));
    world.settle_at(2000);
    world.expect(&[("g-x", "Pending/QuotaExceeded"), ("g-psu", "Pending/QuotaExceeded")]);
    // Each could have its time at once, both need 2000 s of 3000, and 1000 of those used fall out of the period by then.
    while let Some(wake_at) = world.wake_at.filter(|_| held(&world).is_empty()) {
        world.now = wake_at;
        world.settle();
    }
    assert_eq!((world.now, held(&world)), (at(11_000), vec![("g-psu", "b"), ("g-x", "a")]));
}

#[test]
fn nothing_is_kept_back_for_a_group_whose_time_cannot_be_foreseen() {
    let mut world = awaited();
    world.put(lease("next").created(2));
    world.edit_exporter("b", |exporter| exporter.online(false));
    release(&mut world, "on-a", 10);
    assert_eq!(held(&world), [("next", "a"), ("on-b", "b")]);
}

#[test]
fn groups_that_want_the_same_devices_are_served_one_after_the_other() {
    let mut world = awaited();
    put_all(&mut world, duo("h", 2));
    // Each could get one of the two.
    world.settle_at(2);
    release(&mut world, "on-b", 10);
    release(&mut world, "on-a", 20);
    assert_eq!(held(&world), [("g-psu", "b"), ("g-x", "a")]);
    release(&mut world, "g-x", 30);
    release(&mut world, "g-psu", 40);
    assert_eq!(held(&world), [("h-psu", "b"), ("h-x", "a")]);
}

#[test]
fn a_group_ranks_as_its_worst_member() {
    let mut world = awaited();
    world.put(policy("p", "board=x", &[rule("team=a", 9), rule("team=b", 5)]));
    world.put(policy("q", "board=psu", &[rule("", 1)]));
    // The group has 9 at `a` and 1 at `b`, the lease 5 at `a`.
    world.put(lease("single").by("bob").created(5));
    world.settle_at(5);
    release(&mut world, "on-a", 10);
    assert_eq!(held(&world), [("on-b", "b"), ("single", "a")]);
}

#[test]
fn where_the_group_can_begin_first_devices_are_kept_back() {
    let devices = [device("a1", "x", "1"), device("b1", "psu", "1"), device("a2", "x", "2"), device("b2", "psu", "2")];
    let holders = [("a1", 500), ("b1", 900), ("a2", 300), ("b2", 400)];
    let holders = holders.map(|(name, secs)| lease(&format!("on-{name}")).pinned(name).lasting(secs));
    let mut world = World::with(&devices, &holders);
    world.settle();
    put_all(&mut world, duo("g", 1));
    world.put(lease("single").created(2));
    world.settle_at(2);
    // Rack 2 can be had at 400 s, rack 1 at 900 s.
    release(&mut world, "on-a1", 10);
    assert!(held(&world).contains(&("single", "a1")), "{:?}", held(&world));
    release(&mut world, "on-a2", 20);
    world.put(lease("another").created(21));
    world.settle_at(21);
    assert_eq!(world.state("another"), "Pending/Queued");
    world.settle_at(400);
    assert!(held(&world).contains(&("g-x", "a2")) && held(&world).contains(&("g-psu", "b2")));
}

#[test]
fn among_equal_places_the_one_used_longest_ago_is_taken() {
    let devices = [device("a1", "x", "1"), device("b1", "psu", "1"), device("a2", "x", "2"), device("b2", "psu", "2")];
    let mut world = World::with(&devices, &[]);
    world.put(lease("used").pinned("b1").on("b1").ready().released());
    world.settle_at(-100);
    put_all(&mut world, duo("g", 0));
    world.settle_at(0);
    assert_eq!(held(&world), [("g-psu", "b2"), ("g-x", "a2")]);
}
