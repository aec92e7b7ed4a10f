//! Caps of accounts.

use jumpstarter_model::{Exporter, ExporterPhase, GoDuration, Lease, LeaseQuota};
use jumpstarter_scheduler::{Action, CandidateReason, WhatIf};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::kit::{
    ExporterExt as _, LeaseExt as _, QuotaExt as _, RuleExt as _, World, at, client, exporter, lease, policy, quota,
    rule, window,
};

/// Exporters `a`, `b`, `c`, these quotas, and leases in the order of their age.
fn world(quotas: &[LeaseQuota], leases: &[Lease]) -> World {
    let mut world = World::with(&["a", "b", "c"].map(exporter), &[]);
    quotas.iter().cloned().for_each(|quota| world.put(quota));
    for (secs, lease) in (0..).zip(leases) {
        world.put(lease.clone().created(secs));
    }
    world.now = at(i64::try_from(leases.len()).unwrap());
    world.settle();
    world
}

fn release(world: &mut World, name: &str) {
    world.edit_lease(name, |lease| *lease = lease.clone().released());
}

const OVER: &str = "Pending/QuotaExceeded";

#[test]
fn an_account_holds_no_more_devices_than_its_cap() {
    let mut world = world(&[quota("q").devices(2)], &[lease("l1"), lease("l2"), lease("l3"), lease("bobs").by("bob")]);
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", "Ready/Ready on b"), ("l3", OVER), ("bobs", "Ready/Ready on c")]);
    assert_eq!(world.message("l3"), "The quota q gives client alice 2 devices at once, 2 are in use");
    release(&mut world, "l1");
    world.settle();
    world.expect(&[("l3", "Ready/Ready on a")]);
}

#[test]
fn a_lease_at_its_cap_does_not_hold_up_the_line() {
    let mut world = World::with(&[exporter("a")], &[lease("l1").created(0)]);
    world.put(quota("q").devices(1));
    world.settle();
    world.put(lease("l2").created(1));
    world.put(lease("bobs").by("bob").created(2));
    world.settle();
    world.expect(&[("l2", OVER), ("bobs", "Pending/NotAvailable")]);
    world.put(exporter("b"));
    world.settle();
    world.expect(&[("l2", OVER), ("bobs", "Ready/Ready on b")]);
}

#[test]
fn accounts_are_kept_by_client_by_label_or_for_all_together() {
    let leases = [lease("l1"), lease("l2"), lease("bobs").by("bob"), lease("carols").by("carol")];
    let table = [
        (quota("q").devices(1), ["Ready/Ready on a", OVER, "Ready/Ready on b", "Ready/Ready on c"]),
        (quota("q").devices(1).by_team(), ["Ready/Ready on a", OVER, "Ready/Ready on b", OVER]),
        (quota("q").devices(1).together(), ["Ready/Ready on a", OVER, OVER, OVER]),
        (
            quota("q").devices(1).of("team=b"),
            ["Ready/Ready on a", "Ready/Ready on b", "Ready/Ready on c", "Pending/NotAvailable"],
        ),
    ];
    for (quota, expected) in table {
        let mut world = world(std::slice::from_ref(&quota), &[]);
        world.put(client("carol", &[("team", "a")]));
        for (secs, lease) in (0..).zip(&leases) {
            world.put(lease.clone().created(secs));
        }
        world.now = at(10);
        world.settle();
        let found = ["l1", "l2", "bobs", "carols"].map(|name| world.state(name));
        assert_eq!(found, expected, "{:?}", quota.spec);
    }
}

#[test]
fn a_quota_counts_its_exporters_only() {
    let boards = [exporter("a").label("slot", "1"), exporter("b").label("slot", "2"), exporter("c").label("slot", "1")];
    let mut world = World::with(&boards, &[]);
    world.put(quota("q").counts("slot=1").devices(1));
    world.put(lease("l1").created(1));
    world.put(lease("l2").created(2));
    world.put(lease("l3").created(3));
    world.settle();
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", "Ready/Ready on b"), ("l3", "Pending/NotAvailable")]);
    // Where the account is at its cap the exporter moves out of the quota.
    world.edit_exporter("c", |exporter| exporter.label("slot", "3"));
    world.settle();
    world.expect(&[("l3", "Ready/Ready on c")]);
}

