//! Rows that Go's own `time` package gives, and the round trip.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn parses(text: &str, nanos: i64) {
    assert_eq!(text.parse(), Ok(GoDuration::from_nanos(nanos)), "{text}");
}

#[track_caller]
fn refuses(text: &str, message: &str) {
    let error = text.parse::<GoDuration>().expect_err(text);
    assert_eq!(error.to_string(), message, "{text}");
}

#[test]
fn texts_that_go_reads() {
    const S: i64 = 1_000_000_000;
    parses("0", 0);
    parses("-0", 0);
    parses("+0", 0);
    parses("0s", 0);
    parses("5s", 5 * S);
    parses("30s", 30 * S);
    parses("1478s", 1478 * S);
    parses("-5s", -5 * S);
    parses("+5s", 5 * S);
    parses("5.0s", 5 * S);
    parses("5.6s", 5_600_000_000);
    parses("5.s", 5 * S);
    parses(".5s", S / 2);
    parses("1.0s", S);
    parses("1.00s", S);
    parses("1.004s", 1_004_000_000);
    parses("1.0040s", 1_004_000_000);
    parses("100.00100s", 100_001_000_000);
    parses("10ns", 10);
    parses("11us", 11_000);
    parses("12µs", 12_000);
    parses("12μs", 12_000);
    parses("13ms", 13_000_000);
    parses("14s", 14 * S);
    parses("15m", 15 * 60 * S);
    parses("16h", 16 * 3600 * S);
    parses("3h30m", (3 * 3600 + 30 * 60) * S);
    parses("10.5s4m", (4 * 60 + 10) * S + S / 2);
    parses("-2m3.4s", -(2 * 60 * S + 3_400_000_000));
    parses("1h2m3s4ms5us6ns", 3_723_004_005_006);
    parses("39h9m14.425s", (39 * 3600 + 9 * 60 + 14) * S + 425_000_000);
    parses("52763797000ns", 52_763_797_000);
    parses("0.3333333333333333333h", 1_200_000_000_000);
    parses("0.100000000000000000000h", 360 * S);
    parses("0.830103483285477580700h", 2_988_372_539_827);
    parses("0.9223372036854775807h", 3_320_413_933_267);
    parses("9007199254740993ns", (1 << 53) + 1);
    parses("9223372036854775807ns", i64::MAX);
    parses("9223372036854775.807us", i64::MAX);
    parses("9223372036s854ms775us807ns", i64::MAX);
    parses("-9223372036854775808ns", i64::MIN);
    parses("-2562047h47m16.854775808s", i64::MIN);
    parses("43800h0m0s", 43_800 * 3600 * S);
}

#[test]
fn texts_that_go_refuses() {
    let form = |text: &str| format!("`{text}` is not a duration such as 30m, 1h30m or 90s");
    let unit =
        |text: &str| format!("`{text}` has a number without a unit: write h, m, s, ms, us or ns after each number");
    let long = |text: &str| format!("`{text}` is longer than the longest duration, 2562047h47m16.854775807s");
    for text in ["", "-", "+", "s", ".", "-.", ".s", "+.s", "-.s", "1h ", "--1s", "PT1H", " 1s", "1h-2m", "h1"] {
        let message = match text {
            "1h " => format!("`{text}` has the unknown unit `h `: use h, m, s, ms, us or ns"),
            "1h-2m" => format!("`{text}` has the unknown unit `h-`: use h, m, s, ms, us or ns"),
            _ => form(text),
        };
        refuses(text, &message);
    }
    for text in ["3", "00", "1.5", "1h2", "3000000000000"] {
        refuses(text, &unit(text));
    }
    refuses("1d", "`1d` has the unknown unit `d`: use h, m, s, ms, us or ns");
    refuses("2 days", "`2 days` has the unknown unit ` days`: use h, m, s, ms, us or ns");
    refuses("1H", "`1H` has the unknown unit `H`: use h, m, s, ms, us or ns");
    for text in [
        "9223372036854775810ns",
        "9223372036854775808ns",
        "9223372036854775.808us",
        "9223372036854ms775us808ns",
        "-9223372036854775809ns",
        "3000000h",
        "99999999999999999999999h",
        "1000000h1000000h1000000h",
    ] {
        refuses(text, &long(text));
    }
}

