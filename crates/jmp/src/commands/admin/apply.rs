//! `jmp admin apply -f FILE`: manifests of any of the kinds, created or changed.

use std::{io::Read as _, path::PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use crate::{
    cluster::{Cluster, Kind, Place},
    failure::Failure,
    output::{self, NameOnly},
};

/// Options of the command.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// File of YAML documents; `-` reads the standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<NameOnly>,
}

/// A checked manifest.
struct Manifest {
    kind: Kind,
    name: String,
    object: Value,
}

/// Applies every document. All are checked before the first is sent.
pub(super) async fn run(args: &ApplyArgs) -> Result<(), Failure> {
    let text = read(args)?;
    // A label value `y` or `on` is text for every other reader of manifests.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options)
        .map_err(|error| Failure::from_error(&format!("read {}", args.filename.display()), &error))?;
    let manifests = documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| check(document, &args.place.namespace))
        .collect::<Result<Vec<_>, _>>()?;
    let cluster = args.place.connect().await?;
    for manifest in manifests {
        let qualified = format!("{}.{}/{}", manifest.kind.singular(), jumpstarter_model::GROUP, manifest.name);
        let outcome = apply(&cluster, manifest).await?;
        output::say(&match args.output {
            Some(NameOnly::Name) => qualified,
            None => format!("{qualified} {outcome}"),
        });
    }
    Ok(())
}

fn read(args: &ApplyArgs) -> Result<String, Failure> {
    let what = || format!("read {}", args.filename.display());
    if args.filename.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map_err(|error| Failure::from_error(&what(), &error))?;
        return Ok(text);
    }
    std::fs::read_to_string(&args.filename).map_err(|error| Failure::from_error(&what(), &error))
}

/// Finds kind and name, and refuses what the command cannot apply.
fn check(object: Value, namespace: &str) -> Result<Manifest, Failure> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind_name, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == kind_name);
    let Some(kind) = kind.filter(|_| version == jumpstarter_model::API_VERSION) else {
        return Err(Failure::new(format!(
            "`{kind_name}` of `{version}` cannot be applied: only {} of `{}` can",
            Kind::ALL.map(Kind::name).join(", "),
            jumpstarter_model::API_VERSION
        )));
    };
    jumpstarter_model::name::validate_subdomain("metadata.name", &name)
        .map_err(|error| Failure::new(format!("{kind_name}: {error}")))?;
    let given = text("/metadata/namespace");
    if !given.is_empty() && given != namespace {
        return Err(Failure::new(format!(
            "{kind_name} `{name}`: the namespace `{given}` of the manifest is not `{namespace}`; give -n {given}"
        )));
    }
    Ok(Manifest { kind, name, object })
}

/// Creates the object, or replaces the parts of it that the manifest gives.
async fn apply(cluster: &Cluster, manifest: Manifest) -> Result<&'static str, Failure> {
    let Manifest { kind, name, mut object } = manifest;
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    let Some(stored) = cluster.find(kind, &name).await? else {
        // What a server filled in once is not for another.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for key in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
                metadata.remove(key);
            }
        }
        cluster.create(kind, object).await?;
        return Ok("created");
    };
    let mut wanted = stored.clone();
    if let Some(spec) = object.get("spec") {
        wanted["spec"] = spec.clone();
    }
    for part in ["labels", "annotations"] {
        let given = object["metadata"][part].as_object().cloned().unwrap_or_default();
        if !given.is_empty() {
            let entry = &mut wanted["metadata"][part];
            let mut merged = entry.as_object().cloned().unwrap_or_else(Map::new);
            merged.extend(given);
            *entry = Value::Object(merged);
        }
    }
    if wanted == stored {
        return Ok("unchanged");
    }
    cluster.replace(kind, &name, wanted).await?;
    Ok("configured")
}
