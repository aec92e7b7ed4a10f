//! The definitions themselves, applied to a server that has some already.

use jumpstarter_deploy::{deploy, objects};
use jumpstarter_kube_testkit::ApiServer;
use serde_json::{Value, json};

/// One stream of the committed files.
fn committed() -> String {
    let names = ["clients", "exporters", "exporteraccesspolicies", "leases", "leasequotas", "maintenancewindows"];
    names.map(|name| std::fs::read_to_string(deploy(&format!("crds/{name}.yaml"))).expect("a definition")).join("---\n")
}

fn apply(server: &ApiServer, text: &str) -> Result<String, String> {
    server.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], text)
}

fn definition(server: &ApiServer, name: &str) -> Value {
    serde_json::from_str(&server.kubectl(&["get", "crd", name, "-o", "json"])).expect("a definition")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_over_themselves_nothing_changes() {
    let server = ApiServer::start().await;
    apply(&server, &committed()).expect("the definitions over those of the program");
    let before = definition(&server, "leases.jumpstarter.dev");
    apply(&server, &committed()).expect("the definitions over themselves");
    let after = definition(&server, "leases.jumpstarter.dev");
    assert_eq!(before["metadata"]["generation"], after["metadata"]["generation"]);
    assert_eq!(after["spec"]["names"]["listKind"], "LeaseList");
    for object in objects(&committed()) {
        let stored = definition(&server, object["metadata"]["name"].as_str().expect("a name"));
        let schema = |object: &Value| object["spec"]["versions"][0]["schema"].clone();
        assert_eq!(numbers(schema(&stored)), numbers(schema(&object)), "the server changed a schema");
        let conditions = stored["status"]["conditions"].as_array().expect("conditions").clone();
        assert!(
            !conditions.iter().any(|condition| condition["type"] == "NonStructuralSchema"),
            "{}: {conditions:?}",
            stored["metadata"]["name"]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_over_others_objects_live_on() {
    let server = ApiServer::start().await;
    // As another tool writes it: the same meaning in other words, older by some fields, with an annotation of its own.
    let mut foreign = definition(&server, "leases.jumpstarter.dev");
    let keep = json!({ "name": "leases.jumpstarter.dev", "annotations": { "controller-gen.kubebuilder.io/version": "v0.18.0" } });
    foreign["metadata"] = keep;
    foreign.as_object_mut().expect("an object").remove("status");
    let version = &mut foreign["spec"]["versions"][0];
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"]
        .as_object_mut()
        .expect("properties")
        .retain(|name, _| name != "context" && name != "allowDisabled");
    spec["x-kubernetes-validations"] = json!([{
        "message": "one of selector or exporterRef.name is required",
        "rule": "has(self.selector.matchLabels) || has(self.exporterRef)",
    }]);
    server.kubectl_with(&["replace", "-f", "-"], &foreign.to_string()).expect("the foreign definition");
    let namespace = server.namespace("crds").await;
    let lease = json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease", "metadata": { "name": "old" },
        "spec": { "clientRef": { "name": "a" }, "exporterRef": { "name": "rig" }, "tags": { "run": "7" } },
    });
    server.kubectl_with(&["-n", &namespace, "create", "-f", "-"], &lease.to_string()).expect("an old lease");

    apply(&server, &committed()).expect("our definitions over the foreign ones");
    let stored: Value = serde_json::from_str(&server.kubectl(&[
        "-n",
        &namespace,
        "get",
        "leases.jumpstarter.dev",
        "old",
        "-o",
        "json",
    ]))
    .expect("a lease");
    assert_eq!(stored["spec"]["tags"], json!({ "run": "7" }));
    let ours = definition(&server, "leases.jumpstarter.dev");
    let rules =
        &ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"];
    assert_eq!(rules.as_array().map(Vec::len), Some(4), "{rules}");
    assert_eq!(ours["metadata"]["annotations"]["controller-gen.kubebuilder.io/version"], "v0.18.0");
}

/// `0.0` and `0` are the same bound.
fn numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(list) => list.into_iter().map(numbers).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, numbers(value))).collect(),
        other => other,
    }
}
