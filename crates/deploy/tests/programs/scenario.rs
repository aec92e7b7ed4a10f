//! The controller under the chart's Role: what it asks of the API server is what the Role grants, no more and no less.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use jumpstarter_kube_testkit::{ApiServer, FaultProxy, Options, Rule, Then};
use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, Process, eventually};
use serde_json::{Value, json};

use crate::rules::{Right, granted, right};

/// What the bearer of the chart's Role has asked for.
fn asked(api: &ApiServer, namespace: &str) -> BTreeSet<Right> {
    let account = format!("system:serviceaccount:{namespace}:jumpstarter-controller-manager");
    let mut rights = BTreeSet::new();
    // The last line may be half written.
    for event in api.audit_log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if event["user"]["username"] != json!(account) {
            continue;
        }
        assert_ne!(event["responseStatus"]["code"], 403, "refused: {event}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let (group, resource) = (text(&object["apiGroup"]), text(&object["resource"]));
        // Discovery has no object, and everybody may ask for his own rights.
        if resource.is_empty() || group == "authorization.k8s.io" {
            continue;
        }
        let subresource = text(&object["subresource"]);
        let path = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        let verb = text(&event["verb"]);
        let asked = right(&verb, &group, &path);
        let lock = group == "coordination.k8s.io" && verb != "create";
        rights.insert(if lock { format!("{asked} [{}]", text(&object["name"])) } else { asked });
    }
    rights
}

/// The controller of a lab does everything that it ever does, and the log of the API server tells what it took.
#[test]
fn what_is_granted_is_what_is_asked() {
    let api: &'static ApiServer = Box::leak(Box::new(ApiServer::start_blocking(Options::default())));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let proxy = runtime.block_on(FaultProxy::start(api));
    let mut lab = Lab::in_cluster_through(api, &proxy.url(), 1);
    let namespace = lab.service.cluster().expect("a lab on Kubernetes").namespace().to_owned();
    let kubectl = |args: &[&str]| api.kubectl(&[&["-n", namespace.as_str()], args].concat());

    let mut dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "on"]).ok();

    // Somebody else was faster: what was to be written is read again.
    proxy.add(Rule::path("/apis/jumpstarter.dev/", Then::Status { code: 409, retry_after: None }).writes().times(1));
    lab.await_available(&mut dut);
    alice.run(&["shell", "-l", "name=dut", "--", "j", "power", "on"]).ok();

    // The same with what is written about a client.
    proxy.add(Rule::path("/clients/", Then::Status { code: 409, retry_after: None }).writes().times(1));
    let _ = lab.client_config("bob");

    // What an exporter said of itself earlier, and says no more, is removed.
    let _ = kubectl(&["label", "exporter", "dut", "jumpstarter.dev/stale=label"]);
    dut.kill();
    dut.up();
    lab.await_available(&mut dut);
    eventually("labels as reported", MINUTE, || {
        (!kubectl(&["get", "exporter", "dut", "--show-labels"]).contains("stale")).then_some(())
    });

    // A damaged credential is replaced.
    let token = || kubectl(&["get", "secret", "alice-client", "-o", "jsonpath={.data.token}"]);
    let _ =
        kubectl(&["patch", "secret", "alice-client", "--type=merge", "-p", r#"{"stringData":{"token":"damaged"}}"#]);
    eventually("a new token", MINUTE, || (token() != "ZGFtYWdlZA==").then_some(()));

    // The same complaint again and again becomes one Event with a count.
    let lease = json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Lease", "metadata": { "name": "poisoned" },
        "spec": { "clientRef": { "name": "alice" }, "exporterRef": { "name": "dut" }, "duration": "1 day" },
    });
    api.kubectl_with(&["-n", &namespace, "create", "-f", "-"], &lease.to_string())
        .expect("a lease that cannot be read");
    for turn in ["1", "2", "3"] {
        let _ = kubectl(&["annotate", "--overwrite", "leases.jumpstarter.dev", "poisoned", &format!("turn={turn}")]);
        eventually("a complaint", MINUTE, || {
            let text = kubectl(&["get", "events", "-o", "json"]);
            let events: Value = serde_json::from_str(&text).expect("events");
            let count: u64 = events["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|event| event["involvedObject"]["name"] == "poisoned")
                .map(|event| event["count"].as_u64().unwrap_or(1))
                .sum();
            (count >= turn.parse().expect("a number")).then_some(())
        });
    }
    let _ = kubectl(&["delete", "leases.jumpstarter.dev", "poisoned"]);

    // A window that makes no sense in a way that its definition cannot know says so.
    let window = json!({
        "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "MaintenanceWindow", "metadata": { "name": "never" },
        "spec": { "exporters": ["dut"], "schedule": "* * 99 * *", "duration": "1h" },
    });
    api.kubectl_with(&["-n", &namespace, "create", "-f", "-"], &window.to_string()).expect("a window of no day");
    eventually("a condition of the window", MINUTE, || {
        kubectl(&["get", "maintenancewindows", "never", "-o", "jsonpath={.status.conditions}"])
            .contains("Invalid")
            .then_some(())
    });

    // Ended leases go when their time has come.
    lab.service.stop();
    let mut command = lab.service.command();
    let token = kubectl(&["create", "token", "jumpstarter-controller-manager"]);
    command.arg("--lease-retention=1s").env("KUBECONFIG", api.kubeconfig(&lab.sandbox.dir("direct"), token.trim()));
    let mut controller = Process::start_with_stdin(&lab.sandbox, "short-memory", command);
    controller.wait_line("jumpstarter is ready");
    eventually("no ended leases", MINUTE * 2, || {
        kubectl(&["get", "leases.jumpstarter.dev", "-o", "name"]).is_empty().then_some(())
    });

    let granted = granted();
    // The log is written a little later than the answers; whatever is missing after that is named below.
    let until = Instant::now() + MINUTE;
    let asked = loop {
        let asked = asked(api, &namespace);
        if granted.is_subset(&asked) || Instant::now() > until {
            break asked;
        }
        sleep(Duration::from_millis(200));
    };
    assert_eq!(asked, granted, "left: asked for, right: granted");
}