#[test]
fn all_quotas_must_hold() {
    let quotas = [quota("each").devices(2), quota("team").by_team().devices(1), quota("lab").together().devices(2)];
    let mut world = world(&quotas, &[lease("l1"), lease("l2"), lease("bobs").by("bob"), lease("l3")]);
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER), ("bobs", "Ready/Ready on b")]);
    assert_eq!(world.message("l2"), "The quota lab gives all of its clients together 2 devices at once, 2 are in use");
    world.delete_quota("team");
    world.settle();
    world.expect(&[("l2", OVER)]);
    world.delete_quota("lab");
    world.settle();
    world.expect(&[("l2", "Ready/Ready on c"), ("l3", OVER)]);
}

#[test]
fn device_time_counts_within_a_sliding_period() {
    // Three hours in any day.
    let quotas = [quota("q").time(3 * 3600, 86_400)];
    let mut world = world(&quotas, &[lease("l1").lasting(7200), lease("l2").lasting(7200), lease("l3")]);
    // What a running lease may still use counts as used.
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER), ("l3", "Ready/Ready on b")]);
    assert_eq!(
        world.message("l2"),
        "The quota q gives client alice 3h0m0s of device time in any 24h0m0s: 3h0m0s are used or promised to leases \
         that run, this lease asks for 2h0m0s; there is enough from 2027-01-16T09:00:03Z on, or sooner if leases end \
         early"
    );
    world.settle_at(3600 + 3);
    world.settle_at(7200 + 3);
    world.expect(&[("l1", "not Ready/Expired on a, ended"), ("l2", OVER)]);
    // Both began at 3 s; two hours of their time are beyond the period an hour of the day later.
    let back = 86_400 + 3 + 3600;
    world.settle_at(back - 1);
    world.expect(&[("l2", OVER)]);
    assert_eq!(world.wake_at, Some(at(back)));
    world.settle_at(back);
    world.expect(&[("l2", "Ready/Ready on c")]);
}

#[test]
fn device_time_that_is_given_back_counts_no_more() {
    let mut world = world(&[quota("q").time(7200, 86_400)], &[lease("l1").lasting(7200), lease("l2")]);
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER)]);
    world.now = at(1800);
    release(&mut world, "l1");
    world.settle();
    world.expect(&[("l1", "not Ready/Released on a, ended"), ("l2", "Ready/Ready on b")]);
}

#[test]
fn what_can_never_be_within_a_quota_is_refused() {
    let table = [
        (quota("q").devices(0), "The quota q gives client alice no device at all"),
        (
            quota("q").time(1800, 86_400),
            "The quota q gives client alice 30m0s of device time in any 24h0m0s, this lease alone asks for 1h0m0s",
        ),
        (
            quota("q").time(0, 86_400),
            "The quota q gives client alice 0s of device time in any 24h0m0s, this lease alone asks for 1h0m0s",
        ),
    ];
    for (quota, message) in table {
        let world = world(&[quota], &[lease("new"), lease("old").pending("NotAvailable")]);
        world.expect(&[("new", "Unsatisfiable/QuotaExceeded, ended"), ("old", OVER)]);
        assert_eq!(world.message("new"), message);
        assert_eq!(world.message("old"), message);
    }
}

#[test]
fn of_several_quotas_the_same_is_named_whatever_came_first() {
    let mut world = World::with(&[exporter("a"), exporter("b")], &[lease("l").wants("board").endless().ends(8)]);
    world.put(quota("q").counts("board").devices(0));
    world.put(quota("p").counts("board=x").time(0, 60));
    world.edit_exporter("b", |exporter| exporter.label("board", "y"));
    let mut other = World::new();
    (other.exporters, other.leases) = (world.exporters.clone(), world.leases.clone());
    (other.clients, other.quotas) = (world.clients.clone(), world.quotas.clone());
    other.restart();
    world.settle();
    other.settle();
    assert_eq!(world.message("l"), other.message("l"));
}

#[test]
fn an_extended_lease_counts_with_its_new_end() {
    let mut world = world(&[quota("q").time(7200, 86_400)], &[lease("l1")]);
    world.edit_lease("l1", |lease| *lease = lease.clone().lasting(5400));
    world.put(lease("l2").created(5));
    world.settle();
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER)]);
    world.edit_lease("l1", |lease| *lease = lease.clone().lasting(3600));
    world.settle();
    world.expect(&[("l2", "Ready/Ready on b")]);
}

