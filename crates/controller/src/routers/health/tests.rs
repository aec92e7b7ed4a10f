use super::*;

use self::Then::{Answers, Drains, Fails, Refuses, Reports};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn report(open: u64, total_bytes: u64) -> RouterReport {
    RouterReport { draining: false, open, waiting: 0, max_streams: 10, max_waiting: 5, total_bytes }
}

/// Something that happens to a router.
#[derive(Clone, Copy)]
enum Then {
    Reports,
    Drains,
    Answers,
    Refuses,
    Fails,
}

#[track_caller]
fn check(happens: &[Then], expected: Health, standing: Standing) {
    let now = Instant::now();
    let mut router = Observed::new();
    for then in happens {
        match then {
            Then::Reports => router.reported(report(0, 0), now),
            Then::Drains => router.reported(RouterReport { draining: true, ..report(0, 0) }, now),
            Then::Answers => router.answered(true, now),
            Then::Refuses => router.answered(false, now),
            Then::Fails => router.failed(),
        }
    }
    assert_eq!((router.health(), router.standing(now).0), (expected, standing));
}

#[test]
fn each_event_leads_to_one_state() {
    check(&[], Health::Untested, Standing::Untested);
    check(&[Fails], Health::Unreached, Standing::Unreached);
    check(&[Fails, Fails], Health::Unreached, Standing::Unreached);
    check(&[Fails, Reports], Health::Serving, Standing::Ready);
    check(&[Reports, Fails], Health::Suspect, Standing::Suspect);
    check(&[Reports, Fails, Fails], Health::Gone, Standing::Gone);
    check(&[Reports, Fails, Reports], Health::Serving, Standing::Ready);
    check(&[Reports, Fails, Fails, Answers], Health::Serving, Standing::Ready);
    check(&[Reports, Drains], Health::Draining, Standing::Draining);
    check(&[Reports, Drains, Fails], Health::Gone, Standing::Gone);
    check(&[Drains, Reports], Health::Serving, Standing::Ready);
    check(&[Answers, Refuses], Health::Draining, Standing::Draining);
}

#[test]
fn dials_count_until_a_report_has_them() {
    let start = Instant::now();
    let mut router = Observed::new();
    router.reported(report(2, 0), start);
    for _ in 0..3 {
        router.dialled(start + seconds(1));
    }
    assert_eq!(router.standing(start + seconds(1)).1.streams, 5);
    // As young as this, the report may have been written before the peers arrived.
    router.reported(report(2, 0), start + seconds(1));
    assert_eq!(router.standing(start + seconds(1)).1.streams, 5);
    router.reported(report(5, 0), start + seconds(3));
    assert_eq!(router.standing(start + seconds(3)).1.streams, 5);
    assert_eq!(router.dials_total(), 3);
}

#[test]
fn dials_of_a_router_without_reports_count_for_a_minute() {
    let start = Instant::now();
    let mut router = Observed::new();
    router.answered(true, start);
    router.dialled(start);
    router.dialled(start + seconds(30));
    assert_eq!(router.standing(start + seconds(40)).1.streams, 2);
    assert_eq!(router.standing(start + seconds(61)).1.streams, 1);
    assert_eq!(router.standing(start + seconds(91)).1.streams, 0);
}

#[test]
fn a_full_router_is_one_with_as_many_streams_as_it_takes() {
    let now = Instant::now();
    let mut router = Observed::new();
    router.reported(report(9, 0), now);
    assert_eq!(router.standing(now).0, Standing::Ready);
    router.dialled(now);
    assert_eq!(router.standing(now).0, Standing::Full, "the one under way takes the last place");
    router.reported(RouterReport { waiting: 5, ..report(0, 0) }, now + seconds(5));
    assert_eq!(router.standing(now + seconds(5)).0, Standing::Full);
}

#[test]
fn traffic_is_what_was_moved_between_reports() {
    let start = Instant::now();
    let mut router = Observed::new();
    router.reported(report(1, 1_000), start);
    assert_eq!(router.standing(start).1.bytes_per_second, 0);
    router.reported(report(1, 9_000), start + seconds(2));
    assert_eq!(router.standing(start + seconds(2)).1.bytes_per_second, 2_000);
    router.reported(report(1, 17_000), start + seconds(4));
    assert_eq!(router.standing(start + seconds(4)).1.bytes_per_second, 3_000);
    // Another process began to count anew.
    router.reported(report(1, 5), start + seconds(6));
    assert_eq!(router.standing(start + seconds(6)).1.bytes_per_second, 0);
}
