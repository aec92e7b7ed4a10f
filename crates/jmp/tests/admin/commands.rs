//! Each command and what it prints.

use serde_json::{Value, json};

use crate::Bench;

#[test]
fn create_a_client_and_look_at_it() {
    let bench = Bench::new();
    assert_eq!(
        bench.admin("create client alice --nointeractive -l team=qa --label=x= --oidc-username dex:alice").ok(),
        "Creating client 'alice' in namespace 'default'\n\
         NAME   ENDPOINT            \n\
         alice  lab.example.com:8082\n"
    );
    let stored = bench.api.get("clients", "alice").unwrap();
    assert_eq!(stored["metadata"]["labels"], json!({ "team": "qa", "x": "" }));
    assert_eq!(stored["spec"], json!({ "username": "dex:alice" }));

    let shown: Value = serde_json::from_str(&bench.admin("get client alice -o json").ok()).unwrap();
    assert_eq!(
        shown["status"],
        json!({ "credential": { "name": "alice-client" }, "endpoint": "lab.example.com:8082" })
    );
    assert_eq!(bench.admin("get clients -o name").ok(), "client.jumpstarter.dev/alice\n");
    assert_eq!(bench.admin("g c --output=name alice").ok(), "client.jumpstarter.dev/alice\n");
    let yaml = bench.admin("get client alice -o yaml").ok();
    assert!(yaml.starts_with("apiVersion: jumpstarter.dev/v1alpha1\nkind: Client\nmetadata:\n"), "{yaml}");
    assert!(yaml.ends_with("\n\n"), "{yaml}");
}

#[test]
fn output_modes_of_create_print_the_object_alone() {
    let bench = Bench::new();
    assert_eq!(bench.admin("create client a --nointeractive -o name").ok(), "client.jumpstarter.dev/a\n");
    assert_eq!(
        bench.admin("create exporter e -l board=x --nointeractive -o name --save").ok(),
        "exporter.jumpstarter.dev/e\n"
    );
    let list: Value = serde_json::from_str(&bench.admin("get exporter -o json").ok()).unwrap();
    assert_eq!((list["kind"].as_str(), list["items"].as_array().map(Vec::len)), (Some("ExporterList"), Some(1)));
}

#[test]
fn nothing_to_show() {
    let bench = Bench::new();
    assert_eq!(bench.admin("get lease -n lab").ok(), "No resources found in lab namespace.\n");
    assert_eq!(bench.admin("get lease -o name").ok(), "");
    assert_eq!(bench.admin("list policies").ok(), "No resources found in default namespace.\n");
}

#[test]
fn exporters_and_their_devices() {
    let bench = Bench::new();
    bench.api.put_kind(
        "exporters",
        json!({
            "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter", "metadata": { "name": "rig" },
            "status": { "exporterStatus": "Available", "devices": [{ "uuid": "u-1", "labels": { "a": "b" } }] },
        }),
    );
    let table = bench.admin("get exporters").ok();
    assert!(table.starts_with("NAME  STATUS     ENDPOINT  DEVICES  AGE"), "{table}");
    let table = bench.admin("get exporter -d rig").ok();
    assert!(table.lines().nth(1).unwrap().contains("a:b") && table.contains("u-1"), "{table}");
}

#[test]
fn a_broken_lease_does_not_hide_the_others() {
    let bench = Bench::new();
    for (name, duration) in [("a", json!("30m0s")), ("b", json!("1 day")), ("c", json!(5))] {
        let spec = json!({ "clientRef": { "name": "alice" }, "duration": duration, "selector": {} });
        bench.api.put_kind("leases", json!({ "kind": "Lease", "metadata": { "name": name }, "spec": spec }));
    }
    let table = bench.admin("get leases").ok();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_eq!(
        bench.admin("get l -o name").ok(),
        "lease.jumpstarter.dev/a\nlease.jumpstarter.dev/b\nlease.jumpstarter.dev/c\n"
    );
}

