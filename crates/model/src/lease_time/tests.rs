//! The tables of kubernetes.md §4.5, updates on every stored combination, and what always holds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn at_nanos(nanos: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanos).unwrap()
}

fn secs(seconds: i64) -> GoDuration {
    GoDuration::from_secs(seconds)
}

fn spec(begin: Option<i64>, end: Option<i64>, duration: Option<i64>) -> LeaseSpec {
    LeaseSpec {
        begin_time: begin.map(|second| Time(at(second))),
        end_time: end.map(|second| Time(at(second))),
        duration: duration.map(secs),
        ..LeaseSpec::default()
    }
}

/// Begin, end and duration in seconds.
type Triple = (Option<i64>, Option<i64>, i64);

fn triple(times: &LeaseTimes) -> Triple {
    (times.begin.map(Timestamp::as_second), times.end.map(Timestamp::as_second), times.duration.as_secs())
}

#[track_caller]
fn normal(given: (Option<i64>, Option<i64>, Option<i64>), expected: Result<Triple, &str>) {
    let times = normalize(given.0.map(at), given.1.map(at), given.2.map(secs));
    let found = times.map(|times| triple(&times)).map_err(|error| error.to_string());
    assert_eq!(found, expected.map_err(str::to_owned), "{given:?}");
}

#[test]
fn every_combination_of_a_new_lease() {
    let required = "duration is required (or both begin_time and end_time)";
    normal((None, None, Some(60)), Ok((None, None, 60)));
    normal((None, Some(500), None), Err(required));
    normal((Some(100), None, None), Err(required));
    normal((None, None, None), Err(required));
    normal((Some(100), None, Some(60)), Ok((Some(100), None, 60)));
    normal((Some(100), Some(500), None), Ok((Some(100), Some(500), 400)));
    normal((None, Some(500), Some(60)), Ok((Some(440), Some(500), 60)));
    normal((Some(100), Some(500), Some(400)), Ok((Some(100), Some(500), 400)));
    normal((Some(100), Some(500), Some(0)), Ok((Some(100), Some(500), 400)));
}

#[test]
fn contradictions_and_absurd_values() {
    normal((Some(100), Some(500), Some(399)), Err("duration conflicts with begin_time and end_time"));
    normal((Some(100), Some(500), Some(-400)), Err("duration must be positive, got -6m40s"));
    normal((Some(500), Some(100), None), Err("duration must be positive, got -6m40s"));
    normal((Some(500), Some(500), None), Err("duration must be positive, got 0s"));
    normal((None, None, Some(0)), Err("duration must be positive, got 0s"));
    normal((None, None, Some(-1)), Err("duration must be positive, got -1s"));
    normal((None, Some(500), Some(0)), Err("duration must be positive, got 0s"));
    normal((Some(100), None, Some(-1)), Err("duration must be positive, got -1s"));
    normal((None, None, Some(10 * 365 * 24 * HOUR)), Ok((None, None, 10 * 365 * 24 * HOUR)));
    normal((None, None, Some(10 * 365 * 24 * HOUR + 1)), Err("duration must be at most 87600h0m0s, got 87600h0m1s"));
    normal((Some(0), Some(20 * 365 * 24 * HOUR), None), Err("duration must be at most 87600h0m0s, got 175200h0m0s"));
    let extremes = [Timestamp::MIN, Timestamp::MAX];
    for instant in extremes {
        for duration in [GoDuration::MIN, GoDuration::MAX, secs(60)] {
            // Any answer will do, as long as it is one.
            let _ = normalize(Some(instant), None, Some(duration));
            let _ = normalize(None, Some(instant), Some(duration));
            let _ = normalize(Some(instant), Some(at(0)), Some(duration));
        }
    }
    assert_eq!(normalize(None, Some(Timestamp::MIN), Some(secs(60))), Err(TimeError::OutOfRange));
    assert_eq!(normalize(Some(Timestamp::MAX), None, Some(secs(60))), Err(TimeError::OutOfRange));
}

