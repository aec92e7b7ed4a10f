//! The AGE column.

use jumpstarter_model::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const MONTH: i64 = 30 * DAY;
const YEAR: i64 = 365 * DAY;

/// Time gone by, in its two largest units: `45s`, `3m5s`, `1h5m`, `2h`, `3d4h`, `2mo3d`, `1y2mo`. Minutes are shown
/// only under two hours.
pub(super) fn since(then: Timestamp, now: Timestamp) -> String {
    let elapsed = now.duration_since(then).as_secs().max(0);
    let pair = |large: i64, large_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match elapsed {
        ..MINUTE => format!("{elapsed}s"),
        MINUTE..HOUR => pair(elapsed / MINUTE, "m", elapsed % MINUTE, "s"),
        HOUR..DAY => {
            let (hours, minutes) = (elapsed / HOUR, elapsed % HOUR / MINUTE);
            pair(hours, "h", if hours < 2 { minutes } else { 0 }, "m")
        }
        DAY..MONTH => pair(elapsed / DAY, "d", elapsed % DAY / HOUR, "h"),
        MONTH..YEAR => pair(elapsed / MONTH, "mo", elapsed % MONTH / DAY, "d"),
        YEAR.. => pair(elapsed / YEAR, "y", elapsed % YEAR / MONTH, "mo"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (elapsed, text) in [
            (-5, "0s"),
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (185, "3m5s"),
            (HOUR, "1h"),
            (HOUR + 5 * MINUTE + 59, "1h5m"),
            (2 * HOUR + 5 * MINUTE, "2h"),
            (23 * HOUR + 59 * MINUTE, "23h"),
            (DAY, "1d"),
            (3 * DAY + 4 * HOUR + 59 * MINUTE, "3d4h"),
            (63 * DAY, "2mo3d"),
            (60 * DAY, "2mo"),
            (364 * DAY, "12mo4d"),
            (YEAR, "1y"),
            (YEAR + 65 * DAY, "1y2mo"),
        ] {
            let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(elapsed).unwrap());
            assert_eq!(since(then, now), text, "{elapsed}");
        }
    }
}
