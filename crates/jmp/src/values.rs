//! Values that options take.
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp, civil, tz::TimeZone};
use jumpstarter_config::Env;

/// A duration: seconds, `1h30m`, `01:30:00`, `2 days, 01:30:00` or ISO 8601.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("'{text}' is not a valid duration (e.g., '30m', '3h30m', '1d', '3600', 'PT1H')");
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let span: Span = text.parse().map_err(|_| invalid())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| invalid())?;
    Duration::try_from(signed).map_err(|_| format!("'{text}' is negative; a duration must not be"))
}

/// A duration of 5 s or more: less is no time to wait for anything in a lab.
pub(crate) fn at_least_5s(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration < Duration::from_secs(5) { Err("must be at least 5 seconds".to_owned()) } else { Ok(duration) }
}

/// A moment in ISO 8601, in the local zone unless it names one, or in seconds since 1970.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_in(text, &TimeZone::system())
}

fn moment_in(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    let invalid =
        || format!("'{text}' is not a moment in ISO 8601, such as 2024-01-01T12:00:00 or 2024-01-01T12:00:00Z");
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).map_err(|_| invalid());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let local: civil::DateTime = text.parse().map_err(|_| invalid())?;
    local.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|_| invalid())
}

/// `key=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not of the form key=value"))?;
    if key.is_empty() { Err(format!("'{text}' has no key")) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// The environment asks for TLS without checking the chain.
pub(crate) fn insecure_tls(env: &Env) -> bool {
    ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"].iter().any(|name| env.get(name) == Some("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_here_and_elsewhere() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, expected) in [
            ("2024-01-01T12:00:00Z", "2024-01-01T12:00:00Z"),
            ("2024-01-01T12:00:00+01:00", "2024-01-01T11:00:00Z"),
            ("2024-01-01T12:00:00", "2024-01-01T10:00:00Z"),
            ("2024-01-01 12:00", "2024-01-01T10:00:00Z"),
            ("2024-01-01", "2023-12-31T22:00:00Z"),
            ("1704110400", "2024-01-01T12:00:00Z"),
        ] {
            assert_eq!(moment_in(text, &zone).map(|moment| moment.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in ["", "tomorrow", "2024-13-01", "12:00"] {
            assert!(moment_in(text, &zone).is_err(), "{text}");
        }
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err() && pair("=b").is_err());
        assert!(at_least_5s("4").is_err() && at_least_5s("5").is_ok());
    }

    #[test]
    fn durations_in_all_their_spellings() {
        for (text, seconds) in [
            ("90", 90),
            ("30m", 1800),
            ("3h30m", 12600),
            ("1d3h40m", 99600),
            ("1.5h", 5400),
            ("1w", 604_800),
            ("01:30:00", 5400),
            ("2 days, 01:30:00", 178_200),
            ("PT1H", 3600),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "zz", "-5m", "1y", "5 apples"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
