//! Forecasts where quotas may hold leases back.

use jumpstarter_model::{LeaseQuota, Timestamp};
use jumpstarter_scheduler::{Forecast, WhatIf};
use proptest::{prelude::*, sample::select};

use crate::kit::{ExporterExt as _, LeaseExt as _, QuotaExt as _, World, at, client, exporter, lease, quota};

fn start(world: &World, lease: &str) -> Option<Forecast> {
    world.lab.why(lease, &WhatIf::default(), world.now).unwrap().start
}

/// A forecast from declared times alone.
#[expect(clippy::unnecessary_wraps, reason = "compared with what may be missing")]
fn by(earliest: i64, latest: i64) -> Option<Forecast> {
    Some(Forecast { earliest: at(earliest), likely: at(latest), latest: Some(at(latest)), learned_from: 0 })
}

fn quotas(quotas: &[LeaseQuota]) -> World {
    let mut world = World::with(&["a", "b", "c"].map(exporter), &[]);
    quotas.iter().cloned().for_each(|quota| world.put(quota));
    world
}

#[test]
fn a_lease_at_its_cap_begins_when_its_account_lets_a_device_go() {
    let mut world = quotas(&[quota("q").devices(1)]);
    for (secs, name) in (0..).zip(["held", "one", "two"]) {
        world.put(lease(name).created(secs));
    }
    world.now = at(10);
    world.settle();
    // Two devices are free all the time.
    assert_eq!(start(&world, "one"), by(10, 3610));
    assert_eq!(start(&world, "two"), by(10, 7210));
}

#[test]
fn a_lease_beyond_its_device_time_begins_when_enough_has_left_the_period() {
    let mut world = quotas(&[quota("q").time(7200, 86_400)]);
    world.put(lease("held").lasting(5400));
    world.put(lease("waits").created(1));
    world.put(lease("next").created(2));
    world.settle();
    // Half an hour of the first one must have left the period, unless it is given back now.
    assert_eq!(start(&world, "waits"), by(0, 86_400 + 1800));
    world.settle_at(5400);
    assert_eq!(start(&world, "waits"), by(86_400 + 1800, 86_400 + 1800));
}

#[test]
fn those_who_share_an_account_compete_whatever_they_want() {
    let mut world = quotas(&[quota("q").by_team().devices(1)]);
    world.put(exporter("y").label("board", "y"));
    world.put(client("carol", &[("team", "a")]));
    world.put(lease("held").lasting(600));
    world.put(lease("carols").by("carol").wants("board=y").lasting(60).created(1));
    world.put(lease("mine").created(2));
    world.settle();
    assert_eq!(start(&world, "mine"), by(0, 660));
}

#[test]
fn who_is_ahead_and_held_back_for_longer_is_not_waited_for() {
    let mut world = World::with(&[exporter("a"), exporter("b")], &[]);
    world.put(quota("q").of("team=a").devices(1));
    world.put(lease("alices").lasting(7200));
    world.put(lease("bobs").by("bob").lasting(60));
    world.put(lease("next").created(1));
    world.put(lease("mine").by("bob").created(2));
    world.settle();
    assert_eq!(start(&world, "mine"), by(0, 60));
    assert_eq!(start(&world, "next"), by(0, 7200));
}

#[test]
fn what_can_never_be_has_no_forecast() {
    let mut world = quotas(&[quota("q").devices(0)]);
    world.put(lease("old").pending("NotAvailable"));
    world.settle();
    assert_eq!(start(&world, "old"), None);
}

#[test]
fn a_shorter_lease_is_told_when_it_would_come_within_the_quota() {
    let mut world = quotas(&[quota("q").time(5400, 86_400)]);
    world.put(lease("held"));
    world.put(lease("waits").created(1));
    world.put(quota("r").of("team=b").time(3600, 86_400));
    world.put(lease("bobs").by("bob").lasting(3600));
    world.put(lease("held-up").by("bob").created(1));
    world.settle();
    let asked = WhatIf { duration: Some(jumpstarter_model::GoDuration::from_secs(1800)), ..WhatIf::default() };
    let told = world.lab.why("waits", &asked, world.now).unwrap();
    assert_eq!(told.alternatives[0].start, by(0, 0));
    // Which the service finds by itself, too.
    let found = &told.alternatives[1];
    assert_eq!((found.duration, found.start, found.asked), (asked.duration.unwrap(), by(0, 0), false));
    let held_up = world.lab.why("held-up", &WhatIf::default(), world.now).unwrap();
    assert_eq!(held_up.alternatives, [], "nothing is left");
    let asked = WhatIf { duration: Some(jumpstarter_model::GoDuration::from_secs(1801)), ..WhatIf::default() };
    let told = world.lab.why("waits", &asked, world.now).unwrap();
    assert_eq!(told.alternatives[0].start.unwrap().latest, Some(at(86_401)));
}

