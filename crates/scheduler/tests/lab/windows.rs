//! Maintenance windows. The names are sentences of `docs/scheduling.md`.

use jumpstarter_model::{GoDuration, Selector};
use jumpstarter_scheduler::{CandidateReason, WhatIf, transition};

use crate::kit::{ExporterExt as _, LeaseExt as _, World, at, exporter, lease, window};

fn lab(exporters: &[&str]) -> World {
    let exporters = exporters.iter().map(|name| exporter(name)).collect::<Vec<_>>();
    World::with(&exporters, &[])
}

const WAITS: &str = "Pending/Reserved";

#[test]
fn leases_end_before_maintenance() {
    let mut world = lab(&["a"]);
    world.put(window("w", 100, 50));
    world.put(lease("long").lasting(101));
    world.settle();
    world.expect(&[("long", WAITS)]);
    assert!(world.message("long").contains("maintenance w (new power supply) from"), "{}", world.message("long"));
    let candidates = world.lab.explain("long", world.now).unwrap().candidates;
    let expected =
        CandidateReason::Maintenance { reason: "new power supply".to_owned(), from: at(100), until: at(150) };
    assert_eq!(candidates[0].reason, expected);
    world.put(lease("short").lasting(100));
    world.settle();
    world.expect(&[("short", "Ready/Ready on a")]);
    let running = world.leases["short"].clone().lasting(101);
    let clash = world.lab.check_times(&running, world.now).unwrap_err();
    assert!(clash.to_string().contains("maintenance w"), "{clash}");
}

#[test]
fn an_exporter_in_maintenance_is_given_to_nobody() {
    let mut world = lab(&["a"]);
    world.put(window("w", 100, 50));
    world.settle_at(100);
    world.put(lease("l").lasting(1));
    world.settle_at(120);
    world.expect(&[("l", WAITS)]);
    assert_eq!(world.wake_at, Some(at(150)));
    world.settle_at(150);
    world.expect(&[("l", "Ready/Ready on a")]);
    assert_eq!(world.wake_at, Some(at(151)), "what is over costs nothing");
}

#[test]
fn clients_that_a_window_names_get_in() {
    let mut world = lab(&["a"]);
    let mut window = window("w", 100, 50);
    window.spec.client_selector = Some(Selector::parse("team=b").unwrap().to_label_selector());
    world.put(window);
    world.settle_at(110);
    world.put(lease("alice"));
    world.settle();
    world.expect(&[("alice", WAITS)]);
    world.put(lease("bob").by("bob"));
    world.settle();
    world.expect(&[("bob", "Ready/Ready on a")]);
}

#[test]
fn a_window_does_not_end_a_lease_that_runs() {
    let mut world = lab(&["a"]);
    world.put(lease("l").lasting(120));
    world.settle();
    world.put(window("w", 100, 50));
    world.settle_at(110);
    world.expect(&[("l", "Ready/Ready on a")]);
    world.put(lease("next").lasting(10));
    world.settle_at(120);
    world.expect(&[("l", "not Ready/Expired on a, ended"), ("next", WAITS)]);
}

#[test]
fn reservations_make_way_for_maintenance() {
    let mut world = lab(&["a", "b"]);
    world.put(lease("s").begins(100).lasting(100));
    world.settle();
    assert_eq!(transition::reserved(&world.leases["s"]), Some(("a", at(100), at(200))));
    let mut only_a = window("w", 150, 50);
    only_a.spec.exporter_selector = None;
    only_a.spec.exporters = Some(vec!["a".to_owned()]);
    world.put(only_a);
    world.settle();
    assert_eq!(transition::reserved(&world.leases["s"]), Some(("b", at(100), at(200))));
    world.put(window("all", 199, 50));
    world.settle();
    assert_eq!(transition::reserved(&world.leases["s"]), None);
    assert!(world.message("s").contains("nothing is reserved for it: "), "{}", world.message("s"));
    world.delete_window("all");
    world.settle();
    assert_eq!(transition::reserved(&world.leases["s"]), Some(("b", at(100), at(200))));
}

