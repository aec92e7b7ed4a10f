//! Why a lease waits: text for people, JSON for programs.
use std::fmt::Write as _;

use jiff::Timestamp;
use jumpstarter_client::{LeaseAlternative, LeaseWhy, StartForecast};
use serde_json::{Value, json};

use super::{Present, View, leases};
use crate::output;

/// Leases ahead that are listed; the position counts all of them.
const SHOWN: usize = 20;

/// The answer as paragraphs and tables.
pub(crate) fn text(why: &LeaseWhy, present: &Present, colours: bool) -> String {
    let mut text = format!("{}\n", headline(why));
    if !why.message.is_empty() {
        let _ = writeln!(text, "{}", one_line(&why.message));
    }
    match &why.start {
        Some(start) => {
            let _ = writeln!(text, "\n{}", when(start, present));
        }
        None if why.standing == "Waiting" && !why.ahead.is_empty() => {
            text.push_str("\nWhen it begins cannot be said: that depends on more than the leases ahead of it.\n");
        }
        None if why.standing == "Waiting" => {
            text.push_str("\nNothing that is known brings it a device: when it begins cannot be said.\n");
        }
        None => {}
    }
    section(&mut text, "Ahead of it", &ahead(why, present), colours);
    section(&mut text, "Devices", &devices(why), colours);
    section(&mut text, "Other requests", &alternatives(why, present), colours);
    text
}

fn headline(why: &LeaseWhy) -> String {
    let name = &why.lease.name;
    let exporter = why.lease.exporter.as_deref().unwrap_or("an exporter");
    match (why.standing.as_str(), &why.lease.queue) {
        ("Waiting", Some(queue)) if queue.position > 0 => {
            format!("{name} waits: place {} in the queue", queue.position)
        }
        ("Waiting", _) => format!("{name} waits"),
        ("Scheduled", _) => format!("{name} is scheduled"),
        ("Preparing", _) => format!("{name} has {exporter}, which is getting ready"),
        ("Ready", _) => format!("{name} has {exporter}"),
        ("Ended", _) => format!("{name} is over"),
        (other, _) => format!("{name}: {}", one_line(other)),
    }
}

/// When it begins, with the interval and what that rests on.
fn when(start: &StartForecast, present: &Present) -> String {
    let likely = moment(start.likely, present);
    let mut text = format!("It begins about {likely}");
    if start.latest == Some(start.earliest) {
        text = format!("It begins at {likely}");
    } else {
        let _ = write!(text, "; {} at the earliest", moment(start.earliest, present));
        match start.latest {
            Some(latest) => _ = write!(text, ", {} at the latest", moment(latest, present)),
            None => text.push_str(", and nothing says when at the latest"),
        }
    }
    text.push_str(", if nobody with a better claim comes and no device comes or goes.");
    match start.learned_from {
        0 => {
            text.push_str(" Too few leases have ended here to learn from: this goes by the times that leases ask for.");
        }
        count => _ = write!(text, " Learned from {count} leases that ended."),
    }
    text
}

/// `now`, or the moment with the time until then.
fn moment(at: Timestamp, present: &Present) -> String {
    let seconds = at.as_second() - present.now.as_second();
    if seconds <= 0 {
        return "now".to_owned();
    }
    format!("{} (in {})", present.clock(Some(at)), leases::remaining(Some(at), present.now))
}

fn section(text: &mut String, title: &str, view: &View, colours: bool) {
    if !view.rows.is_empty() {
        let _ = writeln!(text, "\n{title}:\n{}", output::table(view, colours));
    }
}

