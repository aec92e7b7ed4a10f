//! Who makes way where several quotas have a say.

use jumpstarter_model::{Lease, LeaseQuota};
use jumpstarter_scheduler::Action;
use proptest::{prelude::*, sample::select};

use crate::{
    kit::{
        ExporterExt as _, LeaseExt as _, QuotaExt as _, RuleExt as _, World, at, client, exporter, lease, policy,
        quota, rule,
    },
    oracle,
};

/// Alice's team has exporters in full right, bob's as spot.
fn lab(exporters: &[jumpstarter_model::Exporter], grace: i64) -> World {
    let mut world = World::with(exporters, &[]).with_grace(grace);
    world.put(client("carol", &[("team", "a")]));
    world.put(client("alice", &[("team", "a")]));
    world.put(client("bob", &[("team", "b")]));
    world.put(policy("p", "", &[rule("team=a", 0), rule("team=b", 0).spot()]));
    world
}

fn told(actions: &[Action]) -> Vec<&str> {
    let told = actions.iter().filter(|action| matches!(action, Action::GiveNotice { .. }));
    told.filter_map(Action::lease).collect()
}

#[test]
fn who_is_served_by_what_comes_free_uses_up_the_cap_of_others() {
    let devices = [exporter("a").label("rack", "1"), exporter("b").label("rack", "2")];
    let mut world = lab(&devices, 60);
    for (name, rack) in [("s1", "rack=1"), ("s2", "rack=2")] {
        world.put(lease(name).by("bob").wants(rack).lasting(LONG));
    }
    world.settle();
    world.put(quota("q").by_team().devices(1));
    world.put(lease("l2").wants("rack=2").created(1));
    world.put(lease("l1").by("carol").wants("rack=1").created(2));
    assert_eq!(told(&world.settle_at(10)), ["s2"]);
    // While `b` comes back nobody is told in vain, though no spot lease stands in the way of `l2` any more.
    world.tears_down_at_once = false;
    assert_eq!(told(&world.settle_at(70)), [""; 0]);
    world.expect(&[("s1", "Ready/Ready on a"), ("s2", "not Ready/Preempted on b, ended")]);
    world.confirm_tear_down("b");
    world.settle_at(80);
    world.expect(&[("s1", "Ready/Ready on a"), ("l2", "Ready/Ready on b"), ("l1", "Pending/QuotaExceeded")]);
}

#[derive(Clone, Debug)]
struct Wish {
    client: &'static str,
    wants: &'static str,
    secs: i64,
}

/// Nobody is through before everybody has made way.
const LONG: i64 = 10_000;
const WANTS: [&str; 5] = ["board", "rack=1", "rack=2", "board=x", "rack=1,board=y"];

fn wish() -> impl Strategy<Value = Wish> {
    (select(&["alice", "carol"][..]), select(&WANTS[..]), 100..500i64).prop_map(|(client, wants, secs)| Wish {
        client,
        wants,
        secs,
    })
}

fn limit() -> impl Strategy<Value = LeaseQuota> {
    let time = proptest::option::weighted(0.3, 200..1500i64);
    (0..3, 1..5i64, time, select(&["", "rack=1", "board=x", "rack=2"][..])).prop_map(|(by, devices, time, counts)| {
        let quota = quota("q").counts(counts).devices(devices);
        let quota = time.map_or(quota.clone(), |secs| quota.time(secs * LONG, 600 * LONG));
        match by {
            0 => quota,
            1 => quota.by_team(),
            _ => quota.together(),
        }
    })
}

/// Leases that wait and could have an exporter at once if its holder made way.
fn unserved(world: &World) -> Vec<(&String, &String)> {
    let waiting = world.leases.iter().filter(|(_, lease)| oracle::waits(lease, world.now));
    let held = world.leases.values().filter(|lease| !lease.is_ended());
    let spot = |lease: &&Lease| lease.status.as_ref().is_some_and(|status| status.spot_access == Some(true));
    let held = held.filter(spot).filter_map(Lease::assigned_exporter).collect::<Vec<_>>();
    let pairs =
        waiting.flat_map(|(name, lease)| world.exporters.iter().map(move |(on, exporter)| (name, lease, on, exporter)));
    let could = pairs.filter(|(name, lease, on, exporter)| {
        held.contains(&on.as_str())
            && oracle::suits(lease, exporter)
            && oracle::granted(world, lease, exporter).is_some_and(|(spot, _)| !spot)
            && oracle::caps::are_kept(world, &std::collections::BTreeSet::new(), name, on)
    });
    could.map(|(name, _, on, _)| (name, on)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    /// However quotas overlap, each round of notices serves somebody, until nobody is left for whom one would help.
    #[test]
    fn each_round_of_notices_serves_somebody_until_nobody_is_left(
        devices in proptest::collection::vec((select(&["x", "y"][..]), select(&["1", "2"][..])), 1..6),
        limits in proptest::collection::vec(limit(), 1..4),
        wishes in proptest::collection::vec(wish(), 1..8),
    ) {
        let mut world = lab(&[], 60);
        for (index, (board, rack)) in devices.iter().enumerate() {
            world.put(exporter(&format!("d{index}")).label("board", board).label("rack", rack));
            world.put(lease(&format!("s{index}")).by("bob").wants("board").lasting(1000 * LONG));
        }
        world.settle();
        for (name, mut quota) in ["q1", "q2", "q3"].into_iter().zip(limits) {
            quota.metadata.name = Some(name.to_owned());
            world.put(quota);
        }
        for (index, Wish { client, wants, secs }) in wishes.iter().enumerate() {
            let lease = lease(&format!("w{index}")).by(client).wants(wants).lasting(secs * LONG);
            world.put(lease.pending("NotAvailable").created(i64::try_from(index).unwrap()));
        }
        let mut rounds = 0;
        world.now = at(10);
        loop {
            let actions = world.settle();
            let served = actions.iter().filter(|action| matches!(action, Action::Assign { spot_access: false, .. })).count();
            // Within the grace others may end, or accounts get room.
            let noticed = |lease: &Lease| {
                let conditions = lease.status.as_ref().map_or(&[][..], |status| &status.conditions[..]);
                !lease.is_ended() && jumpstarter_model::condition::is_true(conditions, "Preempting")
            };
            if served == 0
                && told(&actions).is_empty()
                && world.leases.values().any(noticed)
                && let Some(next) = world.wake_at
            {
                world.now = next;
                continue;
            }
            let ends = actions.iter().any(|action| matches!(action, Action::End { .. }));
            prop_assert!(rounds == 0 || served > 0 || ends, "nobody is served: {:?}", actions);
            if told(&actions).is_empty() {
                break;
            }
            rounds += 1;
            world.now = world.wake_at.unwrap();
        }
        prop_assert!(rounds <= wishes.len());
        prop_assert_eq!(unserved(&world), vec![]);
    }
}
