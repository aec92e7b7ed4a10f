//! What the fuzz targets run: each body reads outside bytes and panics only when a promise of the parser is broken.
//!
//! The targets of `fuzz/` and the smoke test `tests/fuzz_smoke.rs` share these bodies, so that a stable toolchain runs
//! them as well.

#![expect(clippy::missing_panics_doc, reason = "to panic on a broken promise is what they are for")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    GoDuration, LeaseSpec, Selector, Timestamp,
    identity::{DEFAULT_INTERNAL_PREFIX, Subject, derive_name, object_name},
    lease_time::{
        Progress, TimeChange, check_duration, normalize, planned_duration, planned_end, update, whole_second,
    },
    name::{ClientName, ExporterName, LeaseName, NamespaceName, validate_label},
};

/// Longest error text that a peer may get (protocol.md §10.3 row 16).
const LONGEST_MESSAGE: usize = 4096;

/// A selector that parses prints a text that parses to the same selector, and survives being stored.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Selector::parse(text) {
        Ok(selector) => {
            let printed = selector.to_string();
            assert_eq!(Selector::parse(&printed).as_ref(), Ok(&selector), "{printed}");
            let stored = Selector::from_label_selector(&selector.to_label_selector());
            assert!(stored.is_ok_and(|stored| stored.is_equivalent(&selector)), "{printed}");
        }
        Err(error) => assert!(error.to_string().len() <= LONGEST_MESSAGE, "long message"),
    }
}

/// A duration that parses prints a text that parses, and converts without loss.
pub fn duration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<GoDuration>() {
        Ok(duration) => {
            assert!(duration.to_string().parse::<GoDuration>().is_ok(), "{duration}");
            let (seconds, nanos) = duration.to_seconds_nanos();
            assert_eq!(GoDuration::from_seconds_nanos(seconds, nanos), Ok(duration));
        }
        Err(error) => assert!(error.to_string().len() <= LONGEST_MESSAGE, "long message"),
    }
}

/// Resource names print as they read.
pub fn resource_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let printed = [
        text.parse::<NamespaceName>().map(|name| name.to_string()),
        text.parse::<ExporterName>().map(|name| name.to_string()),
        text.parse::<LeaseName>().map(|name| name.to_string()),
        text.parse::<ClientName>().map(|name| name.to_string()),
    ];
    for result in printed {
        match result {
            Ok(printed) => assert_eq!(printed, text),
            Err(error) => assert!(error.to_string().len() <= LONGEST_MESSAGE, "long message"),
        }
    }
}

/// Subjects print as they read; a name derived from any user name is a DNS label or nothing.
pub fn identity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(subject) = text.parse::<Subject>() {
        assert_eq!(subject.to_string(), text);
    }
    let derived = derive_name(text);
    assert!(derived.is_empty() || validate_label("name", &derived).is_ok(), "{derived}");
    let (user, given) = text.split_once('\n').unwrap_or((text, ""));
    if let Err(error) = object_name(user, DEFAULT_INTERNAL_PREFIX, Some(given)) {
        assert!(error.to_string().len() <= LONGEST_MESSAGE, "long message");
    }
}

/// Times made of any bytes are refused or become consistent, also after an update.
pub fn lease_times(data: &[u8]) {
    let mut input = Bytes(data);
    let (begin, end, duration) = (input.instant(), input.instant(), input.duration());
    if let Ok(times) = normalize(begin, end, duration) {
        check_consistent(times.begin, times.end, times.duration);
    }

    let stored = LeaseSpec { begin_time: begin.map(Time), end_time: end.map(Time), duration, ..LeaseSpec::default() };
    let change = TimeChange { begin: input.instant(), end: input.instant(), duration: input.duration() };
    let now = input.instant().unwrap_or_default();
    for progress in [Progress::Waiting { now }, Progress::Running { begin: now }] {
        if let Ok(Some(times)) = update(&stored, change, progress) {
            check_consistent(times.begin, times.end, times.duration);
        }
    }
    let _ = planned_end(&stored, now);
    assert!(planned_duration(&stored, now) >= GoDuration::ZERO, "negative length");
}

fn check_consistent(begin: Option<Timestamp>, end: Option<Timestamp>, duration: GoDuration) {
    assert!(check_duration(duration).is_ok(), "{duration}");
    for instant in [begin, end].into_iter().flatten() {
        assert_eq!(instant, whole_second(instant), "part of a second");
    }
    if let (Some(begin), Some(end)) = (begin, end) {
        assert_eq!(GoDuration::between(begin, end), duration, "{begin} {end}");
    }
}

/// Numbers taken from the front of the input; absent ones where it ends or a tag byte says so.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn number(&mut self) -> Option<i64> {
        let (tag, rest) = self.0.split_first()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        self.0 = rest;
        (tag % 4 != 0).then(|| i64::from_le_bytes(*number))
    }

    fn duration(&mut self) -> Option<GoDuration> {
        self.number().map(GoDuration::from_nanos)
    }

    fn instant(&mut self) -> Option<Timestamp> {
        let number = self.number()?;
        // Small numbers are seconds, so that the fuzzer meets the far ends of the range as well.
        Timestamp::from_second(number).or_else(|_| Timestamp::from_nanosecond(number.into())).ok()
    }
}