#[test]
fn parts_of_seconds_are_cut_before_anything_is_computed() {
    let second = 1_000_000_000_i128;
    let half = second / 2;
    let times = normalize(Some(at_nanos(10 * second + half)), Some(at_nanos(20 * second + half / 2)), None).unwrap();
    assert_eq!(triple(&times), (Some(10), Some(20), 10));
    // The duration that goes with the instants as sent agrees too.
    let sent = GoDuration::from_nanos(9_750_000_000);
    let times = normalize(Some(at_nanos(10 * second + half)), Some(at_nanos(20 * second + half / 2)), Some(sent));
    assert_eq!(times.map(|times| triple(&times)), Ok((Some(10), Some(20), 10)));
    // A begin computed from a broken duration is cut too, and the duration follows.
    let times = normalize(None, Some(at(20)), Some(GoDuration::from_nanos(500_000_000))).unwrap();
    assert_eq!(triple(&times), (Some(19), Some(20), 1));
    assert_eq!(whole_second(at_nanos(-half)), at(-1));
    assert_eq!(whole_second(at_nanos(half)), at(0));
    // A duration alone keeps its parts.
    let short = GoDuration::from_nanos(1_500_000_000);
    assert_eq!(normalize(None, None, Some(short)).unwrap().duration, short);
}

#[test]
fn stored_times_are_the_ones_decided() {
    let mut lease = spec(Some(1), None, None);
    normalize(Some(at(100)), Some(at(500)), None).unwrap().store(&mut lease);
    assert_eq!(lease, spec(Some(100), Some(500), Some(400)));
    normalize(None, None, Some(secs(60))).unwrap().store(&mut lease);
    assert_eq!(lease, spec(None, None, Some(60)));
}

#[test]
fn planned_ends() {
    for (begin, end, duration, expected) in [
        (None, None, Some(60), 1060),
        (None, Some(500), None, 500),
        (Some(900), None, None, 900),
        (None, None, None, 1000),
        (Some(900), None, Some(60), 960),
        (Some(900), Some(5000), None, 5000),
        (None, Some(5000), Some(60), 5000),
        (Some(900), Some(5000), Some(60), 5000),
        (None, None, Some(-60), 940),
    ] {
        let lease = spec(begin, end, duration);
        assert_eq!(planned_end(&lease, at(1000)), at(expected), "{begin:?} {end:?} {duration:?}");
    }
    let absurd = LeaseSpec { duration: Some(GoDuration::MAX), ..LeaseSpec::default() };
    assert_eq!(planned_end(&absurd, Timestamp::MAX), whole_second(Timestamp::MAX));
    let absurd = LeaseSpec { duration: Some(GoDuration::MIN), ..LeaseSpec::default() };
    assert_eq!(planned_end(&absurd, Timestamp::MIN), Timestamp::MIN);
}

#[test]
fn lengths() {
    for (lease, requested, planned) in [
        (spec(None, None, Some(60)), Some(60), 60),
        (spec(Some(2000), Some(2400), None), Some(400), 400),
        (spec(Some(2000), None, Some(60)), Some(60), 60),
        (spec(None, Some(1400), None), None, 400),
        // A short duration does not hide a late end.
        (spec(None, Some(9000), Some(60)), Some(60), 8000),
        (spec(Some(2000), None, None), None, 0),
        (spec(None, None, None), None, 0),
        (spec(None, Some(10), None), None, 0),
    ] {
        assert_eq!(requested_duration(&lease), requested.map(secs), "{lease:?}");
        assert_eq!(planned_duration(&lease, at(1000)), secs(planned), "{lease:?}");
    }
}

#[test]
fn elapsed() {
    let status = |begin: Option<i64>, end: Option<i64>| LeaseStatus {
        begin_time: begin.map(|second| Time(at(second))),
        end_time: end.map(|second| Time(at(second))),
        ..LeaseStatus::default()
    };
    assert_eq!(effective_duration(&status(None, None), at(100)), GoDuration::ZERO);
    assert_eq!(effective_duration(&status(None, Some(50)), at(100)), GoDuration::ZERO);
    assert_eq!(effective_duration(&status(Some(40), None), at(100)), secs(60));
    assert_eq!(effective_duration(&status(Some(40), Some(50)), at(100)), secs(10));
    assert_eq!(effective_duration(&status(Some(200), None), at(100)), GoDuration::ZERO);
}

fn change(begin: Option<i64>, end: Option<i64>, duration: Option<i64>) -> TimeChange {
    TimeChange { begin: begin.map(at), end: end.map(at), duration: duration.map(secs) }
}

#[track_caller]
fn updates(stored: &LeaseSpec, change: TimeChange, progress: Progress, expected: Result<Triple, TimeError>) {
    let found = update(stored, change, progress).map(|times| triple(&times.expect("a change")));
    assert_eq!(found, expected, "{change:?} {progress:?}");
}

const WAITING: Progress = Progress::Waiting { now: Timestamp::UNIX_EPOCH };

fn running(second: i64) -> Progress {
    Progress::Running { begin: at(second) }
}

