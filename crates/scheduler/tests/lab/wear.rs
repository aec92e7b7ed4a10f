//! Which of several equal exporters is given out. The names are sentences of `docs/scheduling.md`.

use crate::kit::{LeaseExt as _, World, exporter, lease};

#[test]
fn among_equals_the_one_used_longest_ago_is_given_out() {
    let used = [lease("x").on("a").ended_at(30), lease("y").on("b").ended_at(10), lease("z").on("c").ended_at(20)];
    let mut world = World::with(&["a", "b", "c"].map(exporter), &used);
    for (name, on) in [("l1", "b"), ("l2", "c"), ("l3", "a")] {
        world.put(lease(name).created(40));
        world.settle_at(40);
        world.expect(&[(name, &format!("Ready/Ready on {on}"))]);
    }
}

#[test]
fn one_never_used_comes_first_and_the_name_breaks_ties() {
    let mut world = World::with(&["a", "c", "b"].map(exporter), &[lease("x").on("a").ended_at(30)]);
    for (name, on) in [("l1", "b"), ("l2", "c"), ("l3", "a")] {
        world.put(lease(name).created(40));
        world.settle_at(40);
        world.expect(&[(name, &format!("Ready/Ready on {on}"))]);
    }
}

#[test]
fn use_goes_round_also_after_a_restart() {
    let mut world = World::with(&["a", "b", "c"].map(exporter), &[]);
    let mut seen = Vec::new();
    for turn in 0..6_i64 {
        let name = format!("l{turn}");
        world.put(lease(&name).created(turn));
        world.settle_at(10 * turn);
        seen.push(world.leases[&name].assigned_exporter().unwrap().to_owned());
        world.edit_lease(&name, |lease| *lease = lease.clone().released());
        world.settle_at(10 * turn + 5);
        if turn % 2 == 0 {
            world.restart();
        }
    }
    assert_eq!(seen, ["a", "b", "c", "a", "b", "c"]);
}
