//! The maintenance windows of the lab: drawn by a person, stored as objects, read by the checker.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jumpstarter_model::{GoDuration, MaintenanceWindow, Timestamp};
use serde_json::{Value, json};

use crate::dice::Dice;

/// Minutes between openings of windows that open again and again; each divides an hour.
const MINUTES: [i64; 4] = [3, 5, 6, 10];

/// One window, as its object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// A label that exporters have, or the names of exporters.
    selector: Option<(String, String)>,
    names: Vec<String>,
    /// When it opens first, and after how long again.
    first: Timestamp,
    every: Option<SignedDuration>,
    length: SignedDuration,
    /// The team that may use the exporters all the same.
    admits: Option<String>,
}

/// The object of a window of this name that somebody thinks of now.
pub(crate) fn draw(dice: &mut Dice, name: &str, now: Timestamp, exporters: usize) -> MaintenanceWindow {
    let mut spec = json!({ "reason": "something is to be mended" });
    match dice.number(0..=3) {
        0 => spec["exporterSelector"] = json!({ "matchLabels": { "board": "b1" } }),
        1 => spec["exporterSelector"] = json!({ "matchLabels": { "pool": dice.pick(&["a", "b"]) } }),
        _ => spec["exporters"] = json!([format!("e{}", dice.number(0..=exporters as u64 - 1))]),
    }
    if dice.chance(0.5) {
        let minutes = *dice.pick(&MINUTES);
        spec["schedule"] = json!(format!("*/{minutes} * * * *"));
        spec["duration"] = json!(format!("{}s", dice.number(20..=90)));
    } else {
        let start = now + dice.millis(0..=240_000);
        spec["start"] = json!(jumpstarter_model::lease_time::whole_second(start).to_string());
        spec["duration"] = json!(format!("{}s", dice.number(20..=240)));
    }
    if dice.chance(0.5) {
        spec["clientSelector"] = json!({ "matchLabels": { "team": "blue" } });
    }
    let spec = serde_json::from_value(spec).expect("the window is one");
    MaintenanceWindow::new(name, spec)
}

impl Window {
    /// Reads what [`draw`] has written; `None` for anything else.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let label = |selector: &Value| {
            let (key, value) = selector.pointer("/matchLabels")?.as_object()?.iter().next()?;
            Some((key.clone(), value.as_str()?.to_owned()))
        };
        let names = spec.get("exporters").and_then(Value::as_array).into_iter().flatten();
        let start = spec.get("start").and_then(Value::as_str).map(str::parse::<Timestamp>);
        let minutes = spec.get("schedule").and_then(Value::as_str);
        let minutes = minutes.and_then(|text| text.strip_prefix("*/")?.split(' ').next()?.parse::<i64>().ok());
        let (first, every) = match (start, minutes) {
            (Some(start), None) => (start.ok()?, None),
            // The hour of the epoch is one of every day.
            (None, Some(minutes)) => (Timestamp::UNIX_EPOCH, Some(SignedDuration::from_mins(minutes))),
            _ => return None,
        };
        let length: GoDuration = spec.get("duration")?.as_str()?.parse().ok()?;
        Some(Self {
            selector: spec.get("exporterSelector").and_then(label),
            names: names.filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
            first,
            every,
            length: length.to_signed(),
            admits: spec.get("clientSelector").and_then(label).map(|(_, team)| team),
        })
    }

    /// Whether it is about an exporter.
    pub(crate) fn is_about(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let selects = |(key, value): &(String, String)| labels.get(key) == Some(value);
        self.singles_out(name) || self.selector.as_ref().is_some_and(selects)
    }

    /// Whether it is about this exporter and not about all with its labels.
    pub(crate) fn singles_out(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Whether it lets clients of a team in.
    pub(crate) fn admits(&self, team: &str) -> bool {
        self.admits.as_deref() == Some(team)
    }

    /// The first opening that has an instant in common with this time.
    pub(crate) fn opening_in(&self, (begin, end): (Timestamp, Timestamp)) -> Option<(Timestamp, Timestamp)> {
        let mut from = self.first;
        if let Some(every) = self.every {
            let since = begin.duration_since(self.first).as_secs();
            let rounds = since.div_euclid(every.as_secs().max(1));
            from += SignedDuration::from_secs(rounds * every.as_secs());
        }
        let mut opens = [Some(from), self.every.map(|every| from + every)].into_iter().flatten();
        opens.find(|from| *from < end && begin < *from + self.length).map(|from| (from, from + self.length))
    }
}
