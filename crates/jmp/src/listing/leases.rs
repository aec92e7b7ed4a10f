//! Leases.
use jiff::Timestamp;
use jumpstarter_client::{Lease, LeaseCondition};
use serde_json::{Map, Value, json};

use super::{Present, View, object, pairs};

const HEADINGS: [&str; 7] = ["NAME", "SELECTOR", "EXPIRES AT", "REMAINING", "CLIENT", "EXPORTER", "TAGS"];

/// A list. `wide`, or a lease that waits, adds the columns that say how each stands.
pub(crate) fn list(leases: &[Lease], wide: bool, present: &Present) -> View {
    let with_state = wide || leases.iter().any(|lease| lease.queue.is_some());
    View {
        json: json!({ "leases": leases.iter().map(|lease| to_json(lease, present)).collect::<Vec<_>>() }),
        ..table(leases, with_state, present)
    }
}

/// One.
pub(crate) fn one(lease: &Lease, wide: bool, present: &Present) -> View {
    let with_state = wide || lease.queue.is_some();
    View { json: to_json(lease, present), ..table(std::slice::from_ref(lease), with_state, present) }
}

fn table(leases: &[Lease], with_state: bool, present: &Present) -> View {
    let mut headings = HEADINGS.to_vec();
    let with_group = leases.iter().any(|lease| lease.group.is_some());
    if with_group {
        headings.push("GROUP");
    }
    if with_state {
        headings.extend(["STATUS", "QUEUE", "REASON"]);
    }
    View {
        json: Value::Null,
        headings,
        rows: leases.iter().map(|lease| row(lease, with_group, with_state, present)).collect(),
        names: leases.iter().map(|lease| lease.name.clone()).collect(),
    }
}

fn row(lease: &Lease, with_group: bool, with_state: bool, present: &Present) -> Vec<String> {
    let expires = lease.expires_at();
    let mut cells = vec![
        lease.name.clone(),
        lease.selector.clone(),
        present.clock(expires),
        remaining(expires, present.now),
        lease.client.clone(),
        lease.exporter.clone().unwrap_or_default(),
        pairs(&lease.tags),
    ];
    if with_group {
        cells.push(lease.group.clone().unwrap_or_default());
    }
    if with_state {
        let position = lease.queue.as_ref().map(|queue| queue.position).filter(|position| *position > 0);
        cells.push(status(lease));
        cells.push(position.map_or_else(String::new, |position| position.to_string()));
        cells.push(reason(lease));
    }
    cells
}

/// In one word how it stands, for people.
pub(super) fn status(lease: &Lease) -> String {
    let Some(last) = lease.conditions.last() else {
        return if lease.effective_end_time.is_some() { "Ended" } else { "Unknown" }.to_owned();
    };
    if lease.effective_end_time.is_some() {
        return "Ended".to_owned();
    }
    match (last.kind.as_str(), last.status.as_str()) {
        ("Ready", "True") => "In-Use".to_owned(),
        ("Ready", "False") => "Waiting".to_owned(),
        ("Expired", _) => "Expired".to_owned(),
        _ if last.reason.is_empty() => "Unknown".to_owned(),
        _ => last.reason.clone(),
    }
}

/// Why it waits, or why it is over; nothing while it is in use.
fn reason(lease: &Lease) -> String {
    if status(lease) == "In-Use" {
        return String::new();
    }
    let told =
        |kind: &str| lease.conditions.iter().find(|condition| condition.kind == kind && condition.status == "True");
    let told = ["Invalid", "Unsatisfiable", "Pending"].into_iter().find_map(told);
    told.map_or_else(String::new, |condition| {
        let text = if condition.message.is_empty() { &condition.reason } else { &condition.message };
        // One row is one line, whatever a server says.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

/// `1d 2h 3m`, zero parts left out.
pub(super) fn remaining(expires: Option<Timestamp>, now: Timestamp) -> String {
    let Some(expires) = expires else { return String::new() };
    let seconds = expires.duration_since(now).as_secs();
    if expires <= now {
        return "expired".to_owned();
    }
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3600, seconds % 3600 / 60);
    let mut parts = Vec::new();
    for (amount, unit) in [(days, "d"), (hours, "h"), (minutes, "m")] {
        if amount > 0 {
            parts.push(format!("{amount}{unit}"));
        }
    }
    if parts.is_empty() { "0m".to_owned() } else { parts.join(" ") }
}

/// The fields that readers of the other implementation know, in their order; `context`, `queue` and `group` come only when
/// there is something to tell.
pub(super) fn to_json(lease: &Lease, present: &Present) -> Value {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("namespace", json!(lease.namespace));
    put("name", json!(lease.name));
    put("selector", json!(lease.selector));
    put("exporter_name", json!(lease.exporter_name));
    put("tags", object(&lease.tags));
    if !lease.context.is_empty() {
        put("context", object(&lease.context));
    }
    put("duration", json!(lease.duration.unwrap_or_default().as_secs_f64()));
    put("effective_duration", json!(lease.effective_duration.map(|duration| duration.as_secs_f64())));
    put("begin_time", present.iso(lease.begin_time));
    put("client", json!(lease.client));
    put("exporter", json!(lease.exporter.as_deref().unwrap_or_default()));
    put("conditions", lease.conditions.iter().map(condition).collect());
    put("effective_begin_time", present.iso(lease.effective_begin_time));
    put("effective_end_time", present.iso(lease.effective_end_time));
    put("deprecated_labels", object(&lease.deprecated_labels));
    if let Some(queue) = &lease.queue {
        let candidates = queue.candidates.iter().map(|candidate| {
            json!({ "exporter": candidate.exporter, "reason": candidate.reason, "message": candidate.message })
        });
        let candidates = candidates.collect::<Vec<_>>();
        put("queue", json!({ "position": queue.position, "reason": queue.reason, "candidates": candidates }));
    }
    if let Some(group) = &lease.group {
        put("group", json!(group));
    }
    Value::Object(fields)
}

/// Protobuf's own JSON: whole numbers of 64 bits are texts.
fn condition(condition: &LeaseCondition) -> Value {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!(condition.kind));
    fields.insert("status".to_owned(), json!(condition.status));
    if let Some(generation) = condition.observed_generation {
        fields.insert("observedGeneration".to_owned(), json!(generation.to_string()));
    }
    if let Some(time) = condition.last_transition_time {
        let time = json!({ "seconds": time.as_second().to_string(), "nanos": time.subsec_nanosecond() });
        fields.insert("lastTransitionTime".to_owned(), time);
    }
    fields.insert("reason".to_owned(), json!(condition.reason));
    fields.insert("message".to_owned(), json!(condition.message));
    Value::Object(fields)
}