#[test]
fn a_new_duration_counts_from_the_begin() {
    let only = |duration| change(None, None, Some(duration));
    for (stored, progress, expected) in [
        (spec(None, None, Some(60)), WAITING, (None, None, 90)),
        (spec(None, None, Some(60)), running(7), (None, None, 90)),
        (spec(Some(100), None, Some(60)), WAITING, (Some(100), None, 90)),
        (spec(Some(100), None, Some(60)), running(105), (Some(100), None, 90)),
        (spec(Some(100), Some(160), Some(60)), WAITING, (Some(100), Some(190), 90)),
        (spec(Some(100), Some(160), Some(60)), running(105), (Some(100), Some(190), 90)),
        (spec(Some(100), Some(160), None), running(105), (Some(100), Some(190), 90)),
        (spec(None, Some(160), None), WAITING, (None, None, 90)),
        (spec(None, Some(160), Some(60)), running(105), (None, Some(195), 90)),
        (spec(None, None, None), WAITING, (None, None, 90)),
    ] {
        updates(&stored, only(90), progress, Ok(expected));
        updates(&stored, only(0), progress, Err(TimeError::NotPositive(GoDuration::ZERO)));
        updates(&stored, only(-5), progress, Err(TimeError::NotPositive(secs(-5))));
        let absurd = 20 * 365 * 24 * HOUR;
        updates(&stored, only(absurd), progress, Err(TimeError::TooLong(secs(absurd))));
    }
}

#[test]
fn a_new_begin_moves_the_whole_lease() {
    let only = change(Some(300), None, None);
    for (stored, expected) in [
        (spec(None, None, Some(60)), Ok((Some(300), None, 60))),
        (spec(Some(100), None, Some(60)), Ok((Some(300), None, 60))),
        (spec(Some(100), Some(160), Some(60)), Ok((Some(300), Some(360), 60))),
        (spec(Some(100), Some(160), None), Ok((Some(300), Some(360), 60))),
        (spec(None, Some(400), None), Ok((Some(300), Some(400), 100))),
        (spec(None, Some(400), Some(60)), Ok((Some(300), Some(400), 100))),
        (spec(None, Some(200), None), Err(TimeError::NotPositive(secs(-100)))),
        (spec(Some(100), None, None), Err(TimeError::DurationRequired)),
        (spec(None, None, None), Err(TimeError::DurationRequired)),
    ] {
        updates(&stored, only, WAITING, expected);
        updates(&stored, only, running(110), Err(TimeError::BeginFixed));
    }
}

#[test]
fn the_stored_begin_may_be_repeated_on_a_running_lease() {
    let stored = spec(Some(100), None, Some(60));
    assert_eq!(update(&stored, change(Some(100), None, None), running(105)), Ok(None));
    updates(&stored, change(Some(100), None, Some(90)), running(105), Ok((Some(100), None, 90)));
    updates(&stored, change(Some(100), Some(200), None), running(105), Ok((Some(100), Some(200), 100)));
}

#[test]
fn a_new_end_keeps_the_begin() {
    let only = change(None, Some(500), None);
    for (stored, progress, expected) in [
        (spec(None, None, Some(60)), running(100), (None, Some(500), 400)),
        (spec(None, None, Some(60)), WAITING, (None, Some(500), 500)),
        (spec(Some(200), None, Some(60)), WAITING, (Some(200), Some(500), 300)),
        (spec(Some(200), None, Some(60)), running(210), (Some(200), Some(500), 300)),
        (spec(Some(200), Some(260), Some(60)), WAITING, (Some(200), Some(500), 300)),
        (spec(Some(200), Some(260), Some(60)), running(210), (Some(200), Some(500), 300)),
        (spec(None, Some(160), None), running(100), (None, Some(500), 400)),
        (spec(None, None, None), running(100), (None, Some(500), 400)),
    ] {
        updates(&stored, only, progress, Ok(expected));
    }
    let past = change(None, Some(100), None);
    updates(&spec(None, None, Some(60)), past, running(200), Err(TimeError::NotPositive(secs(-100))));
}

