//! Sizes as people write them.

/// Bytes of a text such as `20G`, `512M`, `1.5TiB` or `1000`. A letter alone is a binary unit; with a `B` behind it, it
/// is a decimal one unless an `i` stands between.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("invalid size '{}': write it as 20G, 512M or 2T", text.escape_debug());
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let factor = factor(&unit.trim().to_ascii_lowercase()).ok_or_else(wrong)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    #[expect(clippy::cast_precision_loss, reason = "units are exact powers")]
    let bytes = number * factor as f64;
    if !(1.0..9e18).contains(&bytes) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and in range")]
    Ok(bytes as u64)
}

fn factor(unit: &str) -> Option<u64> {
    let (letter, base) = match unit {
        "" | "b" => return Some(1),
        "k" | "kib" => (1, 1024_u64),
        "m" | "mib" => (2, 1024),
        "g" | "gib" => (3, 1024),
        "t" | "tib" => (4, 1024),
        "kb" => (1, 1000),
        "mb" => (2, 1000),
        "gb" => (3, 1000),
        "tb" => (4, 1000),
        _ => return None,
    };
    Some(base.pow(letter))
}

/// Bytes as people read them.
pub(super) fn shown(bytes: u64) -> String {
    let (mut unit, mut rest) = (0, bytes);
    while rest >= 1024 && rest.is_multiple_of(1024) && unit < 4 {
        rest /= 1024;
        unit += 1;
    }
    format!("{rest} {}", ["bytes", "KiB", "MiB", "GiB", "TiB"][unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("20G", Some(20 << 30)),
            ("512m", Some(512 << 20)),
            ("1.5K", Some(1536)),
            ("2TiB", Some(2 << 40)),
            ("3kb", Some(3000)),
            (" 7 ", Some(7)),
            ("", None),
            ("G", None),
            ("0", None),
            ("-1G", None),
            ("5P", None),
            ("1e3", None),
            ("99999999999T", None),
        ] {
            assert_eq!(parse(text).ok(), bytes, "{text}");
        }
        assert!(parse("big").unwrap_err().contains("'big'"));
        assert_eq!((shown(1536).as_str(), shown(3 << 30).as_str()), ("1536 bytes", "3 GiB"));
    }
}
