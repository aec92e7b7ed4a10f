//! Access policies (kubernetes.md §4.3).

use jumpstarter_model::{ExporterAccessPolicy, Lease};
use jumpstarter_scheduler::{AccessError, Grant};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

use crate::kit::{ExporterExt as _, LeaseExt as _, RuleExt as _, World, at, client, exporter, lease, policy, rule};

#[track_caller]
fn check(policies: &[ExporterAccessPolicy], lease: Lease, state: &str) -> World {
    let name = lease.metadata.name.clone().unwrap();
    let mut world = World::with(&[exporter("a")], &[lease]);
    policies.iter().cloned().for_each(|policy| world.put(policy));
    world.settle();
    world.expect(&[(&name, state)]);
    world
}

const REFUSED: &str = "Unsatisfiable/NoAccess, ended";

#[test]
fn without_policies_everybody_may() {
    check(&[], lease("l").by("nobody"), "Ready/Ready on a");
}

#[test]
fn with_policies_only_those_whom_a_rule_admits() {
    check(&[policy("p", "", &[rule("", 0)])], lease("l"), "Ready/Ready on a");
    check(&[policy("p", "board=x", &[rule("team=a", 0)])], lease("l"), "Ready/Ready on a");
    check(&[policy("p", "board=y", &[rule("team=a", 0)])], lease("l"), REFUSED);
    check(&[policy("p", "board=x", &[rule("team=b", 0)])], lease("l"), REFUSED);
    check(&[policy("p", "board=x", &[rule("team=b", 0), rule("team=a", 0)])], lease("l"), "Ready/Ready on a");
    check(&[policy("p", "board=x", &[])], lease("l"), REFUSED);
    check(&[policy("p", "", &[rule("", 0)])], lease("l").pinned("a"), "Ready/Ready on a");
    check(&[policy("p", "", &[rule("team=b", 0)])], lease("l").pinned("a"), REFUSED);
}

#[test]
fn a_rule_without_clients_admits_nobody() {
    let mut nobody = rule("", 0);
    nobody.from = None;
    check(&[policy("p", "", &[nobody.clone()])], lease("l"), REFUSED);
    nobody.from = Some(Vec::new());
    check(&[policy("p", "", &[nobody])], lease("l"), REFUSED);
}

#[test]
fn a_policy_without_a_selector_is_about_every_exporter() {
    let mut everywhere = policy("p", "", &[rule("team=a", 0)]);
    everywhere.spec.exporter_selector = None;
    check(&[everywhere], lease("l"), "Ready/Ready on a");
}

#[test]
fn a_selector_that_makes_no_sense_matches_nothing() {
    let mut broken = policy("p", "", &[rule("team=a", 0)]);
    broken.spec.exporter_selector.as_mut().unwrap().match_expressions = Some(vec![LabelSelectorRequirement::default()]);
    check(&[broken], lease("l"), REFUSED);
    let mut broken = rule("", 0);
    broken.from.as_mut().unwrap()[0].client_selector.match_expressions =
        Some(vec![LabelSelectorRequirement::default()]);
    check(&[policy("p", "", &[broken])], lease("l"), REFUSED);
}

#[test]
fn a_refusal_names_the_rules_that_do_not_admit() {
    let rules = [rule("team=b", 0).described("team b only"), rule("team=c", 0).described(""), rule("team=d", 0)];
    let world = check(
        &[policy("p", "", &rules), policy("q", "board=y", &[rule("", 0).described("other boards")])],
        lease("l"),
        REFUSED,
    );
    let message = world.message("l");
    assert!(message.contains("none of them are approved by any policy"), "{message}");
    assert!(message.ends_with("Matching policies: team b only"), "{message}");
}

#[test]
fn the_longest_duration_is_a_limit() {
    let hour = [policy("p", "", &[rule("", 0).at_most(3600)])];
    check(&hour, lease("l").lasting(3600), "Ready/Ready on a");
    let world = check(&hour, lease("l").lasting(3601), REFUSED);
    assert!(world.message("l").contains("1h0m0s"), "names the limit: {}", world.message("l"));
    check(&hour, lease("l").endless().begins(0).ends(3600), "Ready/Ready on a");
    check(&hour, lease("l").endless().begins(0).ends(3601), REFUSED);
    check(&hour, lease("l").endless().ends(3600), "Ready/Ready on a");
    check(&hour, lease("l").endless().ends(3601), REFUSED);
    check(&hour, lease("l").lasting(60).ends(3601), REFUSED);
    check(&[policy("p", "", &[rule("", 0).at_most(3600), rule("", -5)])], lease("l").lasting(7200), "Ready/Ready on a");
}

#[test]
fn spot_access_is_better_than_none() {
    let spot = || rule("", 9).spot();
    let world = check(&[policy("p", "", &[spot()])], lease("l"), "Ready/Ready on a");
    let status = world.leases["l"].status.clone().unwrap();
    assert_eq!((status.spot_access, status.priority), (Some(true), Some(9)));
    let world = check(&[policy("p", "", &[spot(), rule("", 0)])], lease("l"), "Ready/Ready on a");
    assert_eq!(world.leases["l"].status.as_ref().unwrap().spot_access, Some(false));
}