#[test]
fn an_extension_beyond_device_time_is_refused() {
    let mut world = world(&[quota("q").time(7200, 86_400)], &[lease("l1")]);
    let limit = |world: &World, secs| world.lab.extension_limit("l1", GoDuration::from_secs(secs));
    assert_eq!(limit(&world, 7200), None);
    let text = "the quota q leaves 1h0m0s of device time for more, and this would take 1h0m1s";
    assert_eq!(limit(&world, 7201).as_deref(), Some(text));
    world.edit_lease("l1", |lease| *lease = lease.clone().lasting(9000));
    world.settle();
    assert_eq!(limit(&world, 9000), None, "it lasts for so long already");
    assert!(limit(&world, 9001).is_some());
    assert_eq!(world.lab.extension_limit("unknown", GoDuration::MAX), None);
}

#[test]
fn an_extension_by_hand_is_counted_and_not_refused() {
    let mut world = world(&[quota("q").time(7200, 86_400)], &[lease("l1")]);
    world.edit_lease("l1", |lease| *lease = lease.clone().lasting(9000));
    world.put(lease("l2").lasting(60).created(5));
    assert!(matches!(&world.settle()[..], [Action::Wait { lease, .. }] if lease == "l2"));
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER)]);
    let time = |world: &World| world.lab.usage("alice", world.now)[0].device_time.unwrap();
    assert_eq!((time(&world).used, time(&world).most), (GoDuration::from_secs(9000), GoDuration::from_secs(7200)));
    // More is refused to those who ask the service, and less takes it back.
    assert!(world.lab.extension_limit("l1", GoDuration::from_secs(9001)).unwrap().contains("leaves 0s"));
    assert_eq!(world.lab.extension_limit("l1", GoDuration::from_secs(8000)), None);
    // It runs to that end, and counts for as long as the period has any of it.
    world.settle_at(9001);
    world.expect(&[("l1", "not Ready/Expired on a, ended"), ("l2", OVER)]);
    let start = world.lab.why("l2", &WhatIf::default(), world.now).unwrap().start.unwrap();
    assert_eq!(start.latest, Some(at(1 + 86_400 + 9000 - 7200 + 60)));
    world.now = start.latest.unwrap();
    world.settle();
    world.expect(&[("l2", "Ready/Ready on b")]);
}

#[test]
fn what_was_given_out_before_is_not_taken_back() {
    let mut world = world(&[], &[lease("l1"), lease("l2")]);
    world.put(quota("q").devices(1));
    world.put(lease("l3").created(9));
    world.settle();
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", "Ready/Ready on b"), ("l3", OVER)]);
    release(&mut world, "l1");
    world.settle();
    world.expect(&[("l3", OVER)]);
    release(&mut world, "l2");
    world.settle();
    world.expect(&[("l3", "Ready/Ready on c")]);
}

#[test]
fn a_claim_that_was_half_written_counts() {
    // The exporter says so, the lease does not yet; and another lease of the account waits.
    let exporters = [exporter("a"), exporter("b").claimed_for("l2")];
    let mut world = World::with(&exporters, &[lease("l1").created(1), lease("l2").created(2)]);
    world.put(quota("q").devices(1));
    world.settle();
    world.expect(&[("l1", OVER), ("l2", "Ready/Ready on b")]);
}

#[test]
fn a_quota_made_later_does_not_undo_a_half_written_claim() {
    let exporters = [exporter("a").claimed_for("l1"), exporter("b").claimed_for("l2")];
    let mut world = World::with(&exporters, &[lease("l1").created(1), lease("l2").created(2)]);
    world.put(quota("q").devices(1));
    world.settle();
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", "Ready/Ready on b")]);
}

#[test]
fn a_device_counts_until_the_end_of_its_lease_is_written() {
    let mut world = world(&[quota("q").devices(1)], &[lease("l1"), lease("l2")]);
    release(&mut world, "l1");
    let actions = world.decide();
    assert!(matches!(&actions[..], [Action::End { lease, .. }] if lease == "l1"), "{actions:?}");
    // The write fails.
    world.settled(&actions[0]);
    let again = world.decide();
    assert_eq!(actions, again);
    world.carry_out(&again[0]);
    world.settle();
    world.expect(&[("l2", "Ready/Ready on b")]);
}

