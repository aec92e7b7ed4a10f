//! Labs of many seeds, mistakes built in on purpose, and seeds that have found something.

#![allow(clippy::unwrap_used, reason = "what tests share unwraps as they do")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jumpstarter_sim::{Faults, Flaw, Plan, Report, run};

/// Seeds of every test run; `cargo xtask test seeds` runs more.
const SEEDS: u64 = 16;
/// Seeds among which each mistake that is built in must be found.
const SEEDS_OF_A_FLAW: u64 = 20;

/// Runs these seeds on two threads, and stops when `enough` says so.
fn all(
    seeds: std::ops::Range<u64>,
    plan: impl Fn(u64) -> Plan + Sync,
    enough: impl Fn(&Report) -> bool + Sync,
) -> Vec<Report> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut reports = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return reports;
            }
            let report = run(&plan(seed));
            if enough(&report) {
                next.store(seeds.end, Ordering::Relaxed);
            }
            reports.push(report);
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn nothing_is_wrong_with_the_labs_of_many_seeds() {
    let reports = all(1000..1000 + SEEDS, Plan::small, |report| report.violation.is_some());
    for report in &reports {
        assert!(report.violation.is_none(), "{report}\nreplay: cargo xtask sim --small --seed {}", report.seed);
    }
    let granted: u64 = reports.iter().map(|report| report.counts.granted).sum();
    let tunnels: u64 = reports.iter().map(|report| report.counts.tunnels).sum();
    assert!(granted > SEEDS && tunnels > SEEDS, "labs in which nothing happens prove nothing: {granted}, {tunnels}");
    let reserved: u64 = reports.iter().map(|report| report.counts.reserved).sum();
    let groups: u64 = reports.iter().map(|report| report.counts.groups).sum();
    assert!(reserved > 0 && groups > 0, "nothing was promised, or no group was served: {reserved}, {groups}");
}

#[test]
fn a_seed_replays_exactly() {
    let plan = Plan { length: Duration::from_mins(6), exporters: 4, clients: 8, ..Plan::swarm(3) };
    let (first, second) = (run(&plan), run(&plan));
    assert!(first.lines > 100, "{first}");
    assert_eq!((first.digest, first.lines, first.counts), (second.digest, second.lines, second.counts));
    let other = run(&Plan { seed: 4, ..plan });
    assert_ne!(first.digest, other.digest);
}

/// Seeds that have found a mistake, which was then mended; with what they found.
#[test]
fn seeds_that_have_found_something_stay_quiet() {
    // The plan of a seed changes whenever the simulation draws in another order: each mistake has a test of its own, too.
    let found = [
        // A device that came back went to whichever lease was looked at next, not to the eldest.
        (8, 12, "in-order"),
        // Two leaders that disagreed about an exporter's presence corrected each other hundreds of times a second.
        (37, 4, "write-storm"),
        // A request to register that came twice made the service forget what it had told the exporter.
        (1116, 12, "torn-down-first"),
        // A leader restored what an exporter had told it long before, in place of what it had told the next leader.
        (327, 12, "nothing-left"),
        // A lease that was looked for in vain was forgotten, although news of its creation had come meanwhile.
        (2163, 12, "two-holders"),
        // A leader that had not heard of a lease took its claim for a leftover.
        (5021, 12, "two-holders"),
        // Two leaders that saw different exporters corrected each other's reason to wait.
        (52, 12, "write-storm"),
        // What an exporter had said before it heard of a lease was taken, after a restart, for the end of its session.
        (20424, 12, "torn-down-first"),
    ];
    for (seed, minutes, kind) in found {
        let mut plan = Plan { length: Duration::from_mins(minutes), ..Plan::swarm(seed) };
        // They were found before there was what has come since.
        plan.faults = plan.faults.plain();
        let report = run(&plan);
        assert!(report.violation.is_none(), "{kind} again? {report}");
    }
}

/// Looks for a seed that finds the mistake as one of these kinds.
#[track_caller]
fn found(flaw: Flaw, kinds: &[&str], (exporters, clients): (usize, usize), faults: &Faults) {
    let length = Duration::from_mins(12);
    let plan = |seed| Plan { flaw, faults: faults.clone(), exporters, clients, length, ..Plan::swarm(seed) };
    let is_it = |report: &Report| report.violation.as_ref().is_some_and(|found| kinds.contains(&found.kind));
    let reports = all(1..SEEDS_OF_A_FLAW, plan, is_it);
    let shown: Vec<_> = reports.iter().map(|report| report.violation.as_ref().map(|found| found.kind)).collect();
    assert!(reports.iter().any(is_it), "{flaw:?} was to show as {kinds:?}: {shown:?}");
}