#[test]
fn a_client_that_is_not_there_yet_is_waited_for() {
    let mut world = check(&[policy("p", "", &[rule("team=z", 0)])], lease("l").by("zoe"), "Pending/NoAccess");
    assert!(world.message("l").contains("The client zoe does not exist"), "{}", world.message("l"));
    world.put(client("zoe", &[("team", "z")]));
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);
}

#[test]
fn a_waiting_lease_follows_policies_and_client_labels() {
    let waits = lease("l").pending("NotAvailable");
    let mut world = check(&[policy("p", "", &[rule("team=b", 0)])], waits, "Pending/NoAccess");
    world.put(client("alice", &[("team", "b")]));
    assert_eq!(world.settle().len(), 1, "assigned without a detour");
    world.expect(&[("l", "Ready/Ready on a")]);

    let waits = lease("l").pending("NotAvailable");
    let mut world = check(&[policy("p", "", &[rule("team=b", 0)])], waits.clone(), "Pending/NoAccess");
    world.put(policy("q", "", &[rule("team=a", 0)]));
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);

    let mut world = check(&[policy("p", "", &[rule("team=b", 0)])], waits.clone(), "Pending/NoAccess");
    world.delete_policy("p");
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);

    check(&[policy("p", "", &[rule("", 0).spot()])], waits, "Ready/Ready on a");
}

#[test]
fn a_running_lease_outlives_its_policy() {
    let mut world = check(&[], lease("l"), "Ready/Ready on a");
    world.put(policy("p", "", &[rule("team=b", 0)]));
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);
}

#[test]
fn waiting_makes_a_lease_with_a_fixed_end_short_enough() {
    let waits = lease("l").endless().ends(7200).pending("NotAvailable");
    let mut world = check(&[policy("p", "", &[rule("", 0).at_most(3600)])], waits, "Pending/NoAccess");
    assert_eq!(world.wake_at, Some(at(3600)));
    world.settle_at(3600);
    world.expect(&[("l", "Ready/Ready on a")]);
}

#[test]
fn extensions_and_transfers_can_be_checked() {
    let hour = jumpstarter_model::GoDuration::from_secs(3600);
    let longer = jumpstarter_model::GoDuration::from_secs(3601);
    let mut world = World::with(&[exporter("a"), exporter("s").label("kind", "s")], &[]);
    assert_eq!(world.lab.check_access("nobody", "a", longer), Ok(Grant { priority: 0, spot: false }));
    world.put(policy("p", "!kind", &[rule("team=a", 3).at_most(3600), rule("team=a", 1).at_most(60)]));
    world.put(policy("q", "kind=s", &[rule("team=a", 7).spot()]));
    let check = |client: &str, exporter: &str, requested| world.lab.check_access(client, exporter, requested);
    assert_eq!(check("alice", "a", hour), Ok(Grant { priority: 3, spot: false }));
    assert_eq!(check("alice", "s", hour), Ok(Grant { priority: 7, spot: true }));
    assert!(matches!(check("alice", "a", longer), Err(AccessError::DurationTooLong { limit, .. }) if limit == hour));
    assert!(matches!(check("bob", "a", hour), Err(AccessError::NoAccess { .. })));
    assert!(matches!(check("zoe", "a", hour), Err(AccessError::ClientNotFound(_))));
    assert!(matches!(check("alice", "b", hour), Err(AccessError::ExporterNotFound(_))));
}

#[test]
fn a_policy_that_moves_takes_its_exporters_along() {
    let moves = |exporters: &str| policy("moves", exporters, &[rule("team=a", 5)]);
    let boards = [exporter("a"), exporter("b").label("board", "y")];
    let waits = |name: &str, board: &str| lease(name).wants(&format!("board={board}")).pending("NotAvailable");
    let mut world = World::with(&boards, &[waits("on-x", "x"), waits("on-y", "y")]);
    world.put(policy("others", "board in (x, y)", &[rule("team=b", 0)]));
    world.put(moves("board=z"));
    world.settle();
    world.expect(&[("on-x", "Pending/NoAccess"), ("on-y", "Pending/NoAccess")]);
    world.put(moves("board=y"));
    assert_eq!(world.settle().len(), 1, "nothing is new for who waits for another board");
    world.expect(&[("on-x", "Pending/NoAccess"), ("on-y", "Ready/Ready on b")]);
    world.put(moves("board=x"));
    world.settle();
    world.expect(&[("on-x", "Ready/Ready on a"), ("on-y", "Ready/Ready on b")]);
}

#[test]
fn a_policy_that_is_told_again_changes_nothing() {
    let mut world = World::with(&[exporter("a"), exporter("b")], &[]);
    let rules = [rule("team=a", 5).described("the team"), rule("", 0).spot()];
    world.put(policy("p", "board=x", &rules));
    world.put(lease("l").pending("NotAvailable").by("nobody"));
    world.settle();
    world.put(policy("p", "board=x", &rules));
    assert_eq!(world.settle(), []);
}