#[test]
fn a_scheduled_lease_of_the_account_leaves_no_latest() {
    let mut world = quotas(&[quota("q").devices(1)]);
    world.put(lease("held").lasting(600));
    world.put(lease("mine").created(1));
    world.settle();
    assert_eq!(start(&world, "mine"), by(0, 600));
    world.put(lease("scheduled").begins(300).lasting(9000));
    world.settle();
    assert_eq!(start(&world, "mine").unwrap().latest, None);
    world.put(lease("scheduled").begins(601));
    world.settle();
    assert_eq!(start(&world, "mine"), by(0, 600), "it begins later");
}

#[derive(Clone, Debug)]
struct Asked {
    client: &'static str,
    secs: i64,
    device: usize,
    board: &'static str,
    until: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        select(&["alice", "bob", "carol"][..]),
        10..400i64,
        0..9usize,
        select(&["x", "x", "y"][..]),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(client, secs, device, board, until)| Asked { client, secs, device, board, until })
}

fn limits() -> impl Strategy<Value = LeaseQuota> {
    let time = proptest::option::of((50..900_i64, 100..1500_i64));
    (proptest::option::of(1..4_i64), time, 0..3, select(&["", "board=x", "board=y"][..]), select(&["", "team=a"][..]))
        .prop_map(|(devices, time, by, counts, of)| {
            let mut quota = quota("q").counts(counts).of(of);
            quota = match by {
                0 => quota,
                1 => quota.by_team(),
                _ => quota.together(),
            };
            if let Some((secs, period)) = time {
                quota = quota.time(secs, period);
            }
            match devices {
                Some(devices) => quota.devices(devices),
                None if time.is_none() => quota.devices(1),
                None => quota,
            }
        })
}

