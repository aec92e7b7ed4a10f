use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};

use super::*;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(schedule: &str, zone: &str, duration: &str) -> MaintenanceWindowSpec {
    MaintenanceWindowSpec {
        exporter_selector: Some(LabelSelector::default()),
        schedule: Some(schedule.to_owned()),
        time_zone: (!zone.is_empty()).then(|| zone.to_owned()),
        duration: Some(duration.parse().unwrap()),
        ..MaintenanceWindowSpec::default()
    }
}

fn once(start: &str, duration: &str) -> MaintenanceWindowSpec {
    MaintenanceWindowSpec {
        exporters: Some(vec!["a".to_owned()]),
        start: Some(Time(instant(start))),
        duration: Some(duration.parse().unwrap()),
        ..MaintenanceWindowSpec::default()
    }
}

#[track_caller]
fn openings(spec: &MaintenanceWindowSpec, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::of(spec).unwrap();
    let mut at = instant(after);
    let mut found = Vec::new();
    while found.len() < count {
        let Some(opening) = schedule.open_after(at) else { break };
        found.push(format!("{}/{}", opening.begin, opening.end));
        at = opening.end;
    }
    found
}

#[test]
fn a_window_opens_again_and_again() {
    let friday = cron("0 22 * * 5", "", "2h");
    let expected = ["2026-05-08T22:00:00Z/2026-05-09T00:00:00Z", "2026-05-15T22:00:00Z/2026-05-16T00:00:00Z"];
    assert_eq!(openings(&friday, "2026-05-08T21:00:00Z", 2), expected);
    assert_eq!(openings(&friday, "2026-05-08T23:59:59Z", 2), expected, "it is open still");
    assert_eq!(openings(&friday, "2026-05-09T00:00:00Z", 1), expected[1..]);
}

#[test]
fn a_window_opens_once() {
    let one = once("2026-05-08T22:00:00Z", "2h");
    assert_eq!(openings(&one, "2026-05-01T00:00:00Z", 2), ["2026-05-08T22:00:00Z/2026-05-09T00:00:00Z"]);
    assert_eq!(openings(&one, "2026-05-09T00:00:00Z", 1), Vec::<String>::new());
}

#[test]
fn a_wall_clock_time_that_is_skipped_opens_the_window_as_much_later() {
    let night = cron("30 2 * * *", "Europe/Berlin", "15m");
    let found = openings(&night, "2026-03-28T12:00:00Z", 2);
    assert_eq!(found, ["2026-03-29T01:30:00Z/2026-03-29T01:45:00Z", "2026-03-30T00:30:00Z/2026-03-30T00:45:00Z"]);
    // Asked between the jump and the opening, too.
    assert_eq!(openings(&night, "2026-03-29T01:10:00Z", 1), found[..1]);
}

#[test]
fn a_wall_clock_time_that_comes_twice_opens_the_window_the_first_time() {
    let night = cron("30 2 * * *", "Europe/Berlin", "15m");
    let found = openings(&night, "2026-10-24T12:00:00Z", 2);
    assert_eq!(found, ["2026-10-25T00:30:00Z/2026-10-25T00:45:00Z", "2026-10-26T01:30:00Z/2026-10-26T01:45:00Z"]);
}

#[test]
fn an_overlap_is_one_with_the_very_instants() {
    let schedule = Schedule::of(&cron("0 22 * * *", "", "1h")).unwrap();
    let overlap =
        |from: &str, to: &str| schedule.overlap(instant(from), instant(to)).map(|opening| opening.begin.to_string());
    assert_eq!(overlap("2026-05-08T20:00:00Z", "2026-05-08T22:00:00Z"), None);
    assert_eq!(overlap("2026-05-08T20:00:00Z", "2026-05-08T22:00:01Z").as_deref(), Some("2026-05-08T22:00:00Z"));
    assert_eq!(overlap("2026-05-08T22:59:59Z", "2026-05-08T23:30:00Z").as_deref(), Some("2026-05-08T22:00:00Z"));
    assert_eq!(overlap("2026-05-08T23:00:00Z", "2026-05-09T22:00:00Z"), None);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_field() {
    let refused = |spec: &MaintenanceWindowSpec| Schedule::of(spec).unwrap_err().to_string();
    for (spec, text) in [
        (
            MaintenanceWindowSpec { exporter_selector: None, ..cron("0 2 * * *", "", "1h") },
            "exporterSelector or exporters",
        ),
        (
            MaintenanceWindowSpec { start: Some(Time(instant("2026-01-01T00:00:00Z"))), ..cron("0 2 * * *", "", "1h") },
            "exactly one",
        ),
        (MaintenanceWindowSpec { schedule: None, ..cron("", "", "1h") }, "exactly one"),
        (
            MaintenanceWindowSpec { time_zone: Some("UTC".to_owned()), ..once("2026-01-01T00:00:00Z", "1h") },
            "timeZone goes",
        ),
        (MaintenanceWindowSpec { duration: None, ..cron("0 2 * * *", "", "1h") }, "must be positive"),
        (cron("0 2 * * *", "", "0s"), "must be positive"),
        (cron("0 2 * * *", "", "-1h"), "must be positive"),
        (cron("0 2 1 1 *", "", "100000h"), "at most"),
        (cron("61 2 * * *", "", "1h"), "five fields"),
        (cron("0 2 * *", "", "1h"), "five fields"),
        (cron("0 2 * * * Asia/Shanghai", "", "1h"), "five fields"),
        (cron("@daily", "", "1h"), "five fields"),
        (cron("", "", "1h"), "five fields"),
        (cron("0 0 30 2 *", "", "1h"), "never comes to pass"),
        (cron("0 2 * * *", "Mars/Olympus", "1h"), "IANA"),
        (cron("0 2 * * *", "", "24h"), "opens again after 24h"),
        (cron("*/5 * * * *", "", "6m"), "opens again after 5m"),
    ] {
        assert!(refused(&spec).contains(text), "{spec:?}: {}", refused(&spec));
    }
    assert!(Schedule::of(&cron("0 2 * * *", "", "23h")).is_ok());
}
