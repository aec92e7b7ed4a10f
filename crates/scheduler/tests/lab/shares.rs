//! Who comes first by what they have used, and how long anybody waits.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jumpstarter_model::{Lease, LeaseQuota};
use jumpstarter_scheduler::WhatIf;
use proptest::{prelude::*, sample::select};

use crate::kit::{
    ExporterExt as _, LeaseExt as _, QuotaExt as _, RuleExt as _, World, at, client, exporter, lease, policy, quota,
    rule,
};

const HOUR: i64 = 3600;

fn by_team() -> LeaseQuota {
    quota("shares").by_team().weight(1)
}

/// A lease of the past.
fn used(name: &str, client: &str, from: i64, to: i64) -> Lease {
    lease(name).by(client).created(from).on("a").begun(from).ended_at(to)
}

/// Carol, of a team of her own, holds the only exporter; the others wait in the order of their age.
fn queue(quotas: &[LeaseQuota], past: &[Lease], waiting: &[Lease]) -> World {
    let holder = lease("h").by("carol").on("a").ready().created(-100);
    let mut world = World::with(&[exporter("a").claimed_for("h")], &[holder]);
    world.put(client("carol", &[("team", "c")]));
    past.iter().cloned().for_each(|lease| world.put(lease));
    quotas.iter().cloned().for_each(|quota| world.put(quota));
    for (secs, lease) in (1..).zip(waiting) {
        world.put(lease.clone().created(secs));
    }
    world.settle_at(10);
    world
}

fn release(world: &mut World, name: &str) {
    world.edit_lease(name, |lease| *lease = lease.clone().released());
}

/// Who gets the exporter when Carol lets it go.
fn next(mut world: World) -> String {
    release(&mut world, "h");
    world.settle();
    let mut live = world.leases.iter().filter(|(_, lease)| !lease.is_ended() && lease.assigned_exporter() == Some("a"));
    live.next().unwrap().0.clone()
}

fn alice_then_bob() -> [Lease; 2] {
    [lease("alices"), lease("bobs").by("bob")]
}

#[test]
fn the_account_that_has_used_the_least_goes_first() {
    let past = [used("p", "alice", -2 * HOUR, -HOUR)];
    assert_eq!(next(queue(&[by_team()], &past, &alice_then_bob())), "bobs");
    assert_eq!(next(queue(&[], &past, &alice_then_bob())), "alices", "without a weight age decides");
    let caps_alone = [quota("q").by_team().devices(5)];
    assert_eq!(next(queue(&caps_alone, &past, &alice_then_bob())), "alices", "without a weight age decides");
}

#[test]
fn at_equal_shares_the_eldest_goes_first() {
    assert_eq!(next(queue(&[by_team()], &[], &alice_then_bob())), "alices");
    let past = [used("p", "alice", -2 * HOUR, -HOUR), used("q", "bob", -2 * HOUR, -HOUR)];
    assert_eq!(next(queue(&[by_team()], &past, &alice_then_bob())), "alices");
}

#[test]
fn what_was_used_a_half_life_ago_counts_half() {
    let day = 24 * HOUR;
    for (minutes, first) in [(50, "bobs"), (70, "alices")] {
        let past = [used("p", "alice", -day - 2 * HOUR, -day), used("q", "bob", -minutes * 60, 0)];
        assert_eq!(next(queue(&[by_team()], &past, &alice_then_bob())), first, "bob used {minutes} minutes just now");
    }
}

#[test]
fn a_heavier_account_may_use_more() {
    let quotas = [quota("boards").of("team=a").by_team().weight(2), quota("others").by_team().weight(1)];
    for (hours, first) in [(3, "alices"), (5, "bobs")] {
        let past = [used("p", "alice", -hours * HOUR, 0), used("q", "bob", -2 * HOUR, 0)];
        assert_eq!(next(queue(&quotas, &past, &alice_then_bob())), first, "{hours} hours for weight 2, 2 for weight 1");
    }
}

