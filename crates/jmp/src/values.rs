//! Values that options take.
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
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

/// The environment asks for TLS without checking the chain.
pub(crate) fn insecure_tls(env: &Env) -> bool {
    ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"].iter().any(|name| env.get(name) == Some("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
