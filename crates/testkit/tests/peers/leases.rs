//! The life of a lease around a running shell: its end, its extension, its transfer, its begin.

use std::time::Duration;

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually};

#[test]
fn a_lease_ends_under_a_shell_unless_it_is_extended() {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");

    // The end: the shell is hung up, and that is no error.
    let args =
        ["shell", "-l", "name=dut", "--duration", "6s", "--", "sh", "-c", "echo started; sleep 60; echo survived"];
    let done = alice.run(&args).says("started").never_says("survived").never_says("Error");
    assert!(done.took < Duration::from_secs(25), "{}", done.report());

    // The extension: the same shell outlives its first end.
    let script = r#"jmp update lease "$JMP_LEASE" --duration 1h -o name && sleep 12 && j power on && echo survived"#;
    let args = ["shell", "-l", "name=dut", "--duration", "9s", "--", "sh", "-c", script];
    alice.run(&args).ok().says("survived");

    // Release by the client's end: nothing is left.
    alice.run(&["get", "leases"]).ok().says("No resources found.");
}

#[test]
fn a_lease_is_transferred_and_the_old_owner_is_shut_out() {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let (alice, bob) = (lab.client("alice"), lab.client("bob"));

    let lease = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "10m", "-o", "name"]).ok();
    let lease = lease.text();
    alice.run(&["shell", "--lease", lease, "--", "j", "power", "on"]).ok();
    bob.run(&["shell", "--lease", lease, "--", "true"]).code(1).says("belongs to client 'alice'");
    alice.run(&["update", "lease", lease, "--to-client", "nobody"]).code(1);
    let moved = alice.run(&["update", "lease", lease, "--to-client", "bob", "-o", "json"]).ok().json();
    assert_eq!(moved["client"], "bob", "{moved}");
    alice.run(&["shell", "--lease", lease, "--", "true"]).code(1).says("belongs to client 'bob'");
    bob.run(&["shell", "--lease", lease, "--", "j", "power", "on"]).ok();
    // Only the new owner may give it back.
    alice.run(&["delete", "leases", lease]).code(1);
    bob.run(&["delete", "leases", lease]).ok();
}

#[test]
fn a_scheduled_lease_begins_and_ends_on_time() {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let begin = (jiff::Timestamp::now() + Duration::from_secs(12)).to_string();

    let args = ["create", "lease", "-l", "name=dut", "--begin-time", &begin, "--duration", "6s", "-o", "name"];
    let lease = alice.run(&args).ok();
    let lease = lease.text();
    let early = lab.observer().lease(lease).unwrap();
    assert_eq!(early.exporter, None, "not before its time: {early:?}");

    let held = eventually("the lease to begin", MINUTE, || {
        Some(lab.observer().lease(lease).unwrap()).filter(|lease| lease.exporter.is_some())
    });
    let (asked, begun) = (early.begin_time.unwrap(), held.effective_begin_time.unwrap());
    assert!((0..=2).contains(&(begun.seconds - asked.seconds)), "asked for {asked}, begun {begun}");

    let ended = eventually("the lease to end", MINUTE, || {
        Some(lab.observer().lease(lease).unwrap()).filter(|lease| lease.effective_end_time.is_some())
    });
    let end = ended.effective_end_time.unwrap();
    assert!((5..=8).contains(&(end.seconds - asked.seconds)), "asked for {asked} + 6 s, ended {end}");
}