#[test]
fn use_counts_after_a_restart_as_before() {
    let quotas = [quota("q").time(7200, 86_400), quota("r").devices(1)];
    let mut world = world(&quotas, &[lease("l1").lasting(5400), lease("l2")]);
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER)]);
    world.settle_at(5400 + 2);
    world.expect(&[("l1", "not Ready/Expired on a, ended"), ("l2", OVER)]);
    let due = world.wake_at;
    world.restart();
    assert_eq!(world.settle(), []);
    assert_eq!(world.wake_at, due);
    world.now = due.unwrap();
    world.settle();
    world.expect(&[("l2", "Ready/Ready on b")]);
}

#[test]
fn an_ended_lease_that_is_no_longer_kept_counts_no_more() {
    let mut world = world(&[quota("q").time(7200, 86_400)], &[lease("l1").lasting(5400), lease("l2")]);
    world.settle_at(6000);
    world.expect(&[("l2", OVER)]);
    world.leases.remove("l1");
    world.lab.observe(jumpstarter_scheduler::Change::LeaseDeleted("l1"));
    world.settle();
    world.expect(&[("l2", "Ready/Ready on b")]);
}

#[test]
fn a_client_that_changes_its_team_takes_its_leases_along() {
    let quotas = [quota("q").by_team().devices(1)];
    let mut world = world(&quotas, &[lease("l1"), lease("l2"), lease("bobs").by("bob").lasting(60)]);
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER), ("bobs", "Ready/Ready on b")]);
    world.put(lease("bobs-next").by("bob").created(9));
    world.settle();
    world.expect(&[("bobs-next", OVER)]);
    world.settle_at(100);
    world.expect(&[("bobs-next", "Ready/Ready on c")]);
    world.put(client("alice", &[("team", "c")]));
    world.put(client("bob", &[("team", "a")]));
    world.put(lease("carols").by("carol").created(101));
    world.put(client("carol", &[("team", "b")]));
    world.settle();
    world.expect(&[("l2", OVER), ("carols", "Ready/Ready on b")]);
}

#[test]
fn spot_leases_count_like_others() {
    let mut world = world(&[], &[]);
    world.put(policy("p", "", &[rule("", 0).spot()]));
    world.put(quota("q").devices(1));
    world.put(lease("l1").created(1));
    world.put(lease("l2").created(2));
    world.settle();
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER)]);
}

/// Bob holds all boards as spot; team a has the better right.
fn held_as_spot() -> World {
    let mut world = World::with(&["a", "b", "c"].map(exporter), &[]).with_grace(0);
    world.put(policy("p", "", &[rule("team=a", 0), rule("team=b", 0).spot()]));
    for (secs, name) in (1..).zip(["s1", "s2", "s3"]) {
        world.put(lease(name).by("bob").created(secs).requeues());
    }
    world.settle();
    world
}

#[test]
fn nobody_makes_way_for_a_lease_at_its_cap() {
    let mut world = held_as_spot();
    world.put(quota("q").of("team=a").devices(1));
    for (secs, name) in (5..).zip(["l1", "l2", "l3"]) {
        world.put(lease(name).created(secs));
    }
    world.settle_at(10);
    world.expect(&[
        ("s1", "Ready/Ready on a"),
        ("s2", "Ready/Ready on b"),
        ("s3", "not Ready/Preempted on c, ended"),
        ("l1", "Ready/Ready on c"),
        ("l2", OVER),
        ("l3", OVER),
    ]);
}

#[test]
fn nobody_makes_way_for_a_lease_at_its_cap_where_maintenance_is_ahead() {
    let mut world = held_as_spot();
    world.put(quota("q").of("team=a").devices(1));
    world.put(window("w", 100_000, 60));
    for (secs, name) in (5..).zip(["l1", "l2", "l3"]) {
        world.put(lease(name).created(secs));
    }
    world.settle_at(10);
    world.expect(&[("s1", "Ready/Ready on a"), ("s2", "Ready/Ready on b"), ("l1", "Ready/Ready on c"), ("l2", OVER)]);
}

#[test]
fn no_more_make_way_than_device_time_allows() {
    let mut world = held_as_spot();
    world.put(quota("q").of("team=a").time(7200, 86_400));
    for (secs, name) in (5..).zip(["l1", "l2", "l3"]) {
        world.put(lease(name).created(secs));
    }
    world.settle_at(10);
    world.expect(&[("s1", "Ready/Ready on a"), ("l1", "Ready/Ready on b"), ("l2", "Ready/Ready on c"), ("l3", OVER)]);
}