/// A lab in which people wait for each other, and nothing fails.
#[track_caller]
fn found_on_a_good_day(flaw: Flaw, kinds: &[&str]) {
    found(flaw, kinds, (4, 12), &Faults::none());
}

#[test]
fn a_claim_that_is_read_and_then_written_gives_a_device_to_two() {
    // Two leaders for a while are all that it takes.
    let rivals = Faults { rivals: 400, watch_lag: 10_000, ..Faults::none() };
    found(Flaw::ReadThenWrite, &["two-holders"], (1, 8), &rivals);
}

#[test]
fn an_acknowledged_write_that_is_forgotten_is_missed() {
    found_on_a_good_day(Flaw::ForgottenWrites, &["acknowledged", "told-the-truth"]);
}

#[test]
fn a_young_lease_that_passes_an_old_one_is_seen() {
    found_on_a_good_day(Flaw::YoungestFirst, &["in-order"]);
}

#[test]
fn a_lease_that_waits_for_ever_is_seen() {
    found_on_a_good_day(Flaw::DeafWatch, &["served", "in-order", "not-late"]);
}

#[test]
fn a_lease_that_ends_too_early_is_seen() {
    found_on_a_good_day(Flaw::FastClock, &["not-early"]);
}

#[test]
fn a_second_tear_down_is_seen() {
    found_on_a_good_day(Flaw::TwofoldTearDown, &["tear-down-once"]);
}

#[test]
fn sessions_that_overlap_are_seen() {
    found_on_a_good_day(Flaw::OverlappingSessions, &["one-session", "torn-down-first"]);
}

#[test]
fn a_device_that_is_given_out_before_it_is_torn_down_is_seen() {
    found_on_a_good_day(Flaw::EarlyAvailable, &["torn-down-first"]);
}

#[test]
fn a_lease_that_is_ended_by_somebody_else_is_seen() {
    found_on_a_good_day(Flaw::ForeignRelease, &["ended-by-right"]);
}

/// A lab in which some hold devices as spot and others need them.
#[track_caller]
fn found_among_spot(flaw: Flaw, kinds: &[&str]) {
    let faults = Faults { policies: true, spot: true, grace: 20, ..Faults::none() };
    found(flaw, kinds, (3, 9), &faults);
}

#[test]
fn a_notice_that_is_too_short_is_seen() {
    found_among_spot(Flaw::ShortGrace, &["notice"]);
}

#[test]
fn a_lease_that_is_not_queued_again_is_seen() {
    found_among_spot(Flaw::LostSuccessor, &["requeued"]);
}

#[test]
fn a_holder_in_full_right_that_has_to_make_way_is_seen() {
    found_among_spot(Flaw::SpotForAll, &["full-right"]);
}

#[test]
fn a_promised_time_that_is_given_away_is_seen() {
    let promises = Faults { scheduled: 0.5, turnaround: 60, ..Faults::none() };
    found(Flaw::NoTurnaround, &["reserved"], (4, 12), &promises);
}

#[test]
fn a_group_that_is_served_in_part_is_seen() {
    let groups = Faults { groups: 0.5, ..Faults::none() };
    found(Flaw::LooseGroups, &["together"], (4, 8), &groups);
}

#[test]
fn more_devices_than_a_quota_allows_are_seen() {
    let capped = Faults { quotas: true, ..Faults::none() };
    found(Flaw::LooseCaps, &["capped"], (4, 12), &capped);
}

#[test]
fn maintenance_that_is_cut_short_is_seen() {
    let windows = Faults { windows: 60, ..Faults::none() };
    found(Flaw::ShortWindows, &["maintained"], (4, 12), &windows);
}

#[test]
fn too_many_devices_in_quarantine_are_seen() {
    let failing = Faults { failed_setups: 0.5, quarantine: 20, ..Faults::none() };
    found(Flaw::WideQuarantine, &["quarantined"], (5, 12), &failing);
}

#[test]
fn a_lease_that_is_overtaken_for_too_long_is_seen() {
    let bounded = Faults { policies: true, longest_wait: 30, ..Faults::none() };
    found(Flaw::EndlessWait, &["in-order"], (2, 12), &bounded);
}
