//! Random lives of a lab with good, flaky and dead devices, against the promises about quarantine.

use std::collections::BTreeMap;

use jumpstarter_model::ExporterPhase;
use proptest::prelude::*;

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease};

const DEVICES: usize = 10;

/// How often a device fails, in tenths, and what becomes of its checks.
#[derive(Clone, Debug)]
struct Story {
    tenths: Vec<u8>,
    dice: Vec<u8>,
    restarts: Vec<bool>,
    checks: bool,
    share: u32,
}

fn story() -> impl Strategy<Value = Story> {
    let tenths = prop_oneof![6 => Just(0_u8), 1 => Just(3), 2 => Just(10)];
    (
        prop::collection::vec(tenths, DEVICES),
        prop::collection::vec(0..10_u8, 60..120),
        prop::collection::vec(prop::bool::weighted(0.1), 7),
        any::<bool>(),
        prop_oneof![Just(10_u32), Just(20), Just(50)],
    )
        .prop_map(|(tenths, dice, restarts, checks, share)| Story { tenths, dice, restarts, checks, share })
}

fn name(device: usize) -> String {
    format!("d{device}")
}

fn tell(story: &Story) {
    let mut world = World::new();
    world.config.quarantine.checks = story.checks;
    world.config.quarantine.share = story.share;
    world.restart();
    for device in 0..DEVICES {
        world.put(exporter(&name(device)).phase(ExporterPhase::Available));
    }
    let most = DEVICES * story.share as usize / 100;
    let (mut secs, mut failed) = (0, BTreeMap::<String, usize>::new());
    for (turn, dice) in story.dice.iter().enumerate() {
        secs += 60;
        world.now = at(secs);
        let wish = format!("l{turn:03}");
        world.put(lease(&wish).created(secs));
        world.settle();
        // Everybody who has a device uses it up, checks as well.
        while let Some((lease, exporter)) = world.leases.iter().find_map(|(name, lease)| {
            (!lease.is_ended()).then_some(())?;
            Some((name.clone(), lease.assigned_exporter()?.to_owned()))
        }) {
            let device: usize = exporter[1..].parse().unwrap();
            let fails = *dice < story.tenths[device];
            world.play(&exporter, &lease, fails);
            if !lease.starts_with("check-") {
                *failed.entry(exporter).or_default() += usize::from(fails);
            }
            if story.restarts[turn % story.restarts.len()] {
                world.restart();
            }
            assert_eq!(world.rebuilt().decide(world.now).actions, world.settle(), "a core that knows only the objects");
        }
        assert!(world.leases[&wish].is_ended(), "somebody always serves");
        let out = (0..DEVICES).filter(|device| world.quarantine(&name(*device)).starts_with("True")).count();
        assert!(out <= most, "{out} of {DEVICES}, at most {most}");
        assert_eq!(out, world.lab.quarantined());
        for device in 0..DEVICES {
            let (exporter, tenths) = (name(device), story.tenths[device]);
            let told = world.quarantine(&exporter);
            assert!(tenths > 0 || told == "-", "{exporter} is healthy: {told}");
            let dead = tenths == 10 && failed.get(&exporter).is_some_and(|times| *times >= 3);
            assert!(!dead || told != "-", "{exporter} has failed {failed:?}");
        }
    }
    // Every quarantine ends.
    for _ in 0..40 {
        let Some(wake) = world.wake_at else { break };
        world.now = wake;
        world.settle();
        while let Some((lease, exporter)) = world.leases.iter().find_map(|(name, lease)| {
            (!lease.is_ended()).then_some(())?;
            Some((name.clone(), lease.assigned_exporter()?.to_owned()))
        }) {
            world.play(&exporter, &lease, false);
        }
    }
    assert_eq!(world.lab.quarantined(), 0, "every quarantine ends");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn healthy_devices_stay_dead_ones_go_and_the_share_holds(story in story()) {
        tell(&story);
    }
}
