//! `jmp admin quarantine`, `unquarantine` and `check`: exporters that are kept back from users.
//!
//! All three are annotations of the exporter; the controller does the rest.

use clap::Args;
use jumpstarter_model::{
    GoDuration, Timestamp,
    annotations::{CHECK, LIFT_QUARANTINE, QUARANTINE, QUARANTINE_REASON},
    condition::exporter::{ONLINE, QUARANTINED},
    lease_time::whole_second,
};
use serde_json::{Map, Value};

use crate::{
    cluster::{Kind, Place},
    failure::Failure,
    output,
};

/// The controller writes exporters, too: so often is an annotation tried again.
const ATTEMPTS: usize = 8;

/// Options of `quarantine`.
#[derive(Debug, Args)]
pub(super) struct QuarantineArgs {
    /// Name of the exporter.
    name: Option<String>,
    /// How long, e.g. 2h [default: until `unquarantine`]
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<GoDuration>,
    /// Why, for everybody who asks.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Options of `unquarantine` and `check`.
#[derive(Debug, Args)]
pub(super) struct ExporterArgs {
    /// Name of the exporter.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Keeps an exporter back from everybody but maintainers. Its lease goes on.
pub(super) async fn quarantine(args: &QuarantineArgs) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), "exporter")?;
    let until = match args.duration {
        None => None,
        Some(duration) if duration.is_positive() => {
            let until = Timestamp::now().checked_add(duration.to_signed());
            Some(whole_second(until.map_err(|error| Failure::from_error("--for", &error))?))
        }
        Some(duration) => return Err(Failure::Usage(format!("--for: {duration} is not longer than nothing"))),
    };
    let value = until.map_or("true".to_owned(), |until| until.to_string());
    annotate(&args.place, name, &[(QUARANTINE, Some(value)), (QUARANTINE_REASON, args.reason.clone())]).await?;
    let until = until.map_or(format!("`jmp admin unquarantine {name}`"), |until| until.to_string());
    output::say(&format!("Exporter '{name}' is quarantined until {until}"));
    Ok(())
}

/// Gives an exporter out again, whoever quarantined it.
pub(super) async fn unquarantine(args: &ExporterArgs) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), "exporter")?;
    let changes =
        [(QUARANTINE, None), (QUARANTINE_REASON, None), (LIFT_QUARANTINE, Some(Timestamp::now().to_string()))];
    let before = annotate(&args.place, name, &changes).await?;
    output::say(&format!("Exporter '{name}' {}", lifted(&before)));
    Ok(())
}

/// Has the controller check an exporter as soon as that is idle.
pub(super) async fn check(args: &ExporterArgs) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), "exporter")?;
    let before = annotate(&args.place, name, &[(CHECK, Some(Timestamp::now().to_string()))]).await?;
    output::say(&format!("Exporter '{name}' is checked as soon as it is {}", checkable(&before)));
    Ok(())
}

/// What it means to lift the quarantine of an exporter that looks like this.
fn lifted(before: &Value) -> &'static str {
    let quarantined = before["metadata"]["annotations"].get(QUARANTINE).is_some() || holds(before, QUARANTINED);
    match before["status"]["health"]["score"].as_i64() {
        _ if quarantined => "is not quarantined any more",
        Some(1..) => "was not quarantined; its failures so far count no more",
        _ => "was not quarantined",
    }
}

/// What an exporter that looks like this has to become before it is checked.
fn checkable(before: &Value) -> &'static str {
    let leased = before["status"]["leaseRef"]["name"].as_str().is_some_and(|lease| !lease.is_empty());
    match (holds(before, ONLINE), leased) {
        (false, _) => "online and idle",
        (true, true) => "idle: its lease goes on",
        (true, false) => "idle",
    }
}

fn holds(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|it| it["type"] == condition && it["status"] == "True")
}

/// Changes annotations; the object as it was before.
async fn annotate(place: &Place, name: &str, changes: &[(&str, Option<String>)]) -> Result<Value, Failure> {
    let cluster = place.connect().await?;
    let mut attempt = 1;
    loop {
        let stored = cluster.get(Kind::Exporter, name).await?;
        let wanted = annotated(stored.clone(), changes);
        if wanted == stored {
            return Ok(stored);
        }
        let Err(failure) = cluster.replace(Kind::Exporter, name, wanted).await else { return Ok(stored) };
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        if attempt == ATTEMPTS || version(&cluster.get(Kind::Exporter, name).await?) == version(&stored) {
            return Err(failure);
        }
        attempt += 1;
    }
}

fn annotated(mut object: Value, changes: &[(&str, Option<String>)]) -> Value {
    let mut annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_else(Map::new);
    for (key, value) in changes {
        match value {
            Some(value) => _ = annotations.insert((*key).to_owned(), Value::from(value.as_str())),
            None => _ = annotations.remove(*key),
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        if annotations.is_empty() {
            metadata.remove("annotations");
        } else {
            metadata.insert("annotations".to_owned(), Value::Object(annotations));
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_of_others_stay() {
        let object = json!({"metadata": {"name": "a", "annotations": {"mine": "x", QUARANTINE: "true"}}});
        let lifted = annotated(object, &[(QUARANTINE, None), (LIFT_QUARANTINE, Some("now".to_owned()))]);
        assert_eq!(lifted["metadata"]["annotations"], json!({"mine": "x", LIFT_QUARANTINE: "now"}));
        let bare = annotated(json!({"metadata": {"name": "a"}}), &[(QUARANTINE, None)]);
        assert_eq!(bare, json!({"metadata": {"name": "a"}}));
    }

    #[test]
    fn what_is_said_fits_what_was_there() {
        let with = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True"}]}});
        for (before, expected) in [
            (with("Quarantined"), "is not quarantined any more"),
            (json!({"metadata": {"annotations": {QUARANTINE: "true"}}}), "is not quarantined any more"),
            (json!({"status": {"health": {"score": 20}}}), "was not quarantined; its failures so far count no more"),
            (with("Online"), "was not quarantined"),
            (json!({}), "was not quarantined"),
        ] {
            assert_eq!(lifted(&before), expected, "{before}");
        }
        let mut leased = with("Online");
        assert_eq!(checkable(&leased), "idle");
        leased["status"]["leaseRef"] = json!({"name": "a"});
        assert_eq!(checkable(&leased), "idle: its lease goes on");
        assert_eq!(checkable(&json!({})), "online and idle");
    }
}
