//! Scheduled leases, and who fills the gaps before them. The names are sentences of `docs/scheduling.md`.

use jiff::SignedDuration;
use jumpstarter_model::{Exporter, Lease};
use jumpstarter_scheduler::{Action, CandidateReason, SpokenFor, transition};

use crate::kit::{ExporterExt as _, LeaseExt as _, RuleExt as _, World, at, client, exporter, lease, policy, rule};

/// A lab with these exporters of `board=x`, and leases that come one after the other.
fn lab(exporters: &[&str], leases: &[Lease]) -> World {
    let exporters = exporters.iter().map(|name| exporter(name)).collect::<Vec<_>>();
    let mut world = World::with(&exporters, &[]);
    for lease in leases {
        world.put(lease.clone());
        world.settle();
    }
    world
}

fn reserved(world: &World, lease: &str) -> Option<String> {
    transition::reserved(&world.leases[lease]).map(|(exporter, ..)| exporter.to_owned())
}

/// A lease for `[begin, end)`.
fn ahead(name: &str, begin: i64, end: i64) -> Lease {
    lease(name).begins(begin).lasting(end - begin)
}

/// Something that happens to a lab.
type Change = fn(&mut World);

const WAITS: &str = "Pending/Reserved";

#[test]
fn a_scheduled_lease_reserves_an_exporter_for_its_time() {
    let mut world = lab(&["a"], &[ahead("s", 100, 200)]);
    world.expect(&[("s", "Pending/Scheduled")]);
    assert_eq!(transition::reserved(&world.leases["s"]), Some(("a", at(100), at(200))));
    assert!(world.message("s").ends_with("; the exporter a is reserved for it"), "{}", world.message("s"));
    world.put(lease("long"));
    world.settle_at(50);
    world.expect(&[("long", WAITS)]);
    world.settle_at(100);
    world.expect(&[("s", "Ready/Ready on a"), ("long", "Pending/NotAvailable")]);
    world.settle_at(200);
    world.expect(&[("s", "not Ready/Expired on a, ended"), ("long", "Ready/Ready on a")]);
}

#[test]
fn reservations_that_touch_do_not_conflict() {
    let world = lab(&["a"], &[ahead("s", 100, 200), ahead("next", 200, 300), ahead("before", 50, 100)]);
    assert_eq!(["s", "next", "before"].map(|name| reserved(&world, name).unwrap()), ["a", "a", "a"]);
}

#[test]
fn the_turnaround_is_kept_free() {
    let mut world = World::with(&[exporter("a")], &[]);
    world.config.turnaround = SignedDuration::from_secs(10);
    world.restart();
    for lease in [ahead("s", 100, 200), ahead("close", 209, 300), ahead("next", 210, 300), lease("l").lasting(91)] {
        world.put(lease);
        world.settle();
    }
    world.expect(&[("close", "Unsatisfiable/ReservationConflict, ended"), ("next", "Pending/Scheduled"), ("l", WAITS)]);
    world.put(lease("short").lasting(90));
    world.settle();
    world.expect(&[("short", "Ready/Ready on a")]);
}

#[test]
fn the_best_access_then_the_idle_then_the_least_reserved_then_the_least_used_is_reserved() {
    let mut world = World::with(&[], &[]);
    world.put(policy("p", "kind=spot", &[rule("", 9).spot()]));
    world.put(policy("q", "kind=full", &[rule("", 0)]));
    let full = |name: &str| exporter(name).label("kind", "full");
    let exporters =
        [exporter("a").label("kind", "spot"), full("b"), full("c").online(false), full("d"), full("e"), full("f")];
    for exporter in exporters {
        world.put(exporter);
    }
    world.put(lease("holds").pinned("b").lasting(150));
    world.put(lease("was").pinned("e").on("e").ended_at(0));
    world.settle();
    for (name, expected) in [("1", "d"), ("2", "f"), ("3", "e"), ("4", "c"), ("5", "b"), ("6", "a")] {
        world.put(ahead(name, 100, 200));
        world.settle();
        assert_eq!(reserved(&world, name).as_deref(), Some(expected), "for {name}");
    }
    world.put(ahead("later", 200, 300));
    world.put(ahead("pinned", 300, 400).pinned("d"));
    world.settle();
    assert_eq!(reserved(&world, "later").as_deref(), Some("b"), "all have one, and none is held by then");
}

