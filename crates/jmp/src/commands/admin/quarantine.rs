//! `jmp admin quarantine`, `unquarantine` and `check`: exporters that are kept back from users.
//!
//! All three are annotations of the exporter; the controller does the rest.

use clap::Args;
use jumpstarter_model::{
    GoDuration, Timestamp,
    annotations::{CHECK, LIFT_QUARANTINE, QUARANTINE, QUARANTINE_REASON},
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
    annotate(&args.place, name, &changes).await?;
    output::say(&format!("Exporter '{name}' is not quarantined any more"));
    Ok(())
}

/// Has the controller check an exporter as soon as that is idle.
pub(super) async fn check(args: &ExporterArgs) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), "exporter")?;
    annotate(&args.place, name, &[(CHECK, Some(Timestamp::now().to_string()))]).await?;
    output::say(&format!("Exporter '{name}' is checked as soon as it is idle"));
    Ok(())
}

async fn annotate(place: &Place, name: &str, changes: &[(&str, Option<String>)]) -> Result<(), Failure> {
    let cluster = place.connect().await?;
    let mut attempt = 1;
    loop {
        let stored = cluster.get(Kind::Exporter, name).await?;
        let wanted = annotated(stored.clone(), changes);
        if wanted == stored {
            return Ok(());
        }
        let Err(failure) = cluster.replace(Kind::Exporter, name, wanted).await else { return Ok(()) };
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
}
