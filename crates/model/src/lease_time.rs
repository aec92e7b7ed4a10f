//! Begin, end and duration of leases (kubernetes.md §4.5; protocol.md §10.3 row 12).
//!
//! Instants are cut to whole seconds before anything is computed from them, since that is how they are stored;
//! otherwise a triple that was consistent when checked would not be when read back. All arithmetic is held within the
//! range of [`Timestamp`], so absurd values give an error or the last instant, never a panic.

#[cfg(test)]
mod tests;
mod update;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use update::{Progress, TimeChange, update};

use crate::{GoDuration, LeaseSpec, LeaseStatus, Timestamp, limits::MAX_LEASE_DURATION};

/// When a lease is to run; consistent, with whole-second instants and a positive duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Requested begin; without one the lease begins as soon as it is assigned.
    pub begin: Option<Timestamp>,
    /// Requested end; without one the lease ends `duration` after its begin.
    pub end: Option<Timestamp>,
    /// Length; equals `end - begin` when both are there.
    pub duration: GoDuration,
}

/// Why times were refused. The text fits `INVALID_ARGUMENT` (`FAILED_PRECONDITION` for [`TimeError::BeginFixed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// All three are given and do not fit together.
    #[error("duration conflicts with begin_time and end_time")]
    Conflict,
    /// Nothing says how long the lease lasts.
    #[error("duration is required (or both begin_time and end_time)")]
    DurationRequired,
    /// Zero or less.
    #[error("duration must be positive, got {0}")]
    NotPositive(GoDuration),
    /// Longer than [`MAX_LEASE_DURATION`].
    #[error("duration must be at most {MAX_LEASE_DURATION}, got {0}")]
    TooLong(GoDuration),
    /// An instant outside the years that timestamps can hold.
    #[error("begin_time or end_time is out of range")]
    OutOfRange,
    /// The begin cannot move once an exporter is assigned.
    #[error("begin_time cannot change once an exporter is assigned to the lease")]
    BeginFixed,
}

/// Makes the times of a new lease consistent.
///
/// Begin and end give the duration; end and duration give the begin; a duration of zero counts as absent when both
/// begin and end are there.
pub fn normalize(
    begin: Option<Timestamp>,
    end: Option<Timestamp>,
    duration: Option<GoDuration>,
) -> Result<LeaseTimes, TimeError> {
    let times = match (begin, end, duration) {
        (Some(begin), Some(end), duration) => {
            let span = GoDuration::between(whole_second(begin), whole_second(end));
            match duration {
                Some(given) if given < GoDuration::ZERO => return Err(TimeError::NotPositive(given)),
                Some(given) if given > GoDuration::ZERO && !agrees(given, begin, end) => {
                    return Err(TimeError::Conflict);
                }
                _ => {}
            }
            LeaseTimes { begin: Some(whole_second(begin)), end: Some(whole_second(end)), duration: span }
        }
        (None, Some(end), Some(duration)) => {
            check_duration(duration)?;
            let end = whole_second(end);
            let begin = whole_second(end.checked_sub(duration.to_signed()).map_err(|_| TimeError::OutOfRange)?);
            LeaseTimes { begin: Some(begin), end: Some(end), duration: GoDuration::between(begin, end) }
        }
        (begin, None, Some(duration)) => LeaseTimes { begin: begin.map(whole_second), end: None, duration },
        (_, _, None) => return Err(TimeError::DurationRequired),
    };
    check_duration(times.duration)?;
    if let Some(begin) = times.begin {
        begin.checked_add(times.duration.to_signed()).map_err(|_| TimeError::OutOfRange)?;
    }
    Ok(times)
}

/// Whether a duration is the distance of two instants, either as sent or as stored.
fn agrees(duration: GoDuration, begin: Timestamp, end: Timestamp) -> bool {
    duration == GoDuration::between(begin, end)
        || duration == GoDuration::between(whole_second(begin), whole_second(end))
}

/// Checks that a lease may last this long.
pub fn check_duration(duration: GoDuration) -> Result<(), TimeError> {
    if !duration.is_positive() {
        Err(TimeError::NotPositive(duration))
    } else if duration > MAX_LEASE_DURATION {
        Err(TimeError::TooLong(duration))
    } else {
        Ok(())
    }
}

impl LeaseTimes {
    /// When the lease ends whenever it begins to hold an exporter; `None` where its end follows from that.
    pub fn fixed_end(&self) -> Option<Timestamp> {
        self.end.or_else(|| Some(whole_second(saturating_add(self.begin?, self.duration))))
    }

    /// Writes the times into a spec.
    pub fn store(&self, spec: &mut LeaseSpec) {
        spec.begin_time = self.begin.map(Time);
        spec.end_time = self.end.map(Time);
        spec.duration = Some(self.duration);
    }
}

/// The end of a lease that began at `actual_begin`, from whatever its manifest says: the requested end, else requested
/// begin and duration, else actual begin and duration. Without any of them the lease ends as it begins.
pub fn planned_end(spec: &LeaseSpec, actual_begin: Timestamp) -> Timestamp {
    if let Some(end) = &spec.end_time {
        return whole_second(end.0);
    }
    let begin = spec.begin_time.as_ref().map_or(actual_begin, |begin| begin.0);
    whole_second(saturating_add(begin, spec.duration.unwrap_or(GoDuration::ZERO)))
}

/// What a manifest asks for: its duration, else its end less its begin. An end alone says nothing before the begin is
/// known; see [`planned_duration`].
pub fn requested_duration(spec: &LeaseSpec) -> Option<GoDuration> {
    spec.duration.or_else(|| {
        let (begin, end) = (spec.begin_time.as_ref()?, spec.end_time.as_ref()?);
        Some(GoDuration::between(begin.0, end.0))
    })
}

/// How long a lease may hold its exporter if it begins at `begin`: what a limit on durations has to look at, since a
/// manifest may carry a short duration beside a late end, which counts. Measured from the requested begin, if there is
/// one, so that a late start does not make a lease shorter than it was asked for. Never negative.
pub fn planned_duration(spec: &LeaseSpec, begin: Timestamp) -> GoDuration {
    let planned = match &spec.end_time {
        Some(end) => {
            let from = spec.begin_time.as_ref().map_or(begin, |requested| requested.0);
            GoDuration::between(whole_second(from), whole_second(end.0))
        }
        None => spec.duration.unwrap_or(GoDuration::ZERO),
    };
    planned.max(GoDuration::ZERO)
}

/// How long a lease has run: from its actual begin to its end, or to `now` while it runs. Zero before the begin, never
/// negative.
pub fn effective_duration(status: &LeaseStatus, now: Timestamp) -> GoDuration {
    let Some(begin) = &status.begin_time else {
        return GoDuration::ZERO;
    };
    let until = status.end_time.as_ref().map_or(now, |end| end.0);
    GoDuration::between(begin.0, until).max(GoDuration::ZERO)
}

/// The instant without its fraction of a second, cut towards the past.
pub fn whole_second(instant: Timestamp) -> Timestamp {
    let second = instant.as_second() - i64::from(instant.subsec_nanosecond() < 0);
    Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
}

/// The sum, held within the range of timestamps.
pub fn saturating_add(instant: Timestamp, duration: GoDuration) -> Timestamp {
    instant.checked_add(duration.to_signed()).unwrap_or(if duration.is_positive() {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    })
}