#[test]
fn a_lease_that_runs_counts_as_it_runs() {
    let mut world = queue(&[by_team()], &[used("p", "bob", -HOUR, 0)], &[]);
    world.put(exporter("b").label("board", "y"));
    world.put(lease("long").wants("board=y").lasting(9 * HOUR).created(0));
    world.edit_lease("h", |lease| *lease = lease.clone().lasting(9 * HOUR));
    world.settle_at(10);
    for lease in alice_then_bob() {
        world.put(lease.created(20));
    }
    world.settle_at(30);
    for (secs, first) in [(1800, "alices"), (2 * HOUR, "bobs")] {
        let mut later = queue(&[], &[], &[]);
        (later.leases, later.exporters, later.quotas) =
            (world.leases.clone(), world.exporters.clone(), world.quotas.clone());
        later.now = at(secs);
        later.restart();
        assert_eq!(next(later), first, "after {secs} s");
    }
}

#[test]
fn priority_comes_before_share() {
    let mut world = queue(&[by_team()], &[used("p", "alice", -2 * HOUR, -HOUR)], &alice_then_bob());
    world.put(policy("p", "", &[rule("team=a", 5), rule("", 0)]));
    world.settle();
    assert_eq!(next(world), "alices");
}

#[test]
fn who_has_no_weight_counts_alone_with_a_weight_of_one() {
    let quotas = [quota("boards").of("team=a").by_team().weight(3)];
    for (hours, first) in [(2, "alices"), (4, "bobs")] {
        let past = [used("p", "alice", -hours * HOUR, 0), used("q", "bob", -HOUR, 0)];
        assert_eq!(next(queue(&quotas, &past, &alice_then_bob())), first, "{hours} hours for weight 3, 1 for none");
    }
}

#[test]
fn shares_count_at_the_exporters_of_the_quota_only() {
    let past = [used("p", "alice", -2 * HOUR, -HOUR)];
    let elsewhere = by_team().counts("board=y");
    assert_eq!(next(queue(&[elsewhere], &past, &alice_then_bob())), "alices");
}

#[test]
fn devices_that_come_free_at_once_are_dealt_out_in_turn() {
    for count in [4, 20] {
        let exporters = (0..count).map(|index| exporter(&format!("e{index:02}")).online(false)).collect::<Vec<_>>();
        let mut world = World::with(&exporters, &[]);
        world.put(by_team());
        for index in 0..count {
            world.put(lease(&format!("a{index:02}")).created(index));
            world.put(lease(&format!("b{index:02}")).by("bob").created(100 + index));
        }
        world.settle_at(200);
        for exporter in exporters {
            world.put(exporter.online(true));
        }
        world.settle();
        let held = |team: &str| {
            let ready =
                world.leases.keys().filter(|name| name.starts_with(team) && world.state(name).starts_with("Ready"));
            ready.count()
        };
        let half = usize::try_from(count / 2).unwrap();
        assert_eq!((held("a"), held("b")), (half, half));
    }
}

#[test]
fn shares_are_the_same_after_a_restart() {
    let past = [used("p", "alice", -40 * HOUR, -20 * HOUR), used("q", "bob", -8 * HOUR, -HOUR)];
    for restart in [false, true] {
        let mut world = queue(&[by_team()], &past, &alice_then_bob());
        world.settle_at(5 * HOUR / 6);
        if restart {
            world.restart();
        }
        assert_eq!(next(world), "bobs");
    }
}

#[test]
fn who_has_waited_for_too_long_comes_first_whatever_share_and_priority() {
    let holder = lease("h").by("carol").on("a").ready().created(-100).lasting(99 * HOUR);
    let table = [(23, "bobs"), (24, "alices")];
    for (hours, first) in table {
        let mut world = World::with(&[exporter("a").claimed_for("h")], std::slice::from_ref(&holder));
        world.put(by_team());
        world.put(policy("p", "", &[rule("team=b", 5), rule("", 0)]));
        world.put(client("carol", &[("team", "c")]));
        world.put(used("p", "alice", -2 * HOUR, -HOUR));
        world.put(lease("alices").created(0));
        world.put(lease("bobs").by("bob").created(1));
        world.settle_at(hours * HOUR);
        assert_eq!(world.lab.why("bobs", &WhatIf::default(), world.now).unwrap().ahead.len(), usize::from(hours == 24));
        assert_eq!(next(world), first, "after {hours} hours");
    }
}

