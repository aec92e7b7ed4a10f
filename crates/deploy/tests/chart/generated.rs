//! Files that are made from others: `UPDATE=1 cargo test -p jumpstarter-deploy --test chart` writes them anew.

use std::{fs, path::Path, sync::Once};

use jumpstarter_deploy::{Chart, deploy, kustomize, titles};
use serde_json::{Map, Value, json};

/// The chart as the kustomizations have it. They bring no key: whoever applies them makes one.
fn chart() -> Chart {
    Chart::new().set("routers.existingSecret=jumpstarter-router-secret")
}

#[test]
fn the_chart_carries_the_definitions() {
    for name in ["clients", "exporters", "exporteraccesspolicies", "leases", "leasequotas", "maintenancewindows"] {
        let wanted = fs::read_to_string(deploy(&format!("crds/{name}.yaml"))).expect("a definition");
        up_to_date(&deploy(&format!("helm/jumpstarter/crds/{name}.yaml")), &wanted);
    }
}

#[test]
fn the_base_is_the_chart() {
    same("base", chart().objects_in("jumpstarter"));
}

#[test]
fn node_ports_are_those_of_the_chart() {
    same(
        "overlays/nodeport",
        chart().set("expose.type=NodePort").set("baseDomain=lab.example.com").objects_in("jumpstarter"),
    );
}

#[test]
fn certificates_are_those_of_the_chart() {
    let objects = chart().set("tls.certManager.enabled=true").objects_in("jumpstarter");
    let certificates: Vec<Value> =
        plain(objects.clone()).into_iter().filter(|object| object["apiVersion"] == "cert-manager.io/v1").collect();
    up_to_date(&deploy("kustomize/overlays/cert-manager/certificates.yaml"), &stream(&certificates));
    same("overlays/cert-manager", objects);
}

/// The file of the base, checked or written once; the overlays build on it.
fn base() {
    static BASE: Once = Once::new();
    BASE.call_once(|| {
        let objects = plain(chart().objects_in("jumpstarter"));
        up_to_date(&deploy("kustomize/base/manifests.yaml"), &stream(&objects));
    });
}

/// Compares a file with what it should be, or writes it.
#[track_caller]
fn up_to_date(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, wanted).expect("write a generated file");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let hint = "UPDATE=1 cargo test -p jumpstarter-deploy --test chart";
    assert_eq!(found, wanted, "{} is out of date: {hint}", path.display());
}

/// Compares what a kustomization builds with what the chart makes, order apart.
#[track_caller]
fn same(folder: &str, wanted: Vec<Value>) {
    base();
    let built: Vec<Value> =
        kustomize(folder).into_iter().filter(|object| object["kind"] != "CustomResourceDefinition").collect();
    let (built, wanted) = (plain(built), plain(wanted));
    assert_eq!(titles(&built), titles(&wanted), "{folder}");
    for object in wanted {
        let title = titles(std::slice::from_ref(&object));
        let twin = built.iter().find(|other| titles(std::slice::from_ref(other)) == title).expect("checked above");
        assert_eq!(sorted(twin.clone()), sorted(object), "{folder}: {title:?}");
    }
}

/// Objects without what only Helm or only kustomize writes.
fn plain(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        object["metadata"].as_object_mut().expect("metadata").remove("namespace");
        unlabelled(object);
    }
    objects
}

fn unlabelled(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("app.kubernetes.io/managed-by");
            map.values_mut().for_each(unlabelled);
        }
        Value::Array(list) => list.iter_mut().for_each(unlabelled),
        _ => {}
    }
}

/// Keys, lists of named things, and documents within documents in an order of their own.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(sorted).collect();
            list.sort_by_key(|item| item["name"].as_str().map(str::to_owned));
            Value::Array(list)
        }
        Value::String(text) if text.contains('\n') => serde_saphyr::from_str(&text).map_or(json!(text), sorted),
        other => other,
    }
}

fn stream(objects: &[Value]) -> String {
    let head = "# Made from the Helm chart: UPDATE=1 cargo test -p jumpstarter-deploy --test chart\n";
    let text = |object: &Value| serde_saphyr::to_string(object).expect("YAML").trim_end().to_owned();
    let documents: Vec<String> = objects.iter().map(text).collect();
    format!("{head}{}\n", documents.join("\n---\n"))
}
