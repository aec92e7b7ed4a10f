//! Go duration strings (kubernetes.md §0).

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::quote::shorten;

const NANOSECOND: u64 = 1;
const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Magnitude of the most negative span, one more than that of the most positive.
const MIN_MAGNITUDE: u64 = 1 << 63;

/// A signed span of nanoseconds, written as Go writes it: `43800h0m0s`, `1.5s`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// Why a text is no Go duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// The text does not follow the grammar.
    #[error("`{0}` is not a duration such as 30m, 1h30m or 90s")]
    Malformed(String),
    /// A number without a unit.
    #[error("`{0}` has a number without a unit: write h, m, s, ms, us or ns after each number")]
    MissingUnit(String),
    /// A unit that Go does not know, such as `d`.
    #[error("`{text}` has the unknown unit `{unit}`: use h, m, s, ms, us or ns")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit found.
        unit: String,
    },
    /// The span does not fit into 64 bits of nanoseconds (about 292 years).
    #[error("`{0}` is longer than the longest duration, 2562047h47m16.854775807s")]
    TooLong(String),
}

/// A protobuf duration that is malformed or does not fit into 64 bits of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duration of {seconds} s and {nanos} ns is out of range")]
pub struct DurationRangeError {
    seconds: i64,
    nanos: i32,
}

impl GoDuration {
    /// The empty span.
    pub const ZERO: Self = Self(0);
    /// The longest span, about 292 years.
    pub const MAX: Self = Self(i64::MAX);
    /// The most negative span.
    pub const MIN: Self = Self(i64::MIN);

    /// A span of `nanos` nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A span of `secs` seconds, saturating at about 292 years.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// A span from the two fields of a protobuf `Duration`.
    pub fn from_seconds_nanos(seconds: i64, nanos: i32) -> Result<Self, DurationRangeError> {
        let error = DurationRangeError { seconds, nanos };
        let signs_agree = seconds == 0 || nanos == 0 || (seconds > 0) == (nanos > 0);
        if nanos.unsigned_abs() >= 1_000_000_000 || !signs_agree {
            return Err(error);
        }
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        i64::try_from(total).map(Self).map_err(|_| error)
    }

    /// The two fields of a protobuf `Duration`; both carry the sign.
    pub fn to_seconds_nanos(self) -> (i64, i32) {
        // A remainder of 1e9 always fits.
        let nanos = i32::try_from(self.0 % 1_000_000_000).unwrap_or_default();
        (self.0 / 1_000_000_000, nanos)
    }

    /// The span in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The span in whole seconds, rounded towards zero.
    pub const fn as_secs(self) -> i64 {
        self.0 / 1_000_000_000
    }

    /// The span in seconds.
    #[expect(clippy::cast_precision_loss, reason = "readers of seconds as float accept 2^-53 of relative error")]
    pub fn as_secs_f64(self) -> f64 {
        (self.0 / 1_000_000_000) as f64 + (self.0 % 1_000_000_000) as f64 / 1e9
    }

    /// Whether the span is longer than nothing.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The sum, or nothing on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or nothing on overflow.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, held at the longest or most negative span.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The span from `from` to `to`, held at the longest or most negative span.
    pub fn between(from: crate::Timestamp, to: crate::Timestamp) -> Self {
        Self::saturating_from(to.duration_since(from))
    }