#[test]
fn a_time_in_maintenance_is_refused_with_the_alternatives() {
    let mut world = lab(&["a"]);
    world.put(window("w", 100, 50));
    world.settle();
    let clash = world.lab.check_times(&lease("s").begins(90).lasting(20), world.now).unwrap_err();
    assert_eq!(clash.begins, [(at(150), "a".to_owned())]);
    assert!(clash.to_string().contains("maintenance w (new power supply)"), "{clash}");
}

#[test]
fn a_window_opens_again_and_again() {
    let mut world = lab(&["a"]);
    // The test begins at 8:00; every hour, at five past, for ten minutes.
    let mut hourly = window("w", 0, 600);
    hourly.spec.start = None;
    hourly.spec.schedule = Some("5 * * * *".to_owned());
    world.put(hourly);
    world.put(lease("first").lasting(300));
    world.settle();
    world.expect(&[("first", "Ready/Ready on a")]);
    world.put(lease("second").lasting(2100));
    world.put(lease("never").created(1).lasting(3001));
    world.settle_at(300);
    world.expect(&[("second", WAITS), ("never", WAITS)]);
    world.settle_at(900);
    world.expect(&[("second", "Ready/Ready on a")]);
    world.put(lease("third").lasting(600));
    world.settle_at(3000);
    world.expect(&[("third", "Ready/Ready on a")]);
    world.settle_at(3600);
    world.put(lease("fourth").lasting(301));
    world.settle_at(3601);
    world.expect(&[("fourth", WAITS), ("never", WAITS)]);
    assert_eq!(world.lab.why("never", &WhatIf::default(), world.now).unwrap().start, None, "it fits in no gap");
}

#[test]
fn a_window_opens_as_well_in_a_year() {
    let hour = 3600;
    let mut hourly = window("w", 0, 600);
    hourly.spec.start = None;
    hourly.spec.schedule = Some("5 * * * *".to_owned());
    // Soon, beyond what is worked out beforehand, and after some have come and gone.
    for (now, hours) in [(0, 2), (0, 31), (0, 32), (0, 8760), (100 * hour, 131), (100 * hour, 9000)] {
        let mut world = lab(&["a"]);
        world.put(hourly.clone());
        world.settle();
        world.settle_at(now);
        world.put(lease("inside").created(now).pinned("a").begins(hours * hour + 800).lasting(200));
        world.put(lease("between").created(now).pinned("a").begins(hours * hour + 900).lasting(2700));
        world.settle();
        world.expect(&[("inside", "Unsatisfiable/ReservationConflict, ended"), ("between", "Pending/Scheduled")]);
        let reserved = world.leases["between"].metadata.annotations.clone().unwrap_or_default();
        assert_eq!(reserved.get("jumpstarter.dev/reserved-exporter").map(String::as_str), Some("a"), "{hours}");
    }
}

#[test]
fn a_window_that_makes_no_sense_blocks_nothing() {
    let mut world = lab(&["a"]);
    let mut endless = window("w", 0, 600);
    endless.spec.duration = Some(GoDuration::from_secs(-1));
    world.put(endless);
    world.put(window("over", -100, 50));
    world.put(lease("l"));
    world.settle();
    world.expect(&[("l", "Ready/Ready on a")]);
}

#[test]
fn a_window_follows_labels() {
    let mut world = lab(&["a"]);
    world.edit_exporter("a", |exporter| exporter.label("board", "y"));
    world.put(window("w", 100, 50));
    world.settle();
    world.edit_exporter("a", |exporter| exporter.label("board", "x"));
    world.put(lease("l"));
    world.settle();
    world.expect(&[("l", WAITS)]);
    world.edit_exporter("a", |exporter| exporter.label("board", "y"));
    world.put(lease("m").wants("board"));
    world.settle();
    world.expect(&[("m", "Ready/Ready on a")]);
}
