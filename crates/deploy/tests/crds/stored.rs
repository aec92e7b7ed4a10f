//! What the server fills in, drops and keeps, and that objects of older versions pass as they are.

use serde_json::{Value, json};

use crate::lab::{Lab, condition, object};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_are_filled_in() {
    let lab = Lab::new().await;
    let lease = lab
        .create("Lease", "l", &json!({ "clientRef": {}, "exporterRef": { "name": "rig" } }))
        .expect("a lease without a selector");
    assert_eq!(lease["spec"]["selector"], json!({}));
    assert_eq!(lease["spec"]["clientRef"], json!({ "name": "" }));
    for field in ["tags", "context", "duration", "beginTime", "release", "allowDisabled"] {
        assert_eq!(lease["spec"][field], Value::Null, "{field}");
    }
    assert_eq!(lab.create("Exporter", "e", &json!({})).expect("an exporter")["spec"], json!({ "enabled": true }));
    let disabled = lab.create("Exporter", "off", &json!({ "enabled": false })).expect("a disabled exporter");
    assert_eq!(disabled["spec"], json!({ "enabled": false }));
    let null = lab.create("Exporter", "null", &json!({ "enabled": null })).expect("an exporter");
    assert_eq!(null["spec"], json!({ "enabled": true }));
    assert_eq!(lab.create("Client", "c", &json!({})).expect("a client")["spec"], json!({}));
    let policy = lab.create("ExporterAccessPolicy", "p", &json!({ "policies": [{}] })).expect("a policy");
    assert_eq!(policy["spec"], json!({ "policies": [{}] }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_and_status_are_written_apart() {
    let lab = Lab::new().await;
    let spec = json!({ "clientRef": { "name": "alice" }, "exporterRef": { "name": "rig" } });
    for (kind, plural, spec, status) in [
        ("Client", "clients", json!({ "username": "dex:a" }), json!({ "endpoint": "x:1" })),
        ("Exporter", "exporters", json!({ "username": "dex:a" }), json!({ "endpoint": "x:1" })),
        ("Lease", "leases", spec, json!({ "ended": true })),
    ] {
        let mut object = object(kind, "a", &spec);
        object["status"] = status.clone();
        let mut created = lab.apply(&object).expect("an object with a status");
        assert_eq!(created["status"], Value::Null, "{kind}: a status through the main endpoint is dropped");

        let spec = created["spec"].clone();
        created["status"] = status.clone();
        let field = if kind == "Lease" { "duration" } else { "username" };
        created["spec"][field] = json!("9h");
        lab.replace_status(&created).expect("a status");
        let stored = lab.get(plural, "a");
        assert_eq!((&stored["spec"], &stored["status"]), (&spec, &status), "{kind}: a spec through /status is dropped");
        assert_eq!(stored["metadata"]["generation"], 1, "{kind}: a status is no new generation");

        let mut object = stored;
        object["status"] = if kind == "Lease" { json!({ "ended": false }) } else { json!({ "endpoint": "elsewhere" }) };
        lab.replace(&object).expect("an object");
        assert_eq!(lab.get(plural, "a")["status"], status, "{kind}: and does not change it");
    }
    let mut policy = object("ExporterAccessPolicy", "a", &json!({}));
    policy["status"] = json!({});
    lab.apply(&policy).expect("a policy with a status");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_older_versions_pass_unchanged() {
    let lab = Lab::new().await;
    // Fields that were never ours, or are not any more, are dropped rather than refused.
    let mut old = object("Exporter", "rig", &json!({}));
    old["spec"]["retired"] = json!("field");
    old["metadata"]["labels"] = json!({ "board": "x", "jumpstarter.dev/name": "rig" });
    let text = lab
        .server
        .kubectl_with(&["-n", &lab.namespace, "apply", "--validate=ignore", "-f", "-", "-o", "json"], &old.to_string());
    let applied: Value = serde_json::from_str(&text.expect("the old manifest")).expect("an object");
    assert_eq!(applied["spec"], json!({ "enabled": true }));

    // A status from before conditions, enabled and phases, and one with reasons that nobody knows.
    let mut stored = applied.clone();
    stored["status"] =
        json!({ "credential": { "name": "rig-exporter" }, "devices": [{ "uuid": "u" }], "endpoint": "a:1" });
    let stored = lab.replace_status(&stored).expect("an old status");
    assert_eq!(stored["status"]["devices"], json!([{ "uuid": "u" }]));
    let mut odd = stored;
    odd["status"]["conditions"] = json!([
        condition("Zzz", "Unknown", "Unheard:of,9_"),
        condition("Online", "True", "Seen"),
        condition("Zzz", "True", "A")
    ]);
    let odd = lab.replace_status(&odd).expect("unknown reasons");
    let types: Vec<&Value> =
        odd["status"]["conditions"].as_array().expect("a list").iter().map(|c| &c["type"]).collect();
    assert_eq!(types, ["Zzz", "Online", "Zzz"], "the list is kept as it was written");

    let lease = lab
        .apply(&object(
            "Lease",
            "l",
            &json!({ "clientRef": { "name": "a" }, "selector": { "matchLabels": { "b": "c" } } }),
        ))
        .expect("a lease");
    let again = lab.apply(&object("Lease", "l", &lease["spec"])).expect("the same lease");
    assert_eq!(again["metadata"]["generation"], lease["metadata"]["generation"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_maps_merge_as_they_always_did() {
    let lab = Lab::new().await;
    let spec = json!({ "clientRef": { "name": "a" }, "selector": { "matchLabels": { "a": "1" } } });
    lab.create("Lease", "l", &spec).expect("a lease");
    let apply = |manager: &str, spec: Value| {
        let args = [
            "-n",
            &lab.namespace,
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            manager,
            "-f",
            "-",
        ];
        lab.server.kubectl_with(&args, &object("Lease", "l", &spec).to_string()).expect("an applied lease");
        lab.get("leases", "l")
    };
    // A selector is one thing: another writer replaces it whole.
    let stored = apply("second", json!({ "clientRef": { "name": "a" }, "selector": { "matchLabels": { "b": "2" } } }));
    assert_eq!(stored["spec"]["selector"], json!({ "matchLabels": { "b": "2" } }));
    // So is the list of conditions: it has no keys.
    let mut lease = lab.get("leases", "l");
    lease["status"] = json!({ "ended": false, "conditions": [condition("Pending", "True", "Offline")] });
    let mut lease = lab.replace_status(&lease).expect("a status");
    lease["metadata"].as_object_mut().expect("metadata").retain(|key, _| key == "name");
    lease["status"] = json!({ "ended": false, "conditions": [condition("Ready", "True", "Ready")] });
    let args = [
        "-n",
        &lab.namespace,
        "apply",
        "--server-side",
        "--force-conflicts",
        "--subresource=status",
        "--field-manager",
        "third",
        "-f",
        "-",
    ];
    lab.server.kubectl_with(&args, &lease.to_string()).expect("an applied status");
    let conditions = lab.get("leases", "l")["status"]["conditions"].clone();
    assert_eq!(conditions, json!([condition("Ready", "True", "Ready")]));
}
