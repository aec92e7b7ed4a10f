//! What people and programs are told of a lease.

use jumpstarter_model::{ExporterPhase, GoDuration};
use jumpstarter_scheduler::{CandidateReason, LeaseStanding};

use crate::kit::{ExporterExt as _, LeaseExt as _, RuleExt as _, World, at, exporter, lease, policy, rule};

fn position(world: &World, lease: &str) -> Option<usize> {
    world.lab.explain(lease, world.now).unwrap().position
}

#[test]
fn the_queue_counts_those_who_compete() {
    let exporters = [exporter("a").claimed_for("h"), exporter("y").label("board", "y").online(false)];
    let leases = [
        lease("h").on("a").ready().created(-9),
        lease("second").created(2),
        lease("first").created(1),
        lease("third").pinned("a").created(3),
        lease("elsewhere").wants("board=y").created(0),
        lease("anywhere").wants("board").created(4),
    ];
    let mut world = World::with(&exporters, &leases);
    world.settle();
    for (lease, place) in [("first", 1), ("second", 2), ("third", 3), ("elsewhere", 1), ("anywhere", 5)] {
        assert_eq!(position(&world, lease), Some(place), "{lease}");
    }
    assert_eq!(position(&world, "h"), None);
    world.edit_lease("first", |lease| lease.spec.release = Some(true));
    world.settle();
    assert_eq!(position(&world, "second"), Some(1));
}

proptest::proptest! {
    #[test]
    fn the_queue_counts_whoever_may_take_the_same_exporter(
        boards in proptest::collection::vec((0_usize..3, 0_usize..2, proptest::bool::weighted(0.8)), 1..8),
        asked in proptest::collection::vec((0_usize..8, proptest::option::weighted(0.3, 0_usize..8)), 2..14),
    ) {
        const SELECTORS: [&str; 8] =
            ["board=b0", "board=b1", "pool=p0", "board in (b0, b2)", "board notin (b0)", "pool", "board=b2,pool=p1", "!odd"];
        let exporters: Vec<_> = boards
            .iter()
            .enumerate()
            .map(|(at, (board, pool, enabled))| {
                let exporter = exporter(&format!("e{at}")).online(false).enabled(*enabled);
                exporter.label("board", &format!("b{board}")).label("pool", &format!("p{pool}"))
            })
            .collect();
        let takes = |(selector, pinned): &(usize, Option<usize>), at: usize| {
            let (board, pool, enabled) = boards[at];
            let fits = match selector {
                0 | 1 => board == *selector,
                2 => pool == 0,
                3 => board != 1,
                4 => board != 0,
                6 => board == 2 && pool == 1,
                _ => true,
            };
            enabled && pinned.map_or(fits, |pinned| pinned == at)
        };
        let mut leases = Vec::new();
        for (at, (selector, pinned)) in asked.iter().enumerate() {
            let lease = lease(&format!("l{at}")).wants(SELECTORS[*selector]).created(i64::try_from(at).unwrap());
            leases.push(match pinned {
                Some(pinned) => lease.pinned(&format!("e{pinned}")),
                None => lease,
            });
        }
        let mut world = World::with(&exporters, &leases);
        world.settle();
        let waits: Vec<bool> = asked.iter().map(|one| (0..boards.len()).any(|at| takes(one, at))).collect();
        for (mine, one) in asked.iter().enumerate().filter(|(at, _)| waits[*at]) {
            let shares = |other: &(usize, Option<usize>)| (0..boards.len()).any(|at| takes(one, at) && takes(other, at));
            let ahead = asked[..mine].iter().filter(|other| shares(other)).count();
            proptest::prop_assert_eq!(position(&world, &format!("l{mine}")), Some(1 + ahead), "l{}", mine);
        }
    }
}

#[test]
fn the_queue_counts_priorities() {
    let mut world = World::with(&[exporter("a").claimed_for("h")], &[lease("h").on("a").ready()]);
    world.put(policy("p", "", &[rule("team=a", 0), rule("team=b", 1)]));
    world.put(lease("alices").created(1));
    world.put(lease("bobs").by("bob").created(2));
    world.settle();
    assert_eq!((position(&world, "alices"), position(&world, "bobs")), (Some(2), Some(1)));
}

#[test]
fn each_candidate_has_its_reason() {
    let exporters = [
        exporter("disabled").enabled(false),
        exporter("held").claimed_for("h"),
        exporter("hook").phase(ExporterPhase::AfterLeaseHook),
        exporter("kept").label("team", "b"),
        exporter("long").label("team", "long"),
        exporter("offline").online(false),
        exporter("other").label("board", "y"),
    ];
    let mut world = World::with(&exporters, &[lease("h").on("held").ready(), lease("l").created(1)]);
    world.put(policy("p", "!team", &[rule("", 0)]));
    world.put(policy("q", "team=b", &[rule("team=b", 0)]));
    world.put(policy("r", "team=long", &[rule("", 0).at_most(60)]));
    world.settle();
    let explanation = world.lab.explain("l", world.now).unwrap();
    let found =
        explanation.candidates.iter().map(|one| (one.exporter.as_str(), one.reason.clone())).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            ("disabled", CandidateReason::Disabled),
            ("held", CandidateReason::Leased("h".into())),
            ("hook", CandidateReason::NotReady),
            ("kept", CandidateReason::NoAccess),
            ("long", CandidateReason::DurationTooLong(GoDuration::from_secs(60))),
            ("offline", CandidateReason::Offline),
        ]
    );
    assert_eq!(explanation.reason, "NotReady");
    assert!(explanation.candidates.iter().all(|one| one.message.contains(&one.exporter)));
}

#[test]
fn standings_are_told_apart() {
    let exporters = [exporter("a"), exporter("b").label("board", "y").phase(ExporterPhase::Available)];
    let leases = [lease("r"), lease("p").wants("board=y"), lease("s").begins(3600), lease("w").created(1)];
    let mut world = World::with(&exporters, &leases);
    world.settle();
    let standing = |lease: &str| world.lab.explain(lease, at(0)).map(|told| (told.standing, told.reason));
    assert_eq!(standing("r"), Some((LeaseStanding::Ready, String::new())));
    assert_eq!(standing("p"), Some((LeaseStanding::Preparing, "Preparing".to_owned())));
    assert_eq!(standing("s"), Some((LeaseStanding::Scheduled, "Scheduled".to_owned())));
    assert_eq!(standing("w"), Some((LeaseStanding::Waiting, "NotAvailable".to_owned())));
    assert_eq!(standing("unknown"), None);
}
