//! What whoever waits is told: who is ahead, when the lease may begin, and what would be sooner.

use jumpstarter_model::{GoDuration, Lease, Selector, Timestamp};
use jumpstarter_scheduler::{Forecast, WhatIf, Why};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use crate::kit::{ExporterExt as _, LeaseExt as _, RuleExt as _, World, at, exporter, lease, policy, rule};

fn why(world: &World, lease: &str) -> Why {
    world.lab.why(lease, &WhatIf::default(), world.now).unwrap()
}

fn start(world: &World, lease: &str) -> Option<Forecast> {
    why(world, lease).start
}

/// A forecast from declared times alone.
#[expect(clippy::unnecessary_wraps, reason = "compared with what may be missing")]
fn by(earliest: i64, likely: i64) -> Option<Forecast> {
    Some(Forecast { earliest: at(earliest), likely: at(likely), latest: Some(at(likely)), learned_from: 0 })
}

/// One that was over after `used` seconds of an hour.
fn used(name: &str, secs: i64) -> Lease {
    let mut lease = lease(name).on("elsewhere").ended();
    lease.status.as_mut().unwrap().end_time = Some(Time(at(secs)));
    lease
}

#[test]
fn each_in_the_queue_begins_when_those_ahead_have_had_their_time() {
    let leases =
        [lease("h").on("a").ready().lasting(600), lease("one").created(1).lasting(60), lease("two").created(2)];
    let mut world = World::with(&[exporter("a").claimed_for("h")], &leases);
    world.now = at(100);
    world.settle();
    assert_eq!(start(&world, "one"), by(100, 600));
    assert_eq!(start(&world, "two"), by(100, 660));
    let ahead = why(&world, "two").ahead;
    assert_eq!(ahead.iter().map(|one| one.lease.as_str()).collect::<Vec<_>>(), ["one"]);
    assert_eq!((ahead[0].client.as_str(), ahead[0].priority, ahead[0].created), ("alice", 0, at(1)));
    assert_eq!(start(&world, "h"), None, "it waits for nothing");
}

#[test]
fn leases_ahead_that_find_another_device_are_not_waited_for() {
    let exporters = [exporter("a").claimed_for("h"), exporter("b").claimed_for("i")];
    let mut leases = vec![
        lease("h").on("a").ready().lasting(600),
        lease("i").on("b").ready().lasting(60),
        lease("mine").pinned("a").created(9),
    ];
    leases.extend((1..=3).map(|n| lease(&format!("other-{n}")).created(n).lasting(100)));
    let mut world = World::with(&exporters, &leases);
    world.settle();
    // All three are ahead of it on a, and are through with b before a comes free.
    assert_eq!(why(&world, "mine").ahead.len(), 3);
    assert_eq!(start(&world, "mine"), by(0, 600));
}

#[test]
fn a_higher_priority_goes_first_in_the_forecast_too() {
    let mut world = World::with(&[exporter("a").claimed_for("h")], &[lease("h").on("a").ready().lasting(600)]);
    world.put(policy("p", "", &[rule("team=a", 0), rule("team=b", 1)]));
    world.put(lease("alices").created(1));
    world.put(lease("bobs").by("bob").created(2).lasting(30));
    world.settle();
    assert_eq!(start(&world, "alices"), by(0, 630));
    assert_eq!(start(&world, "bobs"), by(0, 600));
    assert_eq!(why(&world, "alices").ahead[0].priority, 1);
}

#[test]
fn what_leases_use_of_their_time_is_learned_from_those_that_ended() {
    let mut world =
        World::with(&[exporter("a").claimed_for("h")], &[lease("h").on("a").ready(), lease("w").created(1)]);
    // From 360 s to 720 s of an hour each.
    let ended = (0..20).map(|n| used(&format!("e-{n}"), 360 + n * 18)).collect::<Vec<_>>();
    for lease in ended.iter().skip(1) {
        world.put(lease.clone());
    }
    world.settle();
    assert_eq!(start(&world, "w"), by(0, 3600), "nineteen say too little");
    for lease in &ended {
        world.put(lease.clone());
    }
    world.settle();
    let learned = Forecast { earliest: at(396), likely: at(540), latest: Some(at(3600)), learned_from: 20 };
    assert_eq!(start(&world, "w"), Some(learned), "told twice, counted once");
    // None of those lasted for so long, so this one is like none of them.
    world.now = at(1000);
    world.settle();
    let whole = Forecast { earliest: at(3600), likely: at(3600), latest: Some(at(3600)), learned_from: 20 };
    assert_eq!(start(&world, "w"), Some(whole));
}

#[test]
fn nothing_is_promised_where_nothing_is_known() {
    let exporters = [exporter("a").online(false), exporter("b").label("board", "y")];
    let mut world = World::with(&exporters, &[lease("w").created(1), lease("n").wants("board=y").created(2)]);
    world.put(exporter("b").label("board", "y").phase(jumpstarter_model::ExporterPhase::AfterLeaseHookFailed));
    world.settle();
    assert_eq!(start(&world, "w"), None, "the only device is away");
    let unready = Forecast { earliest: at(0), likely: at(0), latest: None, learned_from: 0 };
    assert_eq!(start(&world, "n"), Some(unready), "a device that is not ready may never be");
}

