//! Hooks around a session: their order, their length, and each way to fail.

use std::{fs, path::Path, time::Duration};

use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually};

/// Hooks that write a line each, then end with the given codes.
fn hooks(journal: &Path, before: (u8, &str), after: (u8, &str)) -> String {
    let hook = |word: &str, (code, on_failure): (u8, &str)| {
        format!(
            "{word}Lease:\n  onFailure: {on_failure}\n  timeout: 60\n  script: |\n    echo {word} $CLIENT_NAME >> {}\n    j power on\n    exit {code}\n",
            journal.display()
        )
    };
    format!("{}{}", hook("before", before), hook("after", after))
}

fn lines(journal: &Path) -> Vec<String> {
    fs::read_to_string(journal).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn hooks_surround_the_session() {
    let lab = Lab::start();
    let journal = lab.sandbox.path().join("journal");
    let fine = hooks(&journal, (0, "warn"), (0, "warn"));
    let mut dut = lab.exporter(ExporterSetup::new("dut").hooks(&fine));
    let alice = lab.client("alice");

    let script = format!("echo session >> {}", journal.display());
    let done = alice.run(&["shell", "-l", "name=dut", "--", "sh", "-c", &script]).ok();
    done.says("afterLease hook completed").never_says("Warning:");
    assert_eq!(lines(&journal), ["before alice", "session", "after alice"]);

    // A lease that its client does not end: the hook runs when the service ends the lease.
    fs::remove_file(&journal).unwrap();
    let lease = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok();
    alice.run(&["shell", "--lease", lease.text(), "--", "sh", "-c", &script]).ok();
    assert_eq!(lines(&journal), ["before alice", "session"]);
    alice.run(&["delete", "leases", lease.text()]).ok();
    eventually("the afterLease hook", MINUTE, || (lines(&journal).len() == 3).then_some(()));
    lab.await_available(&mut dut);
}

#[test]
fn failing_hooks_do_what_they_are_told_to() {
    let lab = Lab::start();
    let alice = lab.client("alice");
    let start = |name: &str, before, after| {
        let journal = lab.sandbox.path().join(name);
        let exporter = lab.exporter(ExporterSetup::new(name).hooks(&hooks(&journal, before, after)));
        (exporter, journal)
    };
    let shell = |name: &str| alice.run(&["shell", "-n", name, "--", "echo", "in the session"]);

    // A warning: the session goes on, and is told.
    let (mut warn, journal) = start("warn", (3, "warn"), (4, "warn"));
    let done = shell("warn").ok().says("in the session");
    assert_eq!(done.stdout.matches("Warning:").count(), 2, "{}", done.report());
    assert_eq!(lines(&journal), ["before alice", "after alice"]);
    lab.await_available(&mut warn);

    // The lease ends before the session; no afterLease hook then.
    let (_early, journal) = start("before-ends", (3, "endLease"), (0, "warn"));
    shell("before-ends").code(1).never_says("in the session");
    assert_eq!(lines(&journal), ["before alice"]);
    shell("before-ends").code(1).never_says("in the session");

    // The lease ends after the session. Released exporters do not always say that they are available afterwards;
    // what counts is that the next client gets the device.
    let (_late, journal) = start("after-ends", (0, "warn"), (4, "endLease"));
    for _ in 0..2 {
        shell("after-ends").code(1).says("in the session");
    }
    assert_eq!(lines(&journal), ["before alice", "after alice", "before alice", "after alice"]);

    // The exporter leaves, and its client is not left hanging.
    let (mut early, _) = start("before-exits", (3, "exit"), (0, "warn"));
    shell("before-exits").code(1).never_says("in the session");
    // Here the released client misses the failure, and then asks a closed tunnel for five minutes; nothing that a
    // service does can end that.
    let (mut late, _) = start("after-exits", (0, "warn"), (4, "exit"));
    let mut session = alice.start(&["shell", "-n", "after-exits", "--", "echo", "in the session"]);
    session.wait_line("in the session");
    for gone in [&mut early, &mut late] {
        gone.process().wait(MINUTE);
        lab.await_online(gone.name(), false);
    }
    alice.until("the end of every lease", &["get", "leases"], |done| done.stdout.contains("No resources found."));
}

/// Longer than the 20 s within which a released client's connection must have been answered.
#[test]
fn a_long_before_lease_hook_runs_once_and_the_shell_waits() {
    let lab = Lab::start();
    let journal = lab.sandbox.path().join("journal");
    let hooks = format!(
        "beforeLease:\n  timeout: 120\n  script: |\n    echo begin >> {0}\n    sleep 25\n    echo end >> {0}\n",
        journal.display()
    );
    let _dut = lab.exporter(ExporterSetup::new("dut").hooks(&hooks));
    let alice = lab.client("alice");

    let script = format!("echo session >> {}; j power on", journal.display());
    let done = alice.run(&["shell", "-l", "name=dut", "--", "sh", "-c", &script]).ok();
    assert_eq!(lines(&journal), ["begin", "end", "session"], "{}", done.report());
    assert!(done.took < Duration::from_secs(50), "{}", done.report());
    done.never_says("unreachable").never_says("retrying");
}