#[test]
fn the_lease_in_the_stead_of_a_preempted_one_waits_on_the_quota_like_any_other() {
    let mut world = held_as_spot();
    world.put(quota("q").of("team=b").devices(2));
    world.put(lease("l1").created(5));
    world.settle_at(10);
    world.expect(&[("s3", "not Ready/Preempted on c, ended"), ("l1", "Ready/Ready on c")]);
    let successor = world.leases.keys().find(|name| name.starts_with("s3-r")).unwrap().clone();
    assert_eq!(world.state(&successor), OVER);
    release(&mut world, "l1");
    world.settle();
    assert_eq!(world.state(&successor), OVER, "two are held");
    release(&mut world, "s1");
    world.settle();
    assert_eq!(world.state(&successor), "Ready/Ready on a");
}

#[test]
fn a_scheduled_lease_counts_from_its_begin() {
    let mut world =
        world(&[quota("q").devices(1)], &[lease("later").begins(1000).lasting(600), lease("now").lasting(2000)]);
    world.expect(&[("later", "Pending/Scheduled"), ("now", "Ready/Ready on b")]);
    world.settle_at(1000);
    world.expect(&[("later", OVER)]);
    release(&mut world, "now");
    world.settle_at(1100);
    world.expect(&[("later", "Ready/Ready on a")]);
}

#[test]
fn a_lease_that_shrinks_as_it_waits_comes_within_the_quota() {
    // Until 7200 s; 1800 s in any day.
    let mut world = world(&[quota("q").time(1800, 86_400)], &[lease("l").endless().ends(7200).pending("NotAvailable")]);
    world.expect(&[("l", OVER)]);
    assert_eq!(world.wake_at, Some(at(5400)));
    world.settle_at(5400);
    world.expect(&[("l", "Ready/Ready on a")]);
}

#[test]
fn a_lease_can_have_what_the_quota_does_not_count() {
    let boards = [exporter("a"), exporter("b").label("pool", "open").phase(ExporterPhase::LeaseReady)];
    let mut world = World::with(&boards, &[]);
    world.put(quota("q").counts("!pool").devices(0));
    world.put(lease("l"));
    world.settle();
    world.expect(&[("l", "Pending/NotReady")]);
    world.edit_exporter("b", |exporter| exporter.phase(ExporterPhase::Available));
    world.settle();
    world.expect(&[("l", "Pending/Preparing on b")]);
}

#[test]
fn no_more_leases_of_an_account_wait_than_its_cap() {
    let mut world = world(&[quota("q").waiting(2)], &[]);
    for index in 0..7 {
        world.put(lease(&format!("l{index}")).created(index));
    }
    world.put(lease("bobs").by("bob").created(9));
    world.settle();
    let count = |state: &str| (0..7).filter(|index| world.state(&format!("l{index}")).starts_with(state)).count();
    assert_eq!((count("Ready"), count("Pending"), count("Unsatisfiable/TooManyWaiting")), (3, 2, 2));
    // The youngest go.
    world.expect(&[("l6", "Unsatisfiable/TooManyWaiting, ended"), ("bobs", "Pending/NotAvailable")]);
    assert!(world.message("l6").starts_with("the quota q lets client alice have 2 waiting leases"));
    assert!(world.lab.waiting_limit("alice").is_some());
    assert_eq!(world.lab.waiting_limit("bob"), None);
}

#[test]
fn explains_which_quota_is_in_the_way() {
    let mut world = world(&[quota("q").devices(1)], &[lease("l1"), lease("l2"), lease("l3"), lease("bobs").by("bob")]);
    let why = world.lab.why("l3", &WhatIf::default(), world.now).unwrap();
    assert_eq!(why.explanation.reason, "QuotaExceeded");
    assert_eq!(why.explanation.position, Some(2));
    let ahead = why.ahead.iter().map(|ahead| ahead.lease.as_str()).collect::<Vec<_>>();
    assert_eq!(ahead, ["l2"]);
    assert_eq!(why.start.unwrap().latest, Some(at(7200 + 4)), "two leases of an hour later");
    let reasons = why.explanation.candidates.into_iter().map(|candidate| candidate.reason).collect::<Vec<_>>();
    assert_eq!(reasons, vec![CandidateReason::OverQuota("q".to_owned()); 3]);
    // Those who are held back by a quota are not ahead of who is not.
    world.put(lease("bobs-next").by("bob").created(9));
    world.delete_quota("q");
    world.put(quota("q").of("team=a").devices(1));
    world.edit_exporter("c", |exporter| exporter.online(false));
    world.settle();
    let why = world.lab.why("bobs-next", &WhatIf::default(), world.now).unwrap();
    assert_eq!((why.explanation.position, why.ahead.len()), (Some(1), 0));
    assert!(why.start.is_some());
}

