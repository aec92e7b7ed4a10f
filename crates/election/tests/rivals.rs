//! Several candidates over one simulated object: delayed and lost calls, silent watches, crashes, wall clocks that are
//! hours apart. Never do two of them believe that they lead.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "rivals/world.rs"]
mod world;

use proptest::prelude::*;
use world::{Plan, Trouble, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn never_two_leaders(
        seed in any::<u64>(),
        candidates in 2_usize..5,
        lost in 0_u32..40,
        slow in 0_u32..40,
        deaf in 0_u32..100,
        crashes in 0_u32..8,
        leaves in 0_u32..8,
        deletions in 0_u32..3,
    ) {
        let trouble = Trouble { lost, slow, deaf, crashes, leaves };
        // A deleted object protects nobody: whoever starts then cannot know that somebody leads, and a call that was
        // under way may land where another's record was. Deletions alone must be survived.
        let trouble = if deletions > 0 { Trouble { deaf, ..Trouble::default() } } else { trouble };
        let mut world = World::new(Plan { seed, candidates, trouble, deletions });
        // Two minutes of trouble, then peace: by then somebody must lead, and the same one stay.
        world.run(120_000)?;
        world.calm();
        world.run(40_000)?;
        let leader = world.leader();
        prop_assert!(leader.is_some(), "nobody leads after 40 s without trouble");
        world.run(30_000)?;
        prop_assert_eq!(world.leader(), leader, "the leader changed without a reason");
    }
}

#[test]
fn a_quiet_world_has_a_leader_within_a_second_and_keeps_it() {
    let mut world = World::new(Plan { seed: 1, candidates: 3, trouble: Trouble::default(), deletions: 0 });
    world.run(1_000).unwrap();
    let leader = world.leader();
    assert!(leader.is_some());
    world.run(600_000).unwrap();
    assert_eq!(world.leader(), leader);
}

#[test]
fn a_dead_leader_is_replaced_within_its_lease() {
    let mut world = World::new(Plan { seed: 2, candidates: 2, trouble: Trouble::default(), deletions: 0 });
    world.run(5_000).unwrap();
    let leader = world.leader().unwrap();
    world.kill(leader);
    world.run(7_900).unwrap();
    assert!(world.leader().is_none_or(|now| now == leader), "before the lease can be over");
    world.run(4_200).unwrap();
    assert!(world.leader().is_some());
}

#[test]
fn a_leader_that_leaves_is_replaced_at_once() {
    let mut world = World::new(Plan { seed: 3, candidates: 2, trouble: Trouble::default(), deletions: 0 });
    world.run(5_000).unwrap();
    let leader = world.leader().unwrap();
    world.dismiss(leader);
    world.run(300).unwrap();
    assert!(world.leader().is_some_and(|now| now != leader));
}
