//! Devices that fail, as released exporters and clients live through it.

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually, jmp::Release};

/// A device that fails whatever is tried until it is mended, served by one release; another one is fine.
fn a_failing_device_is_kept_back_until_a_check_passes(release: Release) {
    let lab = Lab::start();
    let [journal, mended] = ["journal", "mended"].map(|name| lab.sandbox.path().join(name));
    let hook = format!(
        "beforeLease:\n  onFailure: endLease\n  timeout: 60\n  script: |\n    echo $CLIENT_NAME >> {}\n    test -e {}\n",
        journal.display(),
        mended.display()
    );
    let _bad = lab.exporter(ExporterSetup::new("bad").label("board", "x").hooks(&hook).release(release));
    let _good = lab.exporter(ExporterSetup::new("good").label("board", "x"));
    let alice = lab.client("alice");
    let status = || lab.admin(&["get", "exporter", "bad"]).ok().stdout.clone();

    for _ in 0..3 {
        assert!(!status().contains("Quarantined"));
        alice.run(&["shell", "-l", "name=bad", "--", "echo", "in the session"]).code(1).never_says("in the session");
    }
    eventually("the quarantine", MINUTE, || status().contains("Quarantined").then_some(()));
    // The one that was idle for longest would be `bad` again and again.
    for _ in 0..2 {
        let _ = alice.run(&["shell", "-l", "board=x", "--", "echo", "in the session"]).ok().says("in the session");
    }

    std::fs::write(&mended, "").unwrap();
    let _ = lab.admin(&["check", "bad"]).ok();
    eventually("the end of the quarantine", MINUTE, || (!status().contains("Quarantined")).then_some(()));
    // A hook can tell a check from a lease.
    let callers = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(callers.lines().collect::<Vec<_>>(), ["alice", "alice", "alice", "jumpstarter-maintenance"]);
    let _ = alice.run(&["shell", "-l", "name=bad", "--", "echo", "in the session"]).ok().says("in the session");
}

#[test]
fn a_failing_device_of_a_released_exporter_is_kept_back_until_a_check_passes() {
    a_failing_device_is_kept_back_until_a_check_passes(Release::newest());
}

#[test]
fn a_failing_device_of_our_exporter_is_kept_back_until_a_check_passes() {
    a_failing_device_is_kept_back_until_a_check_passes(Release::Rust);
}
