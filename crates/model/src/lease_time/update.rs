//! Changing the times of a lease that exists.

use super::{LeaseTimes, TimeError, normalize, saturating_add, whole_second};
use crate::{GoDuration, LeaseSpec, Timestamp, limits::MAX_LEASE_DURATION};

/// The times that an update asks for; absent ones stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeChange {
    /// New begin.
    pub begin: Option<Timestamp>,
    /// New end.
    pub end: Option<Timestamp>,
    /// New duration.
    pub duration: Option<GoDuration>,
}

impl TimeChange {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How far the lease has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No exporter yet.
    Waiting {
        /// The present.
        now: Timestamp,
    },
    /// An exporter is assigned.
    Running {
        /// The actual begin.
        begin: Timestamp,
    },
}

/// The times of a lease after a change, or nothing when the change asks for nothing.
///
/// The change is merged with what is stored first, so that each of begin, end and duration can be changed alone:
///
/// - a new duration counts from the begin, and moves the end if one is stored;
/// - a new begin moves the whole lease, duration and all; it is refused once an exporter is assigned, unless it is the
///   begin that is stored;
/// - a new end keeps the begin and changes the duration. While a lease without requested begin waits, its duration
///   becomes the time left until that end, the most that it could hold a device.
pub fn update(stored: &LeaseSpec, change: TimeChange, progress: Progress) -> Result<Option<LeaseTimes>, TimeError> {
    let stored_begin = stored.begin_time.as_ref().map(|time| whole_second(time.0));
    let stored_end = stored.end_time.as_ref().map(|time| whole_second(time.0));
    let change = without_stored_begin(change, stored_begin, progress)?;
    let begin = change.begin.map(whole_second).or(stored_begin);

    match (change.begin, change.end, change.duration) {
        (None, None, None) => Ok(None),
        // Both ends are said: what is stored no longer matters.
        (Some(_), Some(_), _) => normalize(change.begin, change.end, change.duration).map(Some),
        (_, None, Some(duration)) => with_duration(begin, stored_end, duration, progress).map(Some),
        (None, Some(end), duration) => with_end(begin, end, duration, progress).map(Some),
        (Some(new_begin), None, None) => match (stored_end, stored.duration, stored_begin) {
            (Some(end), None, Some(old)) => shifted(new_begin, GoDuration::between(old, end), true).map(Some),
            (Some(_), Some(duration), Some(_)) => shifted(new_begin, duration, true).map(Some),
            // The end was all that counted, and stays.
            (Some(end), _, None) => normalize(Some(new_begin), Some(end), None).map(Some),
            (None, Some(duration), _) => shifted(new_begin, duration, false).map(Some),
            (None, None, _) => Err(TimeError::DurationRequired),
        },
    }
}

/// Drops a begin that changes nothing, and refuses one that comes too late.
fn without_stored_begin(
    change: TimeChange,
    stored_begin: Option<Timestamp>,
    progress: Progress,
) -> Result<TimeChange, TimeError> {
    match (change.begin, progress) {
        (Some(begin), Progress::Running { .. }) if Some(whole_second(begin)) != stored_begin => {
            Err(TimeError::BeginFixed)
        }
        (Some(_), Progress::Running { .. }) => Ok(TimeChange { begin: None, ..change }),
        (_, Progress::Running { .. } | Progress::Waiting { .. }) => Ok(change),
    }
}

/// A new duration: the begin stays, a stored end follows.
fn with_duration(
    begin: Option<Timestamp>,
    stored_end: Option<Timestamp>,
    duration: GoDuration,
    progress: Progress,
) -> Result<LeaseTimes, TimeError> {
    super::check_duration(duration)?;
    match (begin, stored_end, progress) {
        (Some(begin), Some(_), _) => shifted(begin, duration, true),
        // The end alone was stored. It must move, and a running lease counts from its actual begin.
        (None, Some(_), Progress::Running { begin }) => {
            let end = whole_second(saturating_add(whole_second(begin), duration));
            Ok(LeaseTimes { begin: None, end: Some(end), duration })
        }
        (begin, _, _) => normalize(begin, None, Some(duration)),
    }
}

/// A new end: the begin stays, and the duration follows unless it is given as well.
fn with_end(
    begin: Option<Timestamp>,
    end: Timestamp,
    duration: Option<GoDuration>,
    progress: Progress,
) -> Result<LeaseTimes, TimeError> {
    let end = whole_second(end);
    match (begin, progress) {
        (Some(begin), Progress::Running { .. }) => normalize(Some(begin), Some(end), duration),
        // A lease that may still begin anywhere: the end and the length together say where.
        (_, Progress::Waiting { .. }) if duration.is_some() => normalize(None, Some(end), duration),
        (Some(begin), Progress::Waiting { .. }) => normalize(Some(begin), Some(end), None),
        (None, Progress::Waiting { now: from } | Progress::Running { begin: from }) => {
            let times = normalize(Some(from), Some(end), duration)?;
            Ok(LeaseTimes { begin: None, ..times })
        }
    }
}

/// A lease that begins at `begin` and keeps its length.
fn shifted(begin: Timestamp, duration: GoDuration, with_end: bool) -> Result<LeaseTimes, TimeError> {
    let begin = whole_second(begin);
    super::check_duration(duration)?;
    debug_assert!(duration <= MAX_LEASE_DURATION, "check_duration bounds it");
    if !with_end {
        return normalize(Some(begin), None, Some(duration));
    }
    let end = begin.checked_add(duration.to_signed()).map_err(|_| TimeError::OutOfRange)?;
    // Up, so that a part of a second never makes the lease empty.
    let end =
        if end.subsec_nanosecond() == 0 { end } else { saturating_add(whole_second(end), GoDuration::from_secs(1)) };
    normalize(Some(begin), Some(end), None)
}