#[test]
fn a_reservation_stays_where_it_is() {
    let mut world = lab(&["a", "b"], &[ahead("s", 100, 200), ahead("t", 100, 200)]);
    let before = (reserved(&world, "s"), reserved(&world, "t"));
    world.put(exporter("0"));
    world.edit_lease("s", |lease| lease.metadata.uid = Some("zzz".to_owned()));
    assert_eq!(world.settle(), []);
    world.restart();
    assert_eq!(world.settle(), [], "a restart changes no plan");
    assert_eq!((reserved(&world, "s"), reserved(&world, "t")), before);
}

#[test]
fn a_reservation_moves_when_its_exporter_will_not_do_any_more() {
    let away: [(&str, Change); 4] = [
        ("disabled", |world| world.edit_exporter("a", |exporter| exporter.enabled(false))),
        ("labelled otherwise", |world| world.edit_exporter("a", |exporter| exporter.label("board", "y"))),
        ("deleted", |world| world.delete_exporter("a")),
        ("closed to its client", |world| {
            world.edit_exporter("a", |exporter| exporter.label("kind", "closed"));
            world.put(policy("p", "!kind", &[rule("", 0)]));
        }),
    ];
    for (what, change) in away {
        let mut world = lab(&["a", "b"], &[ahead("s", 100, 200)]);
        assert_eq!(reserved(&world, "s").as_deref(), Some("a"));
        change(&mut world);
        world.settle();
        assert_eq!(reserved(&world, "s").as_deref(), Some("b"), "{what}");
        world.settle_at(100);
        world.expect(&[("s", "Ready/Ready on b")]);
    }
}

#[test]
fn a_lease_for_which_nothing_can_be_reserved_keeps_its_place() {
    let mut world = lab(&["a"], &[ahead("s", 100, 200)]);
    world.edit_exporter("a", |exporter| exporter.enabled(false));
    let actions = world.settle();
    assert!(matches!(&actions[..], [Action::Reserve { reserved: None, .. }]), "{actions:?}");
    world.expect(&[("s", "Pending/Scheduled")]);
    assert!(world.message("s").contains("nothing is reserved for it: no exporter"), "{}", world.message("s"));
    // What comes later will do.
    world.put(exporter("b"));
    world.settle();
    assert_eq!(reserved(&world, "s").as_deref(), Some("b"));
    // Nothing matches yet.
    let mut world = lab(&[], &[ahead("s", 100, 200)]);
    world.expect(&[("s", "Pending/Scheduled")]);
    world.put(exporter("a"));
    world.settle();
    assert_eq!(reserved(&world, "s").as_deref(), Some("a"));
}

#[test]
fn an_offline_exporter_can_be_reserved() {
    let mut world = World::with(&[exporter("a").online(false)], &[ahead("s", 100, 200)]);
    world.settle();
    assert_eq!(reserved(&world, "s").as_deref(), Some("a"));
    world.settle_at(100);
    world.expect(&[("s", "Pending/Offline")]);
    // Nobody gets it before, whatever the priority.
    world.put(policy("p", "board=x", &[rule("team=a", 0), rule("team=b", 9)]));
    world.put(lease("other").by("bob").lasting(10));
    world.edit_exporter("a", |exporter| exporter.online(true));
    world.settle_at(110);
    world.expect(&[("s", "Ready/Ready on a"), ("other", "Pending/NotAvailable")]);
}

