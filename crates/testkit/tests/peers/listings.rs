//! What people see of exporters and leases, in every format.

use jumpstarter_testkit::{ExporterSetup, Lab};
use serde_json::{Value, json};

#[test]
fn exporters_and_leases_are_listed_in_every_format() {
    let lab = Lab::start();
    let alice = lab.client("alice");
    let bob = lab.client("bob");

    alice.run(&["get", "exporters"]).ok().says("No resources found.");
    alice.run(&["get", "leases"]).ok().says("No resources found.");
    let _dut = lab.exporter(ExporterSetup::new("dut").label("board", "qemu"));

    exporters(&alice, lab.namespace());
    let lease = create(&alice, lab.namespace());
    leases(&alice, &lease);
    others_see_it(&bob, &lease);
    deleted(&alice, &lease);
}

#[track_caller]
pub(crate) fn exporters(alice: &jumpstarter_testkit::Jmp, namespace: &str) {
    let table = alice.run(&["get", "exporters", "--with", "online,status"]).ok();
    let words: Vec<&str> = table.text().split_whitespace().collect();
    assert_eq!(words[..4], ["NAME", "ONLINE", "STATUS", "LABELS"], "{}", table.report());
    assert_eq!(words[4..7], ["dut", "yes", "AVAILABLE"], "{}", table.report());
    assert!(words[7].contains("board=qemu"), "{}", table.report());

    let listed = alice.run(&["get", "exporters", "--with", "online,status", "-o", "json"]).ok().json();
    let exporter = &listed["exporters"][0];
    assert_eq!(listed["exporters"].as_array().unwrap().len(), 1, "{listed}");
    for (key, wanted) in [
        ("namespace", json!(namespace)),
        ("name", json!("dut")),
        ("online", json!(true)),
        // The number of the phase, as released clients print it.
        ("status", json!(2)),
    ] {
        assert_eq!(exporter[key], wanted, "{key} of {listed}");
    }
    assert_eq!(exporter["labels"]["board"], "qemu", "{listed}");

    alice.run(&["get", "exporters", "-o", "yaml"]).ok().says("name: dut").says("board: qemu");
    assert_eq!(alice.run(&["get", "exporters", "-o", "name"]).ok().text(), "dut");
    for (selector, found) in [
        ("board=qemu", true),
        ("board in (qemu,rpi)", true),
        ("board notin (rpi)", true),
        ("board!=qemu", false),
        ("!board", false),
    ] {
        let names = alice.run(&["get", "exporters", "-l", selector, "-o", "name"]).ok();
        assert_eq!(names.text() == "dut", found, "{selector}\n{}", names.report());
    }
}

#[track_caller]
pub(crate) fn create(alice: &jumpstarter_testkit::Jmp, namespace: &str) -> String {
    let args = ["create", "lease", "-l", "board=qemu", "--duration", "10m", "--tag", "build=7", "-o", "json"];
    let lease = alice.run(&args).ok().json();
    for (key, wanted) in [
        ("namespace", json!(namespace)),
        ("selector", json!("board=qemu")),
        ("client", json!("alice")),
        ("duration", json!(600.0)),
        ("tags", json!({"build": "7"})),
        ("effective_end_time", Value::Null),
    ] {
        assert_eq!(lease[key], wanted, "{key} of {lease}");
    }
    lease["name"].as_str().unwrap().to_owned()
}

#[track_caller]
pub(crate) fn leases(alice: &jumpstarter_testkit::Jmp, name: &str) {
    alice.until("the lease held", &["get", "leases", "-o", "json"], |done| {
        done.json()["leases"][0]["exporter"] == "dut"
    });
    let listed = alice.run(&["get", "leases", "-o", "json"]).ok().json();
    let lease = &listed["leases"][0];
    assert_eq!(lease["name"], name, "{listed}");
    let last = lease["conditions"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["type"], &last["status"]), (&json!("Ready"), &json!("True")), "Ready comes last: {listed}");
    assert!(last["observedGeneration"].is_string() || last.get("observedGeneration").is_none(), "{listed}");

    let table = alice.run(&["get", "leases"]).ok().says("EXPIRES AT").says("REMAINING").says("build=7");
    let row = table.stdout.lines().nth(1).unwrap_or_default();
    for word in [name, "board=qemu", "alice", "dut"] {
        assert!(row.contains(word), "`{word}` in\n{}", table.report());
    }
    assert_eq!(alice.run(&["get", "leases", "-o", "name"]).ok().text(), name);
    alice.run(&["get", "leases", "-o", "yaml"]).ok().says(&format!("name: {name}"));
    alice.run(&["get", "leases", "--tag-filter", "build=7", "-o", "name"]).ok().says(name);
    alice.run(&["get", "leases", "--tag-filter", "build=8"]).ok().says("No resources found.");
    alice.run(&["get", "leases", "-l", "board=qemu", "-o", "name"]).ok().says(name);
    alice.run(&["get", "leases", "-l", "board=rpi"]).ok().says("No resources found.");
    let with = alice.run(&["get", "exporters", "--with", "leases", "-o", "json"]).ok().json();
    assert_eq!(with["exporters"][0]["lease"]["name"], name, "{with}");
    alice.run(&["get", "exporters", "--with", "leases"]).ok().says("LEASED BY").says("alice");
}

#[track_caller]
pub(crate) fn others_see_it(bob: &jumpstarter_testkit::Jmp, name: &str) {
    bob.run(&["get", "leases"]).ok().says("No resources found.");
    bob.run(&["get", "leases", "-A", "-o", "name"]).ok().says(name);
    bob.run(&["delete", "leases", name]).code(1).says("permission denied");
    bob.run(&["update", "lease", name, "--duration", "1h"]).code(1).says("permission denied");
}

#[track_caller]
pub(crate) fn deleted(alice: &jumpstarter_testkit::Jmp, name: &str) {
    let updated = alice.run(&["update", "lease", name, "--duration", "20m", "-o", "json"]).ok().json();
    assert_eq!(updated["duration"], json!(1200.0), "{updated}");
    alice.run(&["delete", "leases", name]).ok().says(&format!("lease \"{name}\" deleted"));
    alice.run(&["get", "leases"]).ok().says("No resources found.");
    let ended = alice.run(&["get", "leases", "--all", "-o", "json"]).ok().json();
    assert_eq!(ended["leases"][0]["name"], name, "{ended}");
    assert!(ended["leases"][0]["effective_end_time"].is_string(), "{ended}");
}