fn view(headings: &[&'static str], rows: Vec<Vec<String>>) -> View {
    View { json: Value::Null, headings: headings.to_vec(), rows, names: Vec::new() }
}

fn ahead(why: &LeaseWhy, present: &Present) -> View {
    let rows = why
        .ahead
        .iter()
        .take(SHOWN)
        .map(|one| vec![one.lease.clone(), one.client.clone(), one.priority.to_string(), present.clock(one.since)]);
    let mut rows = rows.collect::<Vec<_>>();
    let position = why.lease.queue.as_ref().map_or(0, |queue| usize::try_from(queue.position).unwrap_or_default());
    let more = position.saturating_sub(1).max(why.ahead.len()).saturating_sub(rows.len());
    if more > 0 {
        rows.push(vec![format!("… and {more} more"), String::new(), String::new(), String::new()]);
    }
    view(&["LEASE", "CLIENT", "PRIORITY", "WAITS SINCE"], rows)
}

fn devices(why: &LeaseWhy) -> View {
    let candidates = why.lease.queue.iter().flat_map(|queue| &queue.candidates);
    let rows = candidates.map(|one| vec![one.exporter.clone(), one.reason.clone(), one_line(&one.message)]);
    view(&["EXPORTER", "REASON", "MORE"], rows.collect())
}

fn alternatives(why: &LeaseWhy, present: &Present) -> View {
    let row = |one: &LeaseAlternative| {
        let start = one.start.map_or_else(|| "cannot be said".to_owned(), |start| moment(start.likely, present));
        vec![
            one.selector.clone(),
            span(one),
            one.devices.to_string(),
            one.position.to_string(),
            start,
            if one.asked { "you asked" } else { "sooner" }.to_owned(),
        ]
    };
    let rows = why.alternatives.iter().map(row).collect();
    view(&["SELECTOR", "DURATION", "DEVICES", "QUEUE", "BEGINS ABOUT", "WHY SHOWN"], rows)
}

fn span(one: &LeaseAlternative) -> String {
    let signed = jiff::SignedDuration::try_from(one.duration).unwrap_or(jiff::SignedDuration::MAX);
    format!("{signed:#}")
}

/// One row is one line, whatever a server says.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The answer for programs; the fields are those of `ExplainLeaseResponse`.
pub(crate) fn to_json(why: &LeaseWhy, present: &Present) -> Value {
    let start = |start: Option<StartForecast>| match start {
        None => Value::Null,
        Some(start) => json!({
            "earliest": present.iso(Some(start.earliest)),
            "likely": present.iso(Some(start.likely)),
            "latest": present.iso(start.latest),
            "learned_from": start.learned_from,
        }),
    };
    json!({
        "lease": leases::to_json(&why.lease, present),
        "standing": why.standing,
        "reason": why.reason,
        "message": why.message,
        "ahead": why.ahead.iter().map(|one| json!({
            "lease": one.lease,
            "client": one.client,
            "priority": one.priority,
            "since": present.iso(one.since),
        })).collect::<Vec<_>>(),
        "start": start(why.start),
        "alternatives": why.alternatives.iter().map(|one| json!({
            "selector": one.selector,
            "duration": one.duration.as_secs_f64(),
            "asked": one.asked,
            "devices": one.devices,
            "position": one.position,
            "start": start(one.start),
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use jumpstarter_client::{Lease, LeaseAhead, LeaseCandidate, LeaseQueue};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn present() -> Present {
        Present { now: at(0), zone: TimeZone::UTC }
    }

    fn lease() -> Lease {
        Lease { name: "mine".to_owned(), exporter: None, ..super::super::tests::lease() }
    }

    fn waiting() -> LeaseWhy {
        let candidate = |name: &str, reason: &str, message: &str| LeaseCandidate {
            exporter: name.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let candidates =
            vec![candidate("rig-1", "Leased", "rig-1 is held by lease h"), candidate("rig-2", "Offline", "two\nlines")];
        LeaseWhy {
            lease: Lease {
                queue: Some(LeaseQueue { position: 23, reason: "NotAvailable".to_owned(), candidates }),
                ..lease()
            },
            standing: "Waiting".to_owned(),
            reason: "NotAvailable".to_owned(),
            message: "All exporters are leased".to_owned(),
            ahead: (0..21)
                .map(|n| LeaseAhead {
                    lease: format!("l-{n}"),
                    client: "bob".to_owned(),
                    priority: 0,
                    since: Some(at(-60)),
                })
                .collect(),
            start: Some(StartForecast { earliest: at(0), likely: at(1800), latest: Some(at(7200)), learned_from: 120 }),
            alternatives: vec![LeaseAlternative {
                selector: "board=x".to_owned(),
                duration: std::time::Duration::from_mins(90),
                asked: false,
                devices: 3,
                position: 1,
                start: None,
            }],
        }
    }

    #[test]
    fn a_waiting_lease_is_explained() {
        insta::assert_snapshot!(text(&waiting(), &present(), false));
    }

    #[test]
    fn where_little_is_known_little_is_said() {
        let unknown = LeaseWhy { start: None, ahead: Vec::new(), alternatives: Vec::new(), ..waiting() };
        assert!(text(&unknown, &present(), false).contains("cannot be said"));
        let declared = StartForecast { earliest: at(5), likely: at(5), latest: None, learned_from: 0 };
        let text = text(&LeaseWhy { start: Some(declared), ..unknown }, &present(), false);
        assert!(text.contains("nothing says when at the latest") && text.contains("Too few leases"), "{text}");
    }

    #[test]
    fn one_that_does_not_wait_is_told_in_a_line() {
        for (standing, line) in [
            ("Ready", "mine has an exporter"),
            ("Ended", "mine is over"),
            ("Preparing", "mine has an exporter, which is getting ready"),
            ("Scheduled", "mine is scheduled"),
            ("Some\nthing", "mine: Some thing"),
        ] {
            let why = LeaseWhy {
                lease: lease(),
                standing: standing.to_owned(),
                message: String::new(),
                ahead: Vec::new(),
                start: None,
                alternatives: Vec::new(),
                ..waiting()
            };
            assert_eq!(text(&why, &present(), false), format!("{line}\n"));
        }
    }

    #[test]
    fn programs_get_every_field() {
        let json = to_json(&waiting(), &present());
        assert_eq!(json["start"]["latest"], "2027-01-15T10:00:00Z");
        assert_eq!(json["alternatives"][0]["start"], Value::Null);
        assert_eq!((json["ahead"][20]["lease"].as_str(), &json["lease"]["name"]), (Some("l-20"), &json!("mine")));
    }
}