#[test]
fn a_scheduled_lease_begins_when_it_was_asked_to_or_later() {
    let mut world = World::with(&[exporter("a")], &[lease("s").begins(60)]);
    world.settle();
    let start = start(&world, "s").unwrap();
    assert_eq!((start.earliest, start.likely, start.latest), (at(60), at(60), Some(at(60))), "it has one reserved");
    world.edit_exporter("a", |exporter| exporter.online(false));
    world.settle();
    let start = self::start(&world, "s").unwrap();
    assert_eq!((start.earliest, start.likely, start.latest), (at(60), at(60), None), "which may not come back");
}

#[test]
fn requests_that_would_be_served_sooner_are_named_soonest_first() {
    let exporters = [
        exporter("both").label("rack", "1").label("cam", "yes").claimed_for("h"),
        exporter("rack").label("rack", "1").label("cam", "no"),
        exporter("cam").label("rack", "2").label("cam", "yes").claimed_for("i"),
    ];
    let leases = [
        lease("h").on("both").ready().lasting(600),
        lease("i").on("cam").ready().lasting(60),
        lease("w").wants("rack=1,cam=yes").created(1),
    ];
    let mut world = World::with(&exporters, &leases);
    world.settle();
    let told = why(&world, "w");
    assert_eq!(told.start, by(0, 600));
    let found = told.alternatives.iter().map(|one| (one.selector.as_str(), one.start, one.devices, one.asked));
    assert_eq!(found.collect::<Vec<_>>(), [("rack=1", by(0, 0), 2, false), ("cam=yes", by(0, 60), 2, false)]);
}

#[test]
fn what_somebody_asks_for_is_answered_first() {
    let exporters = [exporter("a").claimed_for("h"), exporter("y").label("board", "y")];
    let mut world = World::with(&exporters, &[lease("h").on("a").ready(), lease("w").created(1)]);
    world.settle();
    let selector = Some(Selector::parse("board=y").unwrap());
    let what_if = WhatIf { selector, duration: Some(GoDuration::from_secs(60)) };
    let asked = world.lab.why("w", &what_if, world.now).unwrap().alternatives.remove(0);
    assert_eq!((asked.asked, asked.selector.as_str(), asked.duration), (true, "board=y", GoDuration::from_secs(60)));
    assert_eq!((asked.position, asked.start), (1, by(0, 0)));
}

#[test]
fn the_length_that_policies_admit_is_named() {
    let exporters = [exporter("a").claimed_for("h"), exporter("b")];
    let mut world = World::with(&exporters, &[lease("h").on("a").ready(), lease("w").created(1)]);
    world.put(policy("p", "", &[rule("", 0).at_most(60)]));
    world.put(policy("q", "!extra", &[rule("team=a", 0)]));
    world.edit_exporter("b", |exporter| exporter.label("extra", "1"));
    world.settle();
    let told = why(&world, "w");
    assert_eq!(told.start, by(0, 3600));
    let shorter = &told.alternatives[0];
    assert_eq!((shorter.duration, shorter.start, shorter.asked), (GoDuration::from_secs(60), by(0, 0), false));
}

/// Without newcomers, and when every lease uses all its time, each begins exactly at its `latest`.
fn plays_out(world: &mut World, expected: &[(String, Timestamp)]) -> Result<(), TestCaseError> {
    for _ in 0..200 {
        let Some(at) = world.wake_at else { break };
        world.now = at;
        world.settle();
    }
    for (name, expected) in expected {
        let begin = world.leases[name].status.as_ref().and_then(|status| status.begin_time.as_ref()).map(|time| time.0);
        prop_assert_eq!(begin, Some(*expected), "{}", name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn without_newcomers_every_lease_begins_at_its_latest(
        devices in 1..4usize,
        held in proptest::collection::vec(60..4000i64, 3),
        waiting in proptest::collection::vec((30..3000i64, 0..4usize), 1..12),
    ) {
        let mut world = World::with(&[], &[]);
        for (index, secs) in held.iter().enumerate().take(devices) {
            let (name, holder) = (format!("d{index}"), format!("h{index}"));
            world.put(exporter(&name).claimed_for(&holder));
            world.put(lease(&holder).on(&name).ready().lasting(*secs));
        }
        let mut names = Vec::new();
        for (index, (secs, pinned)) in waiting.iter().enumerate() {
            let (name, age) = (format!("w{index}"), i64::try_from(index).unwrap());
            let lease = lease(&name).lasting(*secs).created(age - 1000);
            world.put(if *pinned < devices { lease.pinned(&format!("d{pinned}")) } else { lease });
            names.push(name);
        }
        world.settle();
        let expected = names.iter().map(|name| (name.clone(), start(&world, name).unwrap().latest.unwrap()));
        let expected = expected.collect::<Vec<_>>();
        plays_out(&mut world, &expected)?;
    }
}