#[test]
fn the_longest_wait_does_not_lift_spot_access_over_full_access() {
    let holder = lease("h").by("carol").on("a").ready().created(-100).lasting(99 * HOUR);
    let mut world = World::with(&[exporter("a").claimed_for("h")], &[holder]);
    world.put(policy("p", "", &[rule("team=b", 0), rule("", 9).spot()]));
    world.put(lease("alices").created(0));
    world.put(lease("bobs").by("bob").created(50 * HOUR));
    world.settle_at(50 * HOUR);
    assert_eq!(next(world), "bobs");
}

#[test]
fn a_scheduled_lease_waits_since_its_begin() {
    let holder = lease("h").by("carol").on("a").ready().created(-100).lasting(99 * HOUR);
    for (hours, first) in [(50, "bobs"), (54, "alices")] {
        let mut world = World::with(&[exporter("a").claimed_for("h")], std::slice::from_ref(&holder));
        world.put(policy("p", "", &[rule("team=b", 5), rule("", 0)]));
        world.put(lease("alices").created(0).begins(30 * HOUR).lasting(50 * HOUR));
        world.put(lease("bobs").by("bob").created(31 * HOUR).lasting(50 * HOUR));
        world.settle_at(hours * HOUR);
        assert_eq!(next(world), first, "after {hours} hours");
    }
}

#[test]
fn a_forecast_by_shares_gives_no_latest() {
    let world = queue(&[by_team()], &[], &alice_then_bob());
    let start = world.lab.why("bobs", &WhatIf::default(), world.now).unwrap().start.unwrap();
    assert_eq!(start.latest, None);
    let world = queue(&[], &[], &alice_then_bob());
    let start = world.lab.why("bobs", &WhatIf::default(), world.now).unwrap().start.unwrap();
    assert!(start.latest.is_some());
}

/// Longest wait, longest lease, and time between looks of the lab below, in seconds.
const WAIT: i64 = 300;
const LEASE: i64 = 60;
const TICK: i64 = 10;

/// A lab that is always full: Bob's team has the higher priority and Alice's the greater use.
fn busy(devices: usize, arrivals: &[(&'static str, i64)]) {
    let exporters = (0..devices).map(|index| exporter(&format!("e{index}"))).collect::<Vec<_>>();
    let mut world = World::with(&exporters, &[]);
    world.config.longest_wait = SignedDuration::from_secs(WAIT);
    world.restart();
    world.put(client("carol", &[("team", "a")]));
    world.put(by_team());
    world.put(policy("p", "", &[rule("team=b", 5), rule("", 0)]));
    world.put(lease("past").created(-9000).on("e0").begun(-9000).ended_at(-1));
    let mut due: BTreeMap<String, i64> = BTreeMap::new();
    for (index, (client, lasting)) in (0..).zip(arrivals) {
        let secs = index * TICK;
        let waiting = world.leases.values().filter(|lease| !lease.is_ended() && lease.assigned_exporter().is_none());
        // Everybody who is older, and the lease itself, takes a turn of some device.
        let turns = (waiting.count() + 1).div_ceil(devices);
        let name = format!("l{index:03}");
        due.insert(name.clone(), secs + WAIT + i64::try_from(turns).unwrap() * (LEASE + TICK));
        world.put(lease(&name).by(client).lasting(*lasting).created(secs));
        // Two of Bob's for each, so that he alone would fill the lab.
        for more in 0..2 {
            world.put(lease(&format!("b{index:03}-{more}")).by("bob").lasting(LEASE).created(secs));
        }
        world.settle_at(secs);
        for (name, due) in &due {
            let waits = !world.leases[name].is_ended() && world.leases[name].assigned_exporter().is_none();
            assert!(!waits || secs <= *due, "{name} waits at {secs} s, and was to begin by {due} s");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nobody_waits_for_longer_than_the_bound(
        devices in 1..4_usize,
        arrivals in proptest::collection::vec((select(&["alice", "carol", "bob"][..]), 5..=LEASE), 60..120),
    ) {
        busy(devices, &arrivals);
    }
}
