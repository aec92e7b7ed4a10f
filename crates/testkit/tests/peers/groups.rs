//! Several devices at once, as released clients use them.

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually, jmp::Release};

#[test]
fn a_released_client_uses_a_lease_of_a_group_by_its_name() {
    let lab = Lab::start();
    let _duts = ["left", "right"].map(|name| lab.exporter(ExporterSetup::new(name)));
    let released = lab.client("alice");
    let ours = released.with(Release::Rust);
    let both = ["create", "lease-group", "pair", "-l", "name=left", "-l", "name=right"];
    let names = ours.run(&[&both[..], &["--duration", "10m", "--wait", "-o", "name"]].concat());
    assert_eq!(names.ok().text().lines().collect::<Vec<_>>(), ["pair-0", "pair-1"]);

    // What can never be served is refused at once, and the command says so.
    let twice = ["create", "lease-group", "twice", "-l", "name=left", "-l", "name=left", "--duration", "10m"];
    let refused = ours.run(&twice).code(1);
    assert!(
        refused.stderr.contains("2 leases of the group need name=left") && refused.stdout.is_empty(),
        "{}",
        refused.report()
    );

    let shell = released.run(&["shell", "--lease", "pair-1", "--", "j", "power", "on"]);
    let _ = shell.ok();
    // Leaving a shell in a lease that was there before does not give it back.
    assert_eq!(lab.observer().lease("pair-1").unwrap().effective_end_time, None);

    let _ = ours.run(&["delete", "leases", "--group", "pair"]).ok();
    for name in ["pair-0", "pair-1"] {
        eventually("the end", MINUTE, || lab.observer().lease(name).ok()?.effective_end_time);
    }
}