#[test]
fn policies() {
    let bench = Bench::new();
    let done = bench.admin(
        "create policy qa --exporters board=x --clients team=qa --clients team=dev --priority -5 --maximum-duration 24h",
    );
    assert!(done.ok().contains("qa    board=x    1"));
    assert_eq!(
        bench.api.get("exporteraccesspolicies", "qa").unwrap()["spec"],
        json!({
            "exporterSelector": { "matchLabels": { "board": "x" } },
            "policies": [{
                "priority": -5,
                "maximumDuration": "24h0m0s",
                "from": [
                    { "clientSelector": { "matchLabels": { "team": "qa" } } },
                    { "clientSelector": { "matchLabels": { "team": "dev" } } },
                ],
            }],
        })
    );
    assert_eq!(bench.admin("get policy -o name").ok(), "exporteraccesspolicy.jumpstarter.dev/qa\n");
    assert_eq!(
        bench.admin("delete exporteraccesspolicy qa").ok(),
        "Deleted exporteraccesspolicy 'qa' in namespace 'default'\n"
    );
    assert!(bench.api.get("exporteraccesspolicies", "qa").is_none());
}

#[test]
fn what_accounts_use_is_counted_from_the_objects() {
    let bench = Bench::new();
    assert_eq!(bench.admin("get usage").ok(), "No quotas in default namespace.\n");
    for args in
        ["quota ci --account-label team --max-devices 5 --max-waiting 9", "quota none --exporters board=y --weight 3"]
    {
        bench.admin(&format!("create {args}")).ok();
    }
    assert_eq!(bench.admin("get usage").ok(), "No account uses anything.\n");
    let metadata = |name: &str, labels: Value| json!({ "name": name, "labels": labels });
    let alice = metadata("alice", json!({ "team": "ci" }));
    bench.api.put_kind("clients", json!({ "kind": "Client", "metadata": alice, "spec": {} }));
    let rig = metadata("rig", json!({ "board": "x" }));
    bench.api.put_kind("exporters", json!({ "kind": "Exporter", "metadata": rig, "spec": {} }));
    let put = |name: &str, duration: Value, status: Value| {
        let spec = json!({ "clientRef": { "name": "alice" }, "duration": duration, "selector": {} });
        let metadata = metadata(name, json!({}));
        bench.api.put_kind("leases", json!({ "kind": "Lease", "metadata": metadata, "spec": spec, "status": status }));
    };
    let held = json!({ "exporterRef": { "name": "rig" }, "beginTime": "2026-01-02T03:04:05Z", "ended": false });
    put("held", json!("30m"), held);
    put("waits", json!("30m"), Value::Null);
    put("broken", json!(5), Value::Null);
    let outcome = bench.admin("get usage ci");
    assert!(outcome.stderr.contains("lease broken cannot be read, and is left out"), "{}", outcome.stderr);
    assert_eq!(
        outcome.ok(),
        "QUOTA  ACCOUNT  DEVICES  DEVICE-TIME  WAITING  SHARE\n\
         ci     team=ci  1 of 5   -            1 of 9   -    \n"
    );
    let all: Value = serde_json::from_str(&bench.admin("get usage -o json").ok()).unwrap();
    let (first, other) = (&all["usage"][0], &all["usage"][1]);
    assert_eq!((&first["max_devices"], &first["weight"]), (&json!(5), &Value::Null));
    assert_eq!(
        (&other["account"], &other["devices"], &other["waiting"]),
        (&json!("client alice"), &json!(0), &json!(1))
    );
    assert!(bench.admin("get usage unknown").failed(1).contains("unknown"));
}

#[test]
fn quotas() {
    let bench = Bench::new();
    let done = bench.admin(
        "create quota ci --clients team=ci --exporters board=x --account-label team --max-devices 5 --max-device-time 40h \
         --period 168h --max-waiting 50 --weight 2",
    );
    let row = done.ok();
    assert!(row.contains("by team") && row.contains("40h0m0s in 168h0m0s"), "{row}");
    assert_eq!(
        bench.api.get("leasequotas", "ci").unwrap()["spec"],
        json!({
            "clientSelector": { "matchLabels": { "team": "ci" } },
            "exporterSelector": { "matchLabels": { "board": "x" } },
            "accountBy": "Label",
            "accountLabel": "team",
            "maxDevices": 5,
            "maxDeviceTime": "40h0m0s",
            "period": "168h0m0s",
            "maxWaiting": 50,
            "weight": 2,
        })
    );
    bench.admin("create quota all --together --max-devices 9").ok();
    assert_eq!(bench.api.get("leasequotas", "all").unwrap()["spec"], json!({ "accountBy": "All", "maxDevices": 9 }));
    let refused = bench.admin("create quota nothing").failed(2);
    assert!(refused.contains("one of maxDevices, maxDeviceTime, maxWaiting and weight is required"), "{refused}");
}

