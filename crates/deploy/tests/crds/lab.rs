//! Objects as people write them, in a namespace of the shared server.

use jumpstarter_kube_testkit::ApiServer;
use serde_json::{Value, json};

/// A fresh namespace.
pub(crate) struct Lab {
    pub(crate) server: &'static ApiServer,
    pub(crate) namespace: String,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let server = ApiServer::shared().await;
        Self { server, namespace: server.namespace("crds").await }
    }

    /// Creates an object, as `kubectl create` does; what the server made of it, or what it said.
    pub(crate) fn create(&self, kind: &str, name: &str, spec: &Value) -> Result<Value, String> {
        self.send(&["create"], &object(kind, name, spec))
    }

    /// Replaces an object.
    pub(crate) fn replace(&self, object: &Value) -> Result<Value, String> {
        self.send(&["replace"], object)
    }

    /// Replaces the status of an object.
    pub(crate) fn replace_status(&self, object: &Value) -> Result<Value, String> {
        self.send(&["replace", "--subresource=status"], object)
    }

    /// Applies an object, as people do with what they have in Git.
    pub(crate) fn apply(&self, object: &Value) -> Result<Value, String> {
        self.send(&["apply"], object)
    }

    /// Reads an object.
    pub(crate) fn get(&self, plural: &str, name: &str) -> Value {
        let text = self.kubectl(&["get", &format!("{plural}.jumpstarter.dev"), name, "-o", "json"]);
        serde_json::from_str(&text).expect("an object")
    }

    /// Runs `kubectl` in the namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.server.kubectl(&[&["-n", self.namespace.as_str()], args].concat())
    }

    fn send(&self, verb: &[&str], object: &Value) -> Result<Value, String> {
        let args = [&["-n", self.namespace.as_str()], verb, &["-f", "-", "-o", "json"]].concat();
        let text = self.server.kubectl_with(&args, &object.to_string())?;
        Ok(serde_json::from_str(&text).expect("an object"))
    }
}

/// An object without a status.
pub(crate) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "jumpstarter.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// A condition with everything that is required.
pub(crate) fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": "",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    })
}