fn begin(world: &World, lease: &str) -> Option<Timestamp> {
    world.leases[lease].status.as_ref()?.begin_time.as_ref().map(|time| time.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    /// Against the lab itself, played on with the times that leases declare.
    #[test]
    fn under_quotas_every_lease_begins_within_its_forecast(
        devices in 1..5usize,
        limits in proptest::collection::vec(limits(), 1..4),
        asked in proptest::collection::vec(asked(), 1..14),
        used in 0..300i64,
    ) {
        let mut world = World::with(&[], &[]);
        world.put(client("carol", &[("team", "a")]));
        for (name, quota) in ["q1", "q2", "q3"].iter().zip(limits) {
            let mut quota = quota;
            quota.metadata.name = Some((*name).to_owned());
            world.put(quota);
        }
        for index in 0..devices {
            world.put(exporter(&format!("d{index}")).label("board", if index % 3 == 2 { "y" } else { "x" }));
        }
        for (index, Asked { client, secs, device, board, until }) in asked.iter().enumerate() {
            let board = format!("board={board}");
            let lease = lease(&format!("w{index}")).by(client).wants(&board).lasting(*secs);
            let lease = lease.created(i64::try_from(index).unwrap());
            let lease = if *until { lease.endless().ends(*secs * 4) } else { lease };
            let lease = if *device < devices { lease.pinned(&format!("d{device}")) } else { lease };
            world.put(lease);
        }
        world.now = at(20);
        world.settle();
        // Some of those that got a device are over by then.
        while let Some(wake) = world.wake_at.filter(|wake| *wake <= at(20 + used)) {
            world.now = wake;
            world.settle();
        }
        let waits = |name: &&String| begin(&world, name).is_none() && !world.leases[*name].is_ended();
        let waiting = world.leases.keys().filter(waits).cloned().collect::<Vec<_>>();
        let told = waiting.into_iter().map(|name| (start(&world, &name), name)).collect::<Vec<_>>();
        for _ in 0..2000 {
            let Some(wake) = world.wake_at else { break };
            world.now = wake;
            world.settle();
        }
        for (told, name) in told {
            let begin = begin(&world, &name);
            let Some(told) = told else {
                prop_assert_eq!(begin, None, "{} has no forecast", name);
                continue;
            };
            prop_assert!(begin.is_some_and(|begin| told.earliest <= begin), "{} at {:?}: {:?}", name, begin, told);
            prop_assert_eq!(begin, told.latest, "{}: {:?}", name, told);
        }
    }
}

/// A group of a board and a power supply of one rack.
fn duo(created: i64, secs: i64) -> [jumpstarter_model::Lease; 2] {
    [("g-x", "board=x"), ("g-psu", "board=psu")]
        .map(|(name, wants)| lease(name).wants(wants).lasting(secs).created(created).in_group("g", 2, &["rack"]))
}

#[test]
fn a_group_at_the_head_of_the_line_begins_when_all_of_its_devices_have_come_free() {
    let device = |name: &str, board: &str, rack: &str| exporter(name).label("board", board).label("rack", rack);
    let devices = [("x1", "x", "1"), ("p1", "psu", "1"), ("x2", "x", "2"), ("p2", "psu", "2")];
    let mut world = World::with(&devices.map(|(name, board, rack)| device(name, board, rack)), &[]);
    for (name, secs) in [("x1", 100), ("p1", 900), ("x2", 500)] {
        world.put(lease(&format!("on-{name}")).pinned(name).lasting(secs));
    }
    world.settle();
    for lease in duo(1, 60) {
        world.put(lease);
    }
    world.put(lease("behind").created(2));
    world.settle_at(2);
    // Rack 2 is there first.
    assert_eq!(start(&world, "g-x"), by(2, 500));
    assert_eq!(start(&world, "g-psu"), by(2, 500));
    assert_eq!(start(&world, "behind"), None, "nobody knows what a group leaves");
    // Of a rack in which a device is away nothing is known.
    world.edit_exporter("p2", |exporter| exporter.online(false));
    world.settle();
    assert_eq!(start(&world, "g-x"), by(2, 900));
    world.put(quota("others").of("team=b").devices(0));
    world.put(lease("held-back").by("bob").created(-1).pending("NotAvailable"));
    world.settle();
    assert_eq!(start(&world, "g-psu"), None, "one comes before it when a quota lets it");
    world.delete_quota("others");
    world.edit_lease("held-back", |lease| *lease = lease.clone().released());
    world.settle();
    assert_eq!(start(&world, "g-psu"), by(2, 900));
    world.put(lease("before").created(-1));
    world.settle();
    assert_eq!(start(&world, "g-psu"), None, "one is before the other member");
    world.edit_lease("before", |lease| *lease = lease.clone().released());
    world.put(quota("q").devices(9));
    world.settle();
    assert_eq!(start(&world, "g-psu"), None, "a quota may have a say");
    world.delete_quota("q");
    world.settle();
    assert_eq!(start(&world, "g-psu"), by(2, 900));
    world.put(lease("reserved").pinned("x1").begins(90_000).created(3));
    world.settle();
    assert_eq!(start(&world, "g-psu"), None, "one is reserved");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    /// Against the lab itself, played on with the times that leases declare, and with leases that come later.
    #[test]
    fn a_group_at_the_head_of_the_line_begins_within_its_forecast(
        held in proptest::collection::vec((select(&["x", "psu"][..]), select(&["1", "2", "3"][..]), 0..900i64), 2..8),
        behind in proptest::collection::vec((select(&["board=x", "board=psu", "rack=1"][..]), 20..600i64), 0..6),
    ) {
        let mut world = World::with(&[], &[]);
        for (index, (board, rack, secs)) in held.iter().enumerate() {
            let name = format!("d{index}");
            world.put(exporter(&name).label("board", board).label("rack", rack));
            if *secs > 100 {
                world.put(lease(&format!("h{index}")).pinned(&name).lasting(*secs));
            }
        }
        world.settle();
        for lease in duo(1, 60) {
            world.put(lease.pending("NotAvailable"));
        }
        world.settle_at(2);
        let told = begin(&world, "g-x").is_none().then(|| start(&world, "g-x")).flatten();
        for (index, (wants, secs)) in behind.iter().enumerate() {
            world.put(lease(&format!("b{index}")).wants(wants).lasting(*secs).created(3));
        }
        world.now = at(3);
        for _ in 0..200 {
            world.settle();
            let Some(wake) = world.wake_at else { break };
            world.now = wake;
        }
        if let Some(told) = told {
            let begin = begin(&world, "g-x");
            prop_assert!(begin.is_some_and(|begin| told.earliest <= begin), "{:?} {:?}", begin, told);
            prop_assert!(begin <= told.latest, "{:?} {:?}", begin, told);
        }
    }
}
