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

/// A check of our exporter's own fails, hangs, and passes at last; leases of users do without it.
#[test]
fn a_check_hook_of_our_exporter_decides_when_a_device_is_given_out_again() {
    let lab = Lab::start();
    let [journal, way] = ["journal", "way"].map(|name| lab.sandbox.path().join(name));
    std::fs::write(&way, "fails").unwrap();
    let hooks = format!(
        "beforeLease: {{ script: echo before $CLIENT_NAME >> {journal} }}\n\
         check:\n  timeout: 2\n  script: |\n    echo check $CLIENT_NAME >> {journal}\n    j power --help > /dev/null\n    \
         case $(cat {way}) in fails) echo no current; exit 1;; hangs) sleep 1000;; esac\n",
        journal = journal.display(),
        way = way.display(),
    );
    let rig = lab.exporter(ExporterSetup::new("rig").hooks(&hooks).release(Release::Rust));
    let _other = lab.exporter(ExporterSetup::new("other"));
    let alice = lab.client("alice");
    let status = || lab.admin(&["get", "exporter", "rig"]).ok().stdout.clone();
    let health = || lab.admin(&["get", "exporter", "rig", "-o", "yaml"]).ok().stdout.clone();
    let _ = alice.run(&["shell", "-l", "name=rig", "--", "echo", "in the session"]).ok().says("in the session");

    let _ = lab.admin(&["check", "rig"]).ok();
    eventually("the quarantine", MINUTE, || status().contains("CheckFailed").then_some(()));
    let first = status();
    assert!(health().contains("check hook failed"), "{}", health());

    // The next check comes when the quarantine is over, in an hour, unless somebody asks for it.
    std::fs::write(&way, "hangs").unwrap();
    let _ = lab.admin(&["check", "rig"]).ok();
    let longer = || (status().contains("CheckFailed") && until(&status()) > until(&first)).then_some(());
    eventually("a longer quarantine", MINUTE, longer);
    assert!(health().contains("timed out after 2 seconds"), "{}", health());

    std::fs::write(&way, "passes").unwrap();
    let _ = lab.admin(&["check", "rig"]).ok();
    eventually("the end of the quarantine", MINUTE, || (!status().contains("Quarantined")).then_some(()));
    let _ = alice.run(&["shell", "-l", "name=rig", "--", "echo", "in the session"]).ok().says("in the session");
    let calls = std::fs::read_to_string(&journal).unwrap();
    let checked = ["before jumpstarter-maintenance", "check jumpstarter-maintenance"];
    let mut expected = vec!["before alice"];
    (0..3).for_each(|_| expected.extend(checked));
    expected.push("before alice");
    assert_eq!(calls.lines().collect::<Vec<_>>(), expected);
    drop(rig);
}

/// The column UNTIL of the one exporter shown.
fn until(table: &str) -> &str {
    table.lines().nth(1).and_then(|row| row.split_whitespace().last()).unwrap_or_default()
}