#[test]
fn two_or_three_at_once() {
    let stored = spec(Some(100), Some(160), Some(60));
    updates(&stored, change(Some(200), Some(300), None), WAITING, Ok((Some(200), Some(300), 100)));
    updates(&stored, change(Some(200), None, Some(90)), WAITING, Ok((Some(200), Some(290), 90)));
    updates(&stored, change(None, Some(500), Some(90)), WAITING, Ok((Some(410), Some(500), 90)));
    updates(&stored, change(None, Some(500), Some(90)), running(105), Err(TimeError::Conflict));
    updates(&stored, change(None, Some(190), Some(90)), running(105), Ok((Some(100), Some(190), 90)));
    updates(&stored, change(Some(1), Some(2), Some(5)), WAITING, Err(TimeError::Conflict));
    updates(&spec(None, None, Some(60)), change(None, Some(500), Some(90)), WAITING, Ok((Some(410), Some(500), 90)));
    assert_eq!(update(&stored, TimeChange::default(), WAITING), Ok(None));
    assert!(TimeChange::default().is_empty() && !change(None, None, Some(1)).is_empty());
}

fn instant() -> impl Strategy<Value = Timestamp> {
    let near = (0..4_000_000_000_000_000_000_i128).prop_map(at_nanos);
    prop_oneof![8 => near, 1 => Just(Timestamp::MIN), 1 => Just(Timestamp::MAX)]
}

fn duration() -> impl Strategy<Value = GoDuration> {
    prop_oneof![
        4 => (-10..100_000_i64).prop_map(secs),
        2 => (0..100_000_000_000_000_i64).prop_map(GoDuration::from_nanos),
        1 => any::<i64>().prop_map(GoDuration::from_nanos),
    ]
}

fn consistent(times: &LeaseTimes) -> bool {
    let whole = |instant: Option<Timestamp>| instant.is_none_or(|instant| instant == whole_second(instant));
    let adds_up = match (times.begin, times.end) {
        (Some(begin), Some(end)) => begin.checked_add(times.duration.to_signed()).ok() == Some(end),
        _ => true,
    };
    whole(times.begin) && whole(times.end) && adds_up && check_duration(times.duration).is_ok()
}

proptest! {
    #[test]
    fn a_new_lease_is_consistent(
        begin in prop::option::of(instant()),
        end in prop::option::of(instant()),
        duration in prop::option::of(duration()),
    ) {
        if let Ok(times) = normalize(begin, end, duration) {
            prop_assert!(consistent(&times), "{:?}", times);
            prop_assert_eq!(normalize(times.begin, times.end, Some(times.duration)), Ok(times), "stable");
        }
    }

    #[test]
    fn any_update_of_anything_is_consistent(
        stored in (prop::option::of(instant()), prop::option::of(instant()), prop::option::of(duration())),
        asked in (prop::option::of(instant()), prop::option::of(instant()), prop::option::of(duration())),
        running: bool,
        now in instant(),
    ) {
        let stored = LeaseSpec {
            begin_time: stored.0.map(Time),
            end_time: stored.1.map(Time),
            duration: stored.2,
            ..LeaseSpec::default()
        };
        let change = TimeChange { begin: asked.0, end: asked.1, duration: asked.2 };
        let progress = if running { Progress::Running { begin: now } } else { Progress::Waiting { now } };
        match update(&stored, change, progress) {
            Ok(Some(times)) => {
                prop_assert!(consistent(&times), "{:?}", times);
                if running {
                    prop_assert_eq!(times.begin, stored.begin_time.as_ref().map(|time| whole_second(time.0)));
                }
            }
            Ok(None) => prop_assert!(change.end.is_none() && change.duration.is_none()),
            Err(_) => {}
        }
        let _ = planned_duration(&stored, now);
        let _ = requested_duration(&stored);
    }

    #[test]
    fn a_normalized_lease_takes_any_single_good_change(
        begin in prop::option::of(0..1_000_000_i64),
        with_end: bool,
        length in 1..1_000_000_i64,
        new_length in 1..1_000_000_i64,
        new_begin in 0..1_000_000_i64,
    ) {
        let end = begin.filter(|_| with_end).map(|begin| begin + length);
        let stored = spec(begin, end, Some(length));
        let longer = update(&stored, change(None, None, Some(new_length)), WAITING).unwrap().unwrap();
        prop_assert_eq!((longer.begin, longer.duration), (begin.map(at), secs(new_length)));
        let moved = update(&stored, change(Some(new_begin), None, None), WAITING).unwrap().unwrap();
        prop_assert_eq!((moved.begin, moved.duration), (Some(at(new_begin)), secs(length)));
        let new_end = begin.unwrap_or(0) + new_length;
        let ended = update(&stored, change(None, Some(new_end), None), WAITING).unwrap().unwrap();
        prop_assert_eq!((ended.end, ended.duration), (Some(at(new_end)), secs(new_length)));
    }
}