#[test]
fn an_account_that_comes_away_from_its_cap_and_back_tells_nobody_anything() {
    let exporters = ["a", "b"].map(exporter);
    let mut world = World::with(&exporters, &[]);
    world.put(quota("q").devices(1));
    for index in 0..5 {
        world.put(lease(&format!("l{index}")).created(index));
    }
    world.put(lease("bobs").by("bob").created(9).lasting(9000));
    world.settle();
    world.tears_down_at_once = false;
    release(&mut world, "l0");
    let told = world.settle();
    // The end of the one; its exporter tears down, and the other is in use.
    assert_eq!(told.len(), 1, "{told:?}");
    world.confirm_tear_down("a");
    let told = world.settle();
    assert!(matches!(&told[..], [Action::Assign { lease, .. }] if lease == "l1"), "{told:?}");
}

#[test]
fn a_quota_that_is_told_again_changes_nothing() {
    let mut world = world(&[quota("q").devices(1), quota("r").by_team().weight(2)], &[lease("l1"), lease("l2")]);
    world.expect(&[("l1", "Ready/Ready on a"), ("l2", OVER)]);
    world.put(quota("q").devices(1));
    world.put(quota("r").by_team().weight(2));
    assert_eq!(world.settle(), []);
    world.put(lease("l3").created(9));
    world.settle();
    world.expect(&[("l3", OVER)]);
    world.put(quota("q").devices(2));
    world.settle();
    world.expect(&[("l2", "Ready/Ready on b"), ("l3", OVER)]);
}

#[test]
fn selectors_that_make_no_sense_and_numbers_that_are_forbidden_do_no_harm() {
    let wild = |key: &str| {
        let requirement = LabelSelectorRequirement { key: key.to_owned(), operator: "Like".to_owned(), values: None };
        Some(LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None })
    };
    let mut nonsense = quota("n").devices(0);
    nonsense.spec.exporter_selector = wild("board");
    let mut others = quota("o").devices(0);
    others.spec.client_selector = wild("team");
    let negative = quota("p").of("team=b").devices(-5).weight(-7).time(-9, -9);
    let mut world = world(&[nonsense, others, negative], &[lease("l1"), lease("bobs").by("bob")]);
    world.expect(&[("l1", "Ready/Ready on a"), ("bobs", "Unsatisfiable/QuotaExceeded, ended")]);
    world.put(exporter("d"));
    assert_eq!(world.settle(), []);
}

#[test]
fn a_flood_of_leases_of_one_client_leaves_others_unharmed() {
    let exporters = (0..20).map(|index| exporter(&format!("e{index:02}"))).collect::<Vec<Exporter>>();
    let mut world = World::with(&exporters, &[]);
    world.config.max_waiting = 100;
    world.restart();
    let flood = 20_000;
    for index in 0..flood {
        world.lab.observe(jumpstarter_scheduler::Change::Lease(&lease(&format!("l{index:06}")).created(index)));
    }
    let actions = world.lab.decide(world.now).actions;
    let count = |test: fn(&&Action) -> bool| actions.iter().filter(test).count();
    assert_eq!(count(|action| matches!(action, Action::Assign { .. })), 20);
    assert_eq!(count(|action| matches!(action, Action::Wait { .. })), 100);
    assert_eq!(count(|action| matches!(action, Action::Refuse { .. })), usize::try_from(flood).unwrap() - 120);
    for action in &actions {
        world.lab.settle(action);
    }
    assert!(world.lab.entries() < 1000, "{}", world.lab.entries());
    // The refused ones are forgotten, and nobody is told anything when somebody else comes.
    let bobs = lease("bobs").by("bob").created(flood);
    world.lab.observe(jumpstarter_scheduler::Change::Lease(&bobs));
    let actions = world.lab.decide(world.now).actions;
    assert!(matches!(&actions[..], [Action::Wait { lease, .. }] if lease == "bobs"), "{actions:?}");
    assert_eq!(world.lab.waiting_limit("bob"), None);
    assert_eq!(world.lab.waiting_limit("alice").map(|limit| limit.most), Some(100));
}