#[test]
fn a_time_that_is_taken_is_refused_with_the_alternatives() {
    let mut world = lab(&["a", "b"], &[ahead("s", 100, 200), ahead("t", 150, 300)]);
    world.put(exporter("other").label("board", "y").label("os", "linux"));
    world.edit_exporter("a", |exporter| exporter.label("os", "linux"));
    world.settle();
    let clash = world.lab.check_times(&ahead("u", 160, 190), world.now).unwrap_err();
    assert_eq!(clash.in_the_way.len(), 2);
    assert_eq!((&clash.in_the_way[0].by, clash.in_the_way[0].begin), (&SpokenFor::Lease("s".to_owned()), at(100)));
    assert_eq!(clash.begins, [(at(200), "a".to_owned()), (at(300), "b".to_owned())]);
    assert_eq!(clash.others, ["other"]);
    let text = clash.to_string();
    for part in [
        "exporter a is reserved for lease s from",
        "begins that would do: 2027-01-15T08:03:20Z (a)",
        "asked for: other",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(world.lab.check_times(&ahead("u", 120, 150), world.now), Ok(()), "b is open");
    assert_eq!(world.lab.check_times(&ahead("u", 160, 190).wants("board=z"), world.now), Ok(()), "nothing matches yet");
    assert_eq!(world.lab.check_times(&lease("now"), world.now), Ok(()), "it waits");
    // The same for an object, which cannot be refused before.
    world.put(ahead("u", 160, 190));
    world.settle();
    world.expect(&[("u", "Unsatisfiable/ReservationConflict, ended")]);
    assert_eq!(world.message("u"), text);
}

#[test]
fn a_reservation_is_moved_only_where_there_is_room() {
    let mut world = lab(&["a"], &[ahead("s", 100, 200), ahead("t", 300, 400)]);
    let moved = ahead("t", 150, 250);
    assert!(world.lab.check_times(&moved, world.now).is_err());
    assert_eq!(world.lab.check_times(&ahead("t", 350, 420), world.now), Ok(()), "its own is not in its way");
    // Changed as an object all the same: it loses what it had.
    world.edit_lease("t", |lease| *lease = lease.clone().begins(150).lasting(100));
    world.settle();
    assert_eq!((reserved(&world, "s").as_deref(), reserved(&world, "t")), (Some("a"), None));
    assert!(world.message("t").contains("reserved for lease s"), "{}", world.message("t"));
    world.edit_lease("s", |lease| *lease = lease.clone().released());
    world.settle();
    assert_eq!(reserved(&world, "t").as_deref(), Some("a"), "as soon as there is room");
}

#[test]
fn a_running_lease_is_not_extended_into_a_reservation() {
    let mut world = lab(&["a"], &[lease("l").lasting(90), ahead("s", 100, 200)]);
    let lasting = |secs| world.leases["l"].clone().lasting(secs);
    assert_eq!(world.lab.check_times(&lasting(100), world.now), Ok(()));
    let clash = world.lab.check_times(&lasting(101), world.now).unwrap_err();
    assert!(clash.to_string().contains("reserved for lease s"), "{clash}");
    world.edit_lease("l", |lease| *lease = lease.clone().lasting(150));
    world.settle();
    // Written all the same: no further, at least.
    let lasting = |secs| world.leases["l"].clone().lasting(secs);
    assert_eq!(world.lab.check_times(&lasting(140), world.now), Ok(()));
    assert!(world.lab.check_times(&lasting(160), world.now).is_err());
}

#[test]
fn a_running_lease_is_in_nobodys_way() {
    let world = lab(&["a"], &[lease("l").lasting(150), ahead("s", 100, 200)]);
    assert_eq!(reserved(&world, "s").as_deref(), Some("a"));
    assert!(world.message("s").contains("another lease may hold it until"), "{}", world.message("s"));
}

#[test]
fn at_its_begin_the_reserved_exporter_goes_to_its_lease_first() {
    let mut world = World::with(&[exporter("a"), exporter("b")], &[]);
    world.put(policy("p", "board=x", &[rule("team=a", 0), rule("team=b", 9)]));
    world.put(ahead("s", 100, 200));
    world.put(lease("hold-a").pinned("a").lasting(100));
    world.put(lease("hold-b").pinned("b").lasting(100));
    world.settle();
    world.put(lease("urgent").by("bob").lasting(50).created(1));
    world.settle_at(1);
    world.settle_at(100);
    world.expect(&[("s", "Ready/Ready on a"), ("urgent", "Ready/Ready on b")]);
}

#[test]
fn who_finds_its_exporter_held_takes_another_or_waits_first_in_line() {
    let mut world = lab(&["a"], &[lease("l").lasting(150), ahead("s", 100, 200)]);
    world.put(lease("elder").lasting(10));
    world.settle_at(100);
    world.expect(&[("s", "Pending/NotAvailable"), ("elder", "Pending/NotAvailable")]);
    world.edit_lease("l", |lease| *lease = lease.clone().released());
    world.settle_at(120);
    world.expect(&[("s", "Ready/Ready on a"), ("elder", "Pending/NotAvailable")]);
    // With another one free.
    let mut world = lab(&["a"], &[lease("l").lasting(150), ahead("s", 100, 200)]);
    world.put(exporter("b"));
    world.settle_at(100);
    world.expect(&[("s", "Ready/Ready on b")]);
    world.put(lease("next").lasting(10));
    world.edit_lease("l", |lease| *lease = lease.clone().released());
    world.settle_at(101);
    world.expect(&[("next", "Ready/Ready on a")]);
}

#[test]
fn a_lease_gets_a_reserved_exporter_only_if_it_ends_in_time() {
    let world = lab(&["a"], &[ahead("s", 100, 200), lease("long").lasting(101)]);
    world.expect(&[("long", WAITS)]);
    let message = world.message("long");
    assert!(message.contains("free (such as a), but it is spoken for before the lease would end"), "{message}");
    assert!(message.contains("reserved for lease s from 2027-01-15T08:01:40Z to 2027-01-15T08:03:20Z"), "{message}");
    let candidates = world.lab.explain("long", world.now).unwrap().candidates;
    let expected = CandidateReason::Reserved { lease: "s".to_owned(), from: at(100), until: at(200) };
    assert_eq!(candidates[0].reason, expected);
    let world = lab(&["a"], &[ahead("s", 100, 200), lease("short").lasting(100)]);
    world.expect(&[("short", "Ready/Ready on a")]);
}

#[test]
fn a_shorter_lease_fills_the_gap_before_an_elder_one() {
    let mut world = lab(&["a"], &[ahead("s", 100, 200), lease("long").lasting(200), lease("short").lasting(60)]);
    world.expect(&[("long", "Pending/NotAvailable"), ("short", "Ready/Ready on a")]);
    world.settle_at(60);
    world.settle_at(100);
    world.expect(&[("s", "Ready/Ready on a")]);
    world.settle_at(200);
    world.expect(&[("long", "Ready/Ready on a")]);
}

#[test]
fn a_lease_takes_another_exporter_that_it_can_have_for_long_enough() {
    let world = lab(&["a", "b"], &[ahead("s", 100, 200).pinned("a"), lease("long")]);
    world.expect(&[("long", "Ready/Ready on b")]);
}

#[test]
fn a_lease_with_a_fixed_end_fills_a_gap_until_then() {
    let mut world = lab(&["a"], &[ahead("s", 100, 200), lease("late").endless().ends(101)]);
    world.expect(&[("late", WAITS)]);
    world.put(lease("early").endless().ends(100));
    world.settle_at(70);
    world.expect(&[("early", "Ready/Ready on a")]);
}

#[test]
fn a_gap_that_widens_is_filled_at_once() {
    let changes: [(&str, Change); 3] = [
        ("cancelled", |world| world.edit_lease("s", |lease| *lease = lease.clone().released())),
        ("deleted", |world| {
            world.leases.remove("s");
            world.lab.observe(jumpstarter_scheduler::Change::LeaseDeleted("s"));
        }),
        ("put off", |world| world.edit_lease("s", |lease| *lease = lease.clone().begins(300))),
    ];
    for (what, change) in changes {
        let mut world = lab(&["a"], &[ahead("s", 100, 200), lease("l").lasting(150)]);
        world.expect(&[("l", WAITS)]);
        change(&mut world);
        world.settle_at(1);
        assert_eq!(world.state("l"), "Ready/Ready on a", "{what}");
    }
}

/// Alice has spot access to `board=x`, bob full access.
fn contested(exporters: &[Exporter]) -> World {
    let mut world = World::with(exporters, &[]);
    world.put(policy("p", "board=x", &[rule("team=b", 0), rule("team=a", 3).spot()]));
    world
}

#[test]
fn spot_leases_fill_gaps_by_the_same_rule() {
    let mut world = contested(&[exporter("a")]);
    world.put(ahead("s", 100, 200).by("bob"));
    world.put(lease("long").lasting(101));
    world.put(lease("short").lasting(100).created(1));
    world.settle();
    world.expect(&[("long", "Pending/NotAvailable"), ("short", "Ready/Ready on a")]);
    assert_eq!(world.leases["short"].status.as_ref().unwrap().spot_access, Some(true));
}

#[test]
fn a_spot_lease_makes_way_for_a_reservation_that_has_begun() {
    let mut world = contested(&[exporter("a")]);
    world.put(lease("spot"));
    world.settle();
    world.put(ahead("s", 100, 400).by("bob"));
    world.settle_at(10);
    assert_eq!(reserved(&world, "s").as_deref(), Some("a"));
    world.settle_at(100);
    world.expect(&[("spot", "Preempting/PreemptionNotice on a")]);
    world.settle_at(160);
    world.expect(&[("spot", "not Ready/Preempted on a, ended"), ("s", "Ready/Ready on a")]);
}

#[test]
fn nobody_makes_way_on_an_exporter_that_is_reserved_too_soon() {
    let mut world = contested(&[exporter("a")]);
    world.put(client("carol", &[("team", "b")]));
    world.put(lease("spot").lasting(90));
    world.settle();
    world.put(ahead("s", 100, 200).by("bob"));
    // It would last until 110 if it began after the grace.
    world.put(lease("full").by("carol").lasting(50));
    world.settle();
    world.expect(&[("spot", "Ready/Ready on a"), ("full", "Pending/NotAvailable")]);
    world.put(lease("short").by("carol").lasting(40));
    world.settle();
    world.expect(&[("spot", "Preempting/PreemptionNotice on a")]);
}

#[test]
fn what_a_manifest_says_of_a_reservation_is_a_wish() {
    let mut world = World::with(&[exporter("a"), exporter("b")], &[]);
    let wish = |lease: Lease, exporter: &str| {
        let mut lease = lease;
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(transition::RESERVED_EXPORTER.to_owned(), exporter.to_owned());
        lease
    };
    world.put(wish(ahead("s", 100, 200), "b"));
    world.put(wish(ahead("t", 100, 200).created(1), "b"));
    world.put(wish(ahead("u", 300, 400).created(1), "nowhere"));
    world.settle();
    assert_eq!(["s", "t", "u"].map(|name| reserved(&world, name).unwrap()), ["b", "a", "a"]);
}

/// Nor does it hold what cannot be given out: its begin has come, and the exporter is kept back or disabled meanwhile.
#[test]
fn a_reservation_that_has_begun_is_of_no_use_on_an_exporter_that_will_not_do() {
    let kept_back = |mut exporter: Exporter| {
        exporter.metadata.annotations.get_or_insert_default().insert(transition::QUARANTINE.into(), "true".into());
        exporter
    };
    let disabled = |exporter: Exporter| exporter.enabled(false);
    for withdraw in [&kept_back as &dyn Fn(Exporter) -> Exporter, &disabled] {
        let mut world = lab(&["a"], &[ahead("s", 100, 200)]);
        world.edit_exporter("a", |exporter| exporter.online(false));
        world.settle_at(100);
        assert_eq!(reserved(&world, "s").as_deref(), Some("a"));
        world.edit_exporter("a", withdraw);
        world.settle_at(101);
        world.edit_exporter("a", |exporter| exporter.online(true));
        world.settle_at(102);
        assert_eq!(world.leases["s"].assigned_exporter(), None, "{}", world.message("s"));
    }
}
