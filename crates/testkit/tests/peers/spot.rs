//! Spot leases, as released clients live through them.

use jumpstarter_testkit::{ExporterSetup, Jmp, Lab, MINUTE, eventually, jmp::Release};

/// A condition of a lease as `type/reason`, while it holds or no more.
fn told(lab: &Lab, lease: &str, kind: &str, status: &str) -> Option<String> {
    let lease = lab.observer().lease(lease).ok()?;
    let found = lease.conditions.iter().find(|found| found.r#type() == kind && found.status() == status)?;
    Some(found.reason().to_owned())
}

#[test]
fn a_spot_lease_makes_way_after_a_notice_and_its_shell_ends() {
    let lab = Lab::with_flags(&["--preemption-grace", "5s"]);
    let dut = ["--exporters", "name=dut", "--clients"];
    let policy = |name: &str, more: &[&str]| {
        let args = [&["create", "policy", name][..], &dut, more].concat();
        let _ = lab.admin(&args).ok();
    };
    policy("everybody", &["", "--spot-access"]);
    policy("owners", &["team=owners", "--priority", "1"]);
    let _dut = lab.exporter(ExporterSetup::new("dut"));
    let alice = lab.client("alice");
    let config = lab.sandbox.path().join("bob.yaml");
    let bob = ["create", "client", "bob", "--unsafe", "--nointeractive", "--label", "team=owners", "--out"];
    let _ = lab.admin(&[&bob[..], &[config.to_str().unwrap()]].concat()).ok();
    let bob = Jmp::new(&lab.sandbox, Release::newest(), "bob", &config);

    // Whoever has no better access works as ever while nobody else wants the device.
    let script = "j power on && echo working; trap 'echo hung up; exit 7' HUP; while :; do sleep 1; done";
    let mut shell = alice.start(&["shell", "-l", "name=dut", "--duration", "1h", "--", "sh", "-c", script]);
    shell.wait_line("working");
    let spot = alice.run(&["get", "leases", "-o", "name"]).ok().text().to_owned();

    // Somebody with full access comes: notice, grace, end; then the device is theirs.
    let mut owner = bob.start(&["shell", "-l", "name=dut", "--", "j", "power", "cycle"]);
    eventually("the notice", MINUTE, || {
        told(&lab, &spot, "Preempting", "True").filter(|why| why == "PreemptionNotice")
    });
    eventually("the end", MINUTE, || told(&lab, &spot, "Ready", "False").filter(|why| why == "Preempted"));
    let ended = owner.wait(MINUTE);
    assert!(ended.success(), "{ended}\n{}", owner.output());
    // The released client looks at its lease twice a minute, and hangs up on its shell when it is over.
    let ended = shell.wait(2 * MINUTE);
    assert_eq!(ended.code(), Some(7), "{}", shell.output());
    assert_eq!(shell.count("hung up"), 1, "{}", shell.output());
}