#[test]
fn errors_of_the_server() {
    let bench = Bench::new();
    assert!(bench.admin("get client nobody").failed(1).starts_with("Error: Error from server (NotFound): "));
    bench.admin("create client a --nointeractive").ok();
    assert_eq!(
        bench.admin("create client a --nointeractive").failed(1),
        "Error: Error from server (AlreadyExists): clients \"a\" already exists\n"
    );
    assert!(bench.admin("delete client nobody --nointeractive").failed(1).contains("(NotFound)"));
}

#[test]
fn manifests() {
    let bench = Bench::new();
    let manifest = "\
apiVersion: jumpstarter.dev/v1alpha1
kind: Client
metadata: {name: alice, labels: {team: qa, sure: y, power: on}}
spec: {username: dex:alice}
---
apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterAccessPolicy
metadata: {name: p, namespace: default, resourceVersion: '3'}
spec: {policies: [{from: [{clientSelector: {}}]}]}
status: {}
";
    let applied = |words: [&str; 2]| {
        format!("client.jumpstarter.dev/alice {}\nexporteraccesspolicy.jumpstarter.dev/p {}\n", words[0], words[1])
    };
    assert_eq!(bench.admin_with("apply -f -", manifest).ok(), applied(["created", "created"]));
    assert_eq!(bench.admin_with("apply -f -", manifest).ok(), applied(["unchanged", "unchanged"]));
    let changed = manifest.replace("team: qa", "site: b").replace("sure: y", "sure: n");
    assert_eq!(bench.admin_with("apply -f -", &changed).ok(), applied(["configured", "unchanged"]));
    let labels = &bench.api.get("clients", "alice").unwrap()["metadata"]["labels"];
    assert_eq!(*labels, json!({ "team": "qa", "site": "b", "sure": "n", "power": "on" }));

    let shown = bench.admin("get policy p -o yaml").ok();
    assert!(shown.contains("clientSelector: {}"), "{shown}");

    std::fs::write(bench.path("bad.yaml"), "kind: Pod\nmetadata: {name: x}\n").unwrap();
    let error = bench.admin("apply -f bad.yaml").failed(1);
    assert!(error.contains("`Pod` of `` cannot be applied"), "{error}");
    let elsewhere = manifest.replace("namespace: default", "namespace: other");
    let error = bench.admin_with("apply -f -", &elsewhere).failed(1);
    assert!(error.contains("give -n other"), "{error}");
}

#[test]
fn a_cluster_behind_a_kubeconfig() {
    let bench = Bench::new();
    std::fs::write(bench.path("kubeconfig"), bench.api.kubeconfig().to_string()).unwrap();
    let run = |line: &str| bench.run(&line.split_whitespace().collect::<Vec<_>>(), None, "");
    let flags = "--kubeconfig kubeconfig --context lab";
    let created = run(&format!("admin create client alice {flags} --unsafe --out c.yaml -o name"));
    assert_eq!(created.ok(), "client.jumpstarter.dev/alice\n");
    assert!(std::fs::read_to_string(bench.path("c.yaml")).unwrap().contains("token: token-1"));
    // Flags win over a data directory in the environment.
    assert_eq!(bench.admin(&format!("get client -o name {flags}")).ok(), "client.jumpstarter.dev/alice\n");

    let error = run("admin get client --kubeconfig kubeconfig").failed(1);
    assert!(error.starts_with("Error: The service cannot be reached: ") && error.contains("refused"), "{error}");
    let error = run("admin get client --kubeconfig kubeconfig --context other").failed(1);
    assert!(error.contains("other"), "{error}");
    std::fs::write(bench.path("broken"), "clusters: {").unwrap();
    run("admin get client --kubeconfig broken").failed(1);
}
