//! Groups under faults: conflicts, deaths, crashes between any two writes.

use super::*;
use crate::kit::halves;

fn lab() -> World {
    World::with(
        &[device("a", "x", "1"), device("b", "psu", "1"), device("c", "x", "2"), device("d", "psu", "2")],
        &duo("g", 0),
    )
}

fn check_all_or_nothing(world: &World) {
    let holders = held(world).into_iter().filter(|(lease, _)| lease.starts_with("g-")).collect::<Vec<_>>();
    assert!(holders.is_empty() || holders.len() == 2, "{holders:?}");
}

#[test]
fn a_claim_that_fails_undoes_the_others_and_the_group_is_served_elsewhere() {
    let mut world = lab();
    let actions = world.decide();
    let [first @ Action::Claim { .. }, second @ Action::Claim { .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!([first, second].map(|action| action.exporter().unwrap()), ["b", "a"]);
    world.carry_out(first);
    assert_eq!(world.decide(), [], "the other claim is being written");
    // Somebody else was quicker.
    world.put(lease("quick").pinned("a").on("a").ready());
    world.exporters.insert("a".to_owned(), device("a", "x", "1").claimed_for("quick"));
    world.settled(second);
    world.settle();
    assert_eq!(held(&world), [("g-psu", "d"), ("g-x", "c"), ("quick", "a")]);
    assert_eq!(world.exporters["b"].status.as_ref().unwrap().lease_ref, None);
}

#[test]
fn nobody_is_told_of_a_device_before_all_are_claimed() {
    let mut world = lab();
    let actions = world.decide();
    for action in &actions {
        world.carry_out(action);
        assert_eq!(held(&world), []);
    }
    // It dies at the last moment.
    world.edit_exporter("a", |exporter| exporter.online(false));
    world.settle();
    assert_eq!(held(&world), [("g-psu", "d"), ("g-x", "c")]);
}

#[test]
fn nobody_is_ready_before_what_all_hold_is_stored() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &duo("g", 0));
    world.decide().iter().for_each(|claim| world.carry_out(claim));
    let actions = world.decide();
    let [first @ Action::CompleteClaim { .. }, Action::CompleteClaim { .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    world.carry_out(first);
    world.restart();
    // The other half fails this time: somebody has just changed the lease.
    let actions = world.decide();
    let [second @ Action::CompleteClaim { .. }] = actions.as_slice() else { panic!("{actions:?}") };
    world.settled(second);
    let actions = world.decide();
    assert!(matches!(actions.as_slice(), [Action::CompleteClaim { .. }]), "{actions:?}");
    for action in &actions {
        world.carry_out(action);
    }
    world.settle();
    world.expect(&[("g-x", "Ready/Ready on a"), ("g-psu", "Ready/Ready on b")]);
}

#[test]
fn a_device_that_dies_before_all_are_ready_ends_the_group() {
    let mut world = lab();
    world.edit_exporter("b", |exporter| exporter.phase(ExporterPhase::Available));
    world.settle();
    world.expect(&[("g-x", "Pending/Preparing on a"), ("g-psu", "Pending/Preparing on b")]);
    world.delete_exporter("a");
    world.settle_at(1);
    world.expect(&[("g-x", "not Ready/Released on a, ended"), ("g-psu", "not Ready/Released on b, ended")]);
}

#[test]
fn a_group_that_was_cut_short_is_completed_or_undone() {
    for crash_at in 0.. {
        let mut world = lab();
        let mut writes = 0;
        'story: loop {
            let actions = world.decide();
            if actions.is_empty() {
                break;
            }
            for action in &actions {
                let Some(transition) = world.transition(action) else { continue };
                for half in halves(transition) {
                    if writes == crash_at {
                        world.restart();
                        break 'story;
                    }
                    writes += 1;
                    world.write(action, half);
                }
                world.settled(action);
            }
        }
        world.settle_at(1);
        check_all_or_nothing(&world);
        world.expect(&[("g-x", &format!("Ready/Ready on {}", place(&world, "g-x")))]);
        world.expect(&[("g-psu", &format!("Ready/Ready on {}", place(&world, "g-psu")))]);
        let claims = world.exporters.values().filter(|exporter| exporter.status.as_ref().unwrap().lease_ref.is_some());
        assert_eq!(claims.count(), 2, "crashed after {crash_at} writes");
        if writes < crash_at {
            assert!(writes >= 6, "{writes}");
            return;
        }
    }
}

#[test]
fn a_group_that_was_cut_short_and_can_no_longer_have_all_is_undone() {
    let mut world = World::with(&[device("a", "x", "1"), device("b", "psu", "1")], &duo("g", 0));
    let actions = world.decide();
    let transition = world.transition(&actions[0]).unwrap();
    world.write(&actions[0], transition);
    world.edit_exporter("b", |exporter| exporter.online(false));
    world.restart();
    world.put(lease("single").created(1));
    world.settle_at(1);
    // Nobody knows when `b` comes back, so `a` is given out.
    assert_eq!(held(&world), [("single", "a")]);
    world.expect(&[("g-x", "Pending/GroupNotAvailable"), ("g-psu", "Pending/GroupNotAvailable")]);
}

fn place<'a>(world: &'a World, lease: &str) -> &'a str {
    world.leases[lease].assigned_exporter().unwrap_or("nothing")
}