    /// The nearest span to a duration of jiff's wider range.
    pub fn saturating_from(duration: SignedDuration) -> Self {
        let nanos = duration.as_nanos();
        Self(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// As jiff's signed duration; never fails.
    pub const fn to_signed(self) -> SignedDuration {
        SignedDuration::from_nanos(self.0)
    }

    /// As an unsigned duration of the standard library; negative spans give nothing.
    pub fn to_std(self) -> Option<std::time::Duration> {
        u64::try_from(self.0).ok().map(std::time::Duration::from_nanos)
    }
}

impl std::convert::From<GoDuration> for SignedDuration {
    fn from(duration: GoDuration) -> Self {
        duration.to_signed()
    }
}

impl TryFrom<std::time::Duration> for GoDuration {
    type Error = std::num::TryFromIntError;

    fn try_from(duration: std::time::Duration) -> Result<Self, Self::Error> {
        i64::try_from(duration.as_nanos()).map(Self)
    }
}

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let too_long = || ParseDurationError::TooLong(shorten(text));
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(ParseDurationError::Malformed(shorten(text)));
        }
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (part, after) = parse_part(text, rest)?;
            rest = after;
            total = total.checked_add(part).filter(|sum| *sum <= MIN_MAGNITUDE).ok_or_else(too_long)?;
        }
        if negative {
            return 0_i64.checked_sub_unsigned(total).map(Self).ok_or_else(too_long);
        }
        i64::try_from(total).map(Self).map_err(|_| too_long())
    }
}

/// Reads one `<number><unit>` at the start of `rest`; `text` is the whole, for messages.
fn parse_part<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str), ParseDurationError> {
    let malformed = || ParseDurationError::Malformed(shorten(text));
    let too_long = || ParseDurationError::TooLong(shorten(text));

    let (whole_digits, after_whole) = split_digits(rest);
    let (fraction_digits, after_number) = match after_whole.strip_prefix('.') {
        Some(after_point) => split_digits(after_point),
        None => ("", after_whole),
    };
    if whole_digits.is_empty() && fraction_digits.is_empty() {
        return Err(malformed());
    }
    let mut whole = 0_u64;
    for digit in whole_digits.bytes() {
        whole = whole
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .filter(|value| *value <= MIN_MAGNITUDE)
            .ok_or_else(too_long)?;
    }

    let unit_end = after_number.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_number.len());
    let (unit_name, after) = after_number.split_at(unit_end);
    let unit = match unit_name {
        "ns" => NANOSECOND,
        // Both micro signs that Unicode has: U+00B5 and the Greek letter U+03BC.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "" => return Err(ParseDurationError::MissingUnit(shorten(text))),
        other => {
            return Err(ParseDurationError::UnknownUnit { text: shorten(text), unit: shorten(other) });
        }
    };
    let span = whole.checked_mul(unit).filter(|value| *value <= MIN_MAGNITUDE).ok_or_else(too_long)?;
    let span = span.checked_add(fraction_of(fraction_digits, unit)).filter(|value| *value <= MIN_MAGNITUDE);
    Ok((span.ok_or_else(too_long)?, after))
}

/// Nanoseconds in `0.<digits>` of a unit, computed in floating point as Go does, so that both sides agree to the bit.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Go's own rounding is part of the format; the value is below one unit, so it fits"
)]
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let mut value = 0_u64;
    let mut scale = 1_f64;
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
        match next.filter(|v| i64::try_from(*v).is_ok()) {
            Some(next) => value = next,
            None => break, // More digits than 63 bits hold change nothing.
        }
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match span {
            0 => f.write_str("0s"),
            1..MICROSECOND => write!(f, "{span}ns"),
            MICROSECOND..MILLISECOND => write_decimal(f, span, MICROSECOND, "µs"),
            MILLISECOND..SECOND => write_decimal(f, span, MILLISECOND, "ms"),
            SECOND..MINUTE => write_decimal(f, span, SECOND, "s"),
            MINUTE..HOUR => {
                write!(f, "{}m", span / MINUTE)?;
                write_decimal(f, span % MINUTE, SECOND, "s")
            }
            HOUR.. => {
                write!(f, "{}h{}m", span / HOUR, span % HOUR / MINUTE)?;
                write_decimal(f, span % MINUTE, SECOND, "s")
            }
        }
    }
}

/// Writes `span / unit` with as many decimals as needed.
fn write_decimal(f: &mut fmt::Formatter<'_>, span: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", span / unit)?;
    let fraction = span % unit;
    if fraction > 0 {
        let width = unit.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(name)
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}
