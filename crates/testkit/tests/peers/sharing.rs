//! Several clients, one device.

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually};

#[test]
fn clients_that_compete_get_the_device_one_after_the_other() {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let clients = [lab.client("alice"), lab.client("bob"), lab.client("carol")];
    let witness = lab.sandbox.path().join("witness");

    // Each leaves its mark and takes it away again; a second one at the same time would find it.
    let script =
        format!("mkdir {0} || exit 9; j power on || exit 8; sleep 1; rmdir {0}; echo finished", witness.display());
    let mut shells: Vec<_> =
        clients.iter().map(|client| client.start(&["shell", "-l", "name=dut", "--", "sh", "-c", &script])).collect();
    for shell in &mut shells {
        let status = shell.wait(3 * MINUTE);
        assert!(status.success(), "{status}\n{}", shell.output());
        assert_eq!(shell.count("finished"), 1, "{}", shell.output());
    }
}

#[test]
fn a_waiting_client_gets_the_device_when_it_is_given_back() {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let (alice, bob) = (lab.client("alice"), lab.client("bob"));

    let first = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok();
    let mut waiting = bob.start(&["shell", "-l", "name=dut", "--", "j", "power", "on"]);
    waiting.wait_line("Acquiring lease");
    let second = eventually("the second lease", MINUTE, || {
        let listed = bob.run(&["get", "leases", "-o", "json"]).ok().json();
        Some(listed["leases"].as_array()?.first()?["name"].as_str()?.to_owned())
    });
    let lease = lab.observer().lease(&second).unwrap();
    let pending = lease.conditions.iter().find(|condition| condition.r#type() == "Pending").unwrap();
    assert_eq!(pending.status(), "True", "{lease:?}");
    assert_eq!(lease.exporter, None, "{lease:?}");

    alice.run(&["delete", "leases", first.text()]).ok();
    let status = waiting.wait(MINUTE);
    assert!(status.success(), "{}", waiting.output());
    // A selector that no exporter matches is refused, in words.
    alice.run(&["shell", "-l", "name=other", "--", "true"]).code(1).says("cannot be satisfied");
}
