//! Reads what the folder `deploy/` makes: manifests as JSON values, from files, Helm and kustomize.
//!
//! For tests alone, so everything here fails by panicking.
#![expect(clippy::missing_panics_doc, reason = "a harness fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use jumpstarter_kube_testkit::Programs;
use serde_json::Value;

/// A path below `deploy/`.
#[must_use]
pub fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

/// The objects of a stream of YAML documents; empty documents are left out.
#[must_use]
pub fn objects(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("read manifests: {error}\n{yaml}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// A release of the chart, by its values.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    arguments: Vec<String>,
}

impl Chart {
    /// The chart with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one value, in the syntax of `--set`.
    #[must_use]
    pub fn set(mut self, value: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), value.to_owned()]);
        self
    }

    /// Renders the release `jumpstarter` in `namespace`.
    ///
    /// # Errors
    /// What Helm said.
    pub fn manifests(&self, namespace: &str) -> Result<String, String> {
        helm(&[&["template", "jumpstarter", chart().as_str(), "--namespace", namespace], &*self.arguments()].concat())
    }

    /// The objects of the release, in the namespace `lab`.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        self.objects_in("lab")
    }

    /// The objects of the release.
    #[must_use]
    pub fn objects_in(&self, namespace: &str) -> Vec<Value> {
        objects(&self.manifests(namespace).unwrap_or_else(|said| panic!("render the chart: {said}")))
    }

    /// What Helm says against the values.
    #[must_use]
    pub fn refusal(&self) -> String {
        self.manifests("lab").expect_err("the values are refused")
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }
}

/// The folder of the chart.
#[must_use]
pub fn chart() -> String {
    deploy("helm/jumpstarter").display().to_string()
}

/// Runs `helm`; its output.
///
/// # Errors
/// What it said when it failed.
pub fn helm(arguments: &[&str]) -> Result<String, String> {
    run(Command::new(Programs::helm()).args(arguments))
}

/// The objects of a kustomization in `deploy/kustomize`.
#[must_use]
pub fn kustomize(folder: &str) -> Vec<Value> {
    let path = deploy("kustomize").join(folder);
    let output = run(Command::new(Programs::find().path("kubectl")).arg("kustomize").arg(path));
    objects(&output.unwrap_or_else(|said| panic!("build the kustomization {folder}: {said}")))
}

/// The one object of this kind and name.
#[must_use]
#[track_caller]
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} `{name}` among {:?}", titles(objects)))
}

/// `KIND/NAME` of each object, sorted.
#[must_use]
pub fn titles(objects: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut titles: Vec<String> = objects
        .iter()
        .map(|object| format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])))
        .collect();
    titles.sort();
    titles
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
