//! The documents from which clients learn what there is.

use jumpstarter_model::{API_VERSION, GROUP, VERSION};
use jumpstarter_store::Kind;
use serde_json::{Value, json};

use crate::route::Api;

/// The document at this path, if there is one.
pub(crate) fn document(api: &Api, segments: &[&str]) -> Option<Value> {
    match *segments {
        ["version"] => Some(version()),
        ["healthz" | "livez" | "readyz"] => Some(json!("ok")),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })),
        ["apis"] => Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group()] })),
        ["apis", name] if name == GROUP => Some(group()),
        ["apis", name, version] if name == GROUP && version == VERSION => Some(resources(API_VERSION, false)),
        ["api", "v1"] => Some(resources("v1", true)),
        ["api", "v1", "namespaces"] => Some(json!({
            "kind": "NamespaceList", "apiVersion": "v1", "metadata": { "resourceVersion": "1" },
            "items": [namespace(&api.namespace)],
        })),
        ["api", "v1", "namespaces", name] if name == api.namespace => Some(namespace(name)),
        _ => None,
    }
}

/// Clients look for a Kubernetes version; 1.33 is the one whose behaviour is followed.
fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": format!("v1.33.0+jumpstarter.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "",
        "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn group() -> Value {
    let version = json!({ "groupVersion": API_VERSION, "version": VERSION });
    json!({ "kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version })
}

fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace", "apiVersion": "v1", "status": { "phase": "Active" },
        "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
    })
}

fn resources(group_version: &str, core: bool) -> Value {
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let mut resources = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_core() == core) {
        resources.push(json!({
            "name": kind.plural(), "singularName": kind.name().to_lowercase(), "namespaced": true,
            "kind": kind.name(), "verbs": verbs,
        }));
        if !core {
            resources.push(json!({
                "name": format!("{}/status", kind.plural()), "singularName": "", "namespaced": true,
                "kind": kind.name(), "verbs": ["get", "patch", "update"],
            }));
        }
    }
    if core {
        resources.push(json!({
            "name": "namespaces", "singularName": "namespace", "namespaced": false, "kind": "Namespace",
            "shortNames": ["ns"], "verbs": ["get", "list"],
        }));
    }
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources })
}
