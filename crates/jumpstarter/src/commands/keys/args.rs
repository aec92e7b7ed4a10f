//! Times as people write them.

use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil::Date, tz::TimeZone};

/// Longest overlap: ten years.
const LONGEST: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// A length of time, days and weeks included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlap(pub(super) SignedDuration);

impl FromStr for Overlap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span: Span = text.parse().map_err(|_| "expected a time such as 30d, 12h or 0s".to_owned())?;
        let duration = span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map_err(|_| "give days or weeks: months and years differ in length".to_owned())?;
        if duration < SignedDuration::ZERO || duration > LONGEST {
            return Err("expected 0s to 3650d".to_owned());
        }
        Ok(Self(duration))
    }
}

/// A moment: a date means its beginning in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Until(pub(super) Timestamp);

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self(at));
        }
        // A date with anything behind it would be taken for the date alone.
        let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
        let date = date.ok_or("expected a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z")?;
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        Ok(Self(midnight.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_have_days() {
        let hours = SignedDuration::from_hours;
        let rows = [
            ("30d", Some(hours(720))),
            ("2w", Some(hours(336))),
            ("12h", Some(hours(12))),
            ("1d 12h", Some(hours(36))),
            ("0s", Some(hours(0))),
            ("3650d", Some(LONGEST)),
            ("3651d", None),
            ("-1d", None),
            ("1 month", None),
            ("30", None),
            ("", None),
            ("soon", None),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Overlap>().ok().map(|overlap| overlap.0), expected, "{text:?}");
        }
    }

    #[test]
    fn moments_are_dates_or_times() {
        let rows = [
            ("2027-01-31", Some("2027-01-31T00:00:00Z")),
            ("2027-01-31T12:30:00Z", Some("2027-01-31T12:30:00Z")),
            ("2027-01-31T12:30:00+02:00", Some("2027-01-31T10:30:00Z")),
            ("2027-02-30", None),
            ("2027-01-31T12:30:00", None),
            ("31.1.2027", None),
            ("tomorrow", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let found = text.parse::<Until>().ok().map(|until| until.0.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }
}
