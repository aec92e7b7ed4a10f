//! How the objects that a client sees are shown. Pure: objects and the present in, a [`View`] out.
pub(crate) mod configs;
pub(crate) mod exporters;
pub(crate) mod leases;
#[cfg(test)]
mod tests;
pub(crate) mod usage;
pub(crate) mod why;

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

pub(crate) use crate::view::View;

/// What differs from one question to another.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    /// The moment.
    pub(crate) now: Timestamp,
    /// Where the reader is.
    pub(crate) zone: TimeZone,
}

impl Present {
    /// This moment, here.
    pub(crate) fn here() -> Self {
        Self { now: Timestamp::now(), zone: TimeZone::system() }
    }

    /// `YYYY-MM-DD HH:MM:SS` in the reader's zone; nothing for nothing.
    fn clock(&self, moment: Option<Timestamp>) -> String {
        moment.map_or_else(String::new, |moment| {
            moment.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
        })
    }

    /// ISO 8601 with the reader's offset, `Z` for none; null for nothing.
    fn iso(&self, moment: Option<Timestamp>) -> Value {
        let Some(moment) = moment else { return Value::Null };
        let zoned = moment.to_zoned(self.zone.clone());
        let micros = zoned.subsec_nanosecond() / 1000;
        let mut text = zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        if micros > 0 {
            let _ = write!(text, ".{micros:06}");
        }
        let offset = zoned.offset().seconds();
        if offset == 0 {
            text.push('Z');
        } else {
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.unsigned_abs() / 60;
            let _ = write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        }
        Value::String(text)
    }
}

/// `k=v` pairs, joined with commas.
fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn object(map: &BTreeMap<String, String>) -> Value {
    Value::Object(map.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect::<Map<_, _>>())
}

/// A lease's or label's warning as people get it.
pub(crate) fn deprecation(what: &str, message: &str) -> String {
    let more = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("{what} is deprecated{more}")
}
