//! What `kubectl get` prints.

use serde_json::json;

use crate::lab::{Lab, condition, object};

/// The table without the age, each run of spaces as one bar.
fn table(text: &str) -> Vec<String> {
    let bars = |line: &str| {
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        cells.join("|")
    };
    text.lines().map(bars).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_has_its_columns() {
    let lab = Lab::new().await;
    let mut client = lab.create("Client", "alice", &json!({})).expect("a client");
    client["status"] = json!({ "tokenExpiresAt": "2031-01-02T03:04:05Z" });
    lab.replace_status(&client).expect("its status");
    let mut exporter = lab.create("Exporter", "rig", &json!({ "enabled": false })).expect("an exporter");
    exporter["status"] = json!({ "exporterStatus": "LeaseReady", "statusMessage": "in use" });
    lab.replace_status(&exporter).expect("its status");
    let spec = json!({ "clientRef": { "name": "alice" }, "exporterRef": { "name": "rig" } });
    let mut lease = lab.create("Lease", "0198", &spec).expect("a lease");
    lease["status"] = json!({ "ended": false, "exporterRef": { "name": "rig" } });
    lab.replace_status(&lease).expect("its status");
    lab.apply(&object("ExporterAccessPolicy", "all", &json!({}))).expect("a policy");

    let window = json!({ "exporters": ["rig"], "schedule": "whenever", "duration": "1h" });
    let mut window = lab.create("MaintenanceWindow", "night", &window).expect("a window");
    let mut told = condition("Invalid", "True", "BadSchedule");
    told["message"] = json!("no schedule");
    window["status"] = json!({ "conditions": [told] });
    lab.replace_status(&window).expect("its status");

    let get = |what: &str, more: &[&str]| table(&lab.kubectl(&[&["get", what], more].concat()));
    assert_eq!(get("clients", &[]), ["NAME|TOKEN EXPIRES", "alice|2031-01-02T03:04:05Z"]);
    assert_eq!(get("exporters", &[]), ["NAME|ENABLED|STATUS", "rig|false|LeaseReady"]);
    assert_eq!(get("exporters", &["-o", "wide"]), ["NAME|ENABLED|STATUS|MESSAGE", "rig|false|LeaseReady|in use"]);
    // `leases` alone would be those of coordination.k8s.io.
    assert_eq!(get("leases.jumpstarter.dev", &[]), ["NAME|ENDED|CLIENT|EXPORTER", "0198|false|alice|rig"]);
    assert_eq!(
        get("maintenancewindows", &["-o", "wide"]),
        ["NAME|SCHEDULE|START|DURATION|INVALID|MESSAGE", "night|whenever|1h|True|no schedule"]
    );
    let policies = get("exporteraccesspolicies", &[]);
    assert_eq!(policies[0], "NAME|AGE");
    assert!(policies[1].starts_with("all|"), "{policies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_found_by_its_names() {
    let lab = Lab::new().await;
    let text = lab.server.kubectl(&["api-resources", "--api-group=jumpstarter.dev", "--no-headers", "-o", "wide"]);
    let mut found: Vec<String> =
        text.lines().map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "clients jumpstarter.dev/v1alpha1 true Client",
            "exporteraccesspolicies jumpstarter.dev/v1alpha1 true ExporterAccessPolicy",
            "exporters jumpstarter.dev/v1alpha1 true Exporter",
            "leasequotas jumpstarter.dev/v1alpha1 true LeaseQuota",
            "leases jumpstarter.dev/v1alpha1 true Lease",
            "maintenancewindows jumpstarter.dev/v1alpha1 true MaintenanceWindow",
        ]
    );
    let list =
        lab.kubectl(&["get", "--raw", &format!("/apis/jumpstarter.dev/v1alpha1/namespaces/{}/leases", lab.namespace)]);
    assert!(list.contains("\"kind\":\"LeaseList\""), "{list}");
}
