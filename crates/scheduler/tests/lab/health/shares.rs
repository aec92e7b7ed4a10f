//! How many of a pool may be quarantined.

use super::*;

#[test]
fn never_more_than_the_share_of_a_pool_is_quarantined() {
    let mut world = unchecked(10);
    for name in ["a", "b", "c", "d"] {
        world.fail(name, 3);
    }
    let states = ["a", "b", "c", "d"].map(|name| world.quarantine(name));
    let (out, limited) = ("True HookFailures", "False QuarantineLimited");
    assert_eq!(states, [out, out, limited, limited]);
    // What comes free goes to the worst.
    world.fail("d", 1);
    world.annotate("a", transition::LIFT_QUARANTINE, Some("now"));
    let states = ["a", "b", "c", "d"].map(|name| world.quarantine(name));
    assert_eq!(states, ["False ByHand", out, limited, out]);
    for turn in 0..3 {
        let lease = format!("well{turn}");
        world.turn("c", &lease, false);
    }
    assert_eq!(world.quarantine("c"), "False Recovered");
}

#[test]
fn pools_are_told_apart_by_a_label() {
    let mut world = World::new();
    world.config.quarantine.pool_label = Some("board".to_owned());
    world.restart();
    for (name, board) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y"), ("e", "z")] {
        world.put(exporter(name).label("board", board).phase(ExporterPhase::Available));
    }
    for name in ["a", "c", "d", "e"] {
        world.fail(name, 3);
    }
    let states = ["a", "b", "c", "d", "e"].map(|name| world.quarantine(name));
    let (out, limited) = ("True HookFailures", "False QuarantineLimited");
    assert_eq!(states, [out, "-", out, limited, limited], "one of two, and never the only one");
}

#[test]
fn quarantines_by_hand_use_up_the_share() {
    let mut world = unchecked(10);
    world.annotate("i", transition::QUARANTINE, Some("true"));
    world.annotate("j", transition::QUARANTINE, Some("true"));
    world.fail("a", 3);
    assert_eq!(world.quarantine("a"), "False QuarantineLimited");
    world.annotate("i", transition::QUARANTINE, None);
    assert_eq!(world.quarantine("a"), "True HookFailures");
}

#[test]
fn with_a_share_of_nothing_nobody_is_quarantined() {
    let mut world = unchecked(10);
    world.config.quarantine.share = 0;
    world.restart();
    world.fail("a", 9);
    assert_eq!(world.quarantine("a"), "-");
}

#[test]
fn the_smallest_share_is_one_device_and_the_largest_all() {
    for (share, out) in [(1, 1), (100, 4)] {
        let mut world = unchecked(4);
        world.config.quarantine.share = share;
        world.restart();
        for name in ["a", "b", "c", "d"] {
            world.fail(name, 3);
        }
        let states = ["a", "b", "c", "d"].map(|name| world.quarantine(name));
        assert_eq!(states.iter().filter(|state| state.starts_with("True")).count(), out, "{share} %: {states:?}");
    }
}