#[test]
fn a_long_text_is_cut_in_the_message() {
    let error = "x".repeat(100_000).parse::<GoDuration>().unwrap_err();
    assert!(error.to_string().len() < 200);
}

#[test]
fn canonical_texts() {
    for (nanos, text) in [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (100_000, "100µs"),
        (1_000_000, "1ms"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (1_500_000_000, "1.5s"),
        (60_000_000_000, "1m0s"),
        (245_000_000_000, "4m5s"),
        (245_001_000_000, "4m5.001s"),
        (1_800_000_000_000, "30m0s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (480_000_000_001, "8m0.000000001s"),
        (157_680_000_000_000_000, "43800h0m0s"),
        (-1_500_000_000, "-1.5s"),
        (i64::MAX, "2562047h47m16.854775807s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        assert_eq!(GoDuration::from_nanos(nanos).to_string(), text);
    }
}

#[test]
fn protobuf_pairs() {
    for (pair, nanos) in [
        ((0, 0), Some(0)),
        ((1, 500_000_000), Some(1_500_000_000)),
        ((-1, -500_000_000), Some(-1_500_000_000)),
        ((0, -1), Some(-1)),
        ((1, -1), None),
        ((-1, 1), None),
        ((0, 1_000_000_000), None),
        ((0, i32::MIN), None),
        ((9_223_372_036, 854_775_807), Some(i64::MAX)),
        ((9_223_372_036, 854_775_808), None),
        ((i64::MAX, 0), None),
        ((i64::MIN, 0), None),
    ] {
        let read = GoDuration::from_seconds_nanos(pair.0, pair.1);
        assert_eq!(read.ok().map(GoDuration::as_nanos), nanos, "{pair:?}");
        if let Ok(duration) = read {
            assert_eq!(duration.to_seconds_nanos(), pair);
        }
    }
}

#[test]
fn conversions_keep_to_their_ranges() {
    assert!((GoDuration::from_nanos(1_500_000_000).as_secs_f64() - 1.5).abs() < f64::EPSILON);
    assert_eq!(GoDuration::saturating_from(SignedDuration::MAX), GoDuration::MAX);
    assert_eq!(GoDuration::saturating_from(SignedDuration::MIN), GoDuration::MIN);
    assert_eq!(GoDuration::between(crate::Timestamp::MIN, crate::Timestamp::MAX), GoDuration::MAX);
    assert_eq!(GoDuration::MAX.checked_add(GoDuration::from_nanos(1)), None);
    assert_eq!(GoDuration::MIN.checked_sub(GoDuration::from_nanos(1)), None);
    assert_eq!(GoDuration::MAX.saturating_add(GoDuration::MAX), GoDuration::MAX);
    assert_eq!(GoDuration::from_secs(-1).to_std(), None);
    assert_eq!(GoDuration::from_secs(2).to_std(), Some(std::time::Duration::from_secs(2)));
    assert!(GoDuration::try_from(std::time::Duration::MAX).is_err());
}

#[test]
fn json_is_the_text() {
    assert_eq!(serde_json::to_string(&GoDuration::from_secs(1800)).unwrap(), r#""30m0s""#);
    assert_eq!(serde_json::from_str::<GoDuration>(r#""1h""#).unwrap(), GoDuration::from_secs(3600));
    assert!(serde_json::from_str::<GoDuration>("3600").is_err());
}

proptest! {
    #[test]
    fn the_canonical_text_reads_back(nanos: i64) {
        let duration = GoDuration::from_nanos(nanos);
        // Go computes fractions in floating point; up to 2^53 that is exact.
        if nanos.unsigned_abs() % 1_000_000_000 == 0 || nanos.unsigned_abs() < 1 << 53 {
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
        prop_assert!(duration.to_string().parse::<GoDuration>().is_ok());
    }

    #[test]
    fn no_text_panics(text in "[-+0-9.hmsnuµ ]{0,24}|\\PC{0,24}") {
        if let Ok(duration) = text.parse::<GoDuration>() {
            prop_assert!(duration.to_string().parse::<GoDuration>().is_ok());
        }
    }
}
