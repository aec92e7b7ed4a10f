//! Hooks of our exporter, with the released client: what it is shown, and each way to end.

use std::{fs, path::Path, time::Duration};

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{ExporterSetup, Lab, MINUTE, eventually, jmp::Release};

/// Hooks that write a line each, use the devices with the released `j`, then end with the given codes.
fn hooks(journal: &Path, before: (u8, &str), after: (u8, &str)) -> String {
    let j = NEWEST.find().unwrap().program("j");
    let hook = |word: &str, (code, on_failure): (u8, &str)| {
        format!(
            "{word}Lease:\n  onFailure: {on_failure}\n  timeout: 60\n  script: |\n    echo {word} $CLIENT_NAME >> {}\n    \
             echo hello from {word}\n    test -t 1 && {} power on && echo {word} used the devices\n    exit {code}\n",
            journal.display(),
            j.display()
        )
    };
    format!("{}{}", hook("before", before), hook("after", after))
}

/// The same without a program that takes its time.
fn quick_hooks(journal: &Path, before: (u8, &str), after: (u8, &str)) -> String {
    let hook = |word: &str, (code, on_failure): (u8, &str)| {
        format!(
            "{word}Lease: {{ onFailure: {on_failure}, timeout: 60, script: \"echo {word} >> {}; exit {code}\" }}\n",
            journal.display()
        )
    };
    format!("{}{}", hook("before", before), hook("after", after))
}

fn setup(name: &str, hooks: &str) -> ExporterSetup {
    ExporterSetup::new(name).release(Release::Rust).hooks(hooks)
}

fn lines(journal: &Path) -> Vec<String> {
    fs::read_to_string(journal).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn hooks_surround_the_session_whatever_ends_it() {
    let lab = Lab::start();
    let journal = lab.sandbox.path().join("journal");
    let mut dut = lab.exporter(setup("dut", &hooks(&journal, (0, "warn"), (0, "warn"))));
    let alice = lab.client("alice");
    let script = format!("echo session >> {}", journal.display());

    // Ended by its client, who sees what both hooks write and reach.
    let done = alice.run(&["shell", "-l", "name=dut", "--", "sh", "-c", &script]).ok();
    done.says("afterLease hook completed")
        .says("hello from before")
        .says("before used the devices")
        .says("hello from after")
        .says("after used the devices")
        .never_says("Warning:");
    assert_eq!(lines(&journal), ["before alice", "session", "after alice"]);
    lab.await_available(&mut dut);

    // Killed client: its lease goes on until it is deleted, and then the tear-down runs, once.
    fs::remove_file(&journal).unwrap();
    let lease = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok();
    let mut killed = alice.start(&["shell", "--lease", lease.text(), "--", "sh", "-c", "echo up; exec sleep 600"]);
    killed.wait_line("up");
    killed.kill_tree();
    alice.run(&["delete", "leases", lease.text()]).ok();
    eventually("the afterLease hook", MINUTE, || (lines(&journal).len() == 2).then_some(()));
    lab.await_available(&mut dut);
    assert_eq!(lines(&journal), ["before alice", "after alice"]);

    // A stop in the middle of a session: the tear-down runs before the exporter leaves, in good order.
    fs::remove_file(&journal).unwrap();
    let lease = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok();
    alice.run(&["shell", "--lease", lease.text(), "--", "true"]).ok();
    dut.process().signal(rustix::process::Signal::TERM);
    let status = dut.process().wait(MINUTE);
    assert!(status.success(), "{status}\n{}", dut.process().output());
    assert_eq!(lines(&journal), ["before alice", "after alice"]);
}

#[test]
fn failing_hooks_do_what_they_are_told_to() {
    let lab = Lab::start();
    let alice = lab.client("alice");
    let start = |name: &str, before, after| {
        let journal = lab.sandbox.path().join(name);
        let exporter = lab.exporter(setup(name, &quick_hooks(&journal, before, after)));
        (exporter, journal)
    };
    let shell = |name: &str| alice.run(&["shell", "-n", name, "--", "echo", "in the session"]);

    let (mut warn, journal) = start("warn", (3, "warn"), (4, "warn"));
    let done = shell("warn").ok().says("in the session");
    assert_eq!(done.stdout.matches("Warning:").count(), 2, "{}", done.report());
    assert_eq!(lines(&journal), ["before", "after"]);
    lab.await_available(&mut warn);

    // The lease ends before the session, without an afterLease hook, and the device can be had again.
    let (mut early, journal) = start("before-ends", (3, "endLease"), (0, "warn"));
    shell("before-ends").code(1).never_says("in the session");
    lab.await_available(&mut early);
    assert_eq!(lines(&journal), ["before"]);

    let (mut late, journal) = start("after-ends", (0, "warn"), (4, "endLease"));
    shell("after-ends").code(1).says("in the session").says("afterLease hook failed (on_failure=endLease)");
    lab.await_available(&mut late);
    assert_eq!(lines(&journal), ["before", "after"]);

    // The exporter leaves with a code that says so, and its client learns why.
    let (mut early, _) = start("before-exits", (3, "exit"), (0, "warn"));
    shell("before-exits").code(1).never_says("in the session");
    let (mut late, _) = start("after-exits", (0, "warn"), (4, "exit"));
    shell("after-exits").code(1).says("in the session").says("afterLease hook failed (on_failure=exit, shutting down)");
    for gone in [&mut early, &mut late] {
        assert_eq!(gone.process().wait(MINUTE).code(), Some(1), "{}", gone.process().output());
        lab.await_online(gone.name(), false);
    }
    alice.until("the end of every lease", &["get", "leases"], |done| done.stdout.contains("No resources found."));
}

/// Longer than the 20 s within which a released client's connection must have been answered; and one that never ends.
#[test]
fn long_hooks_run_once_and_endless_ones_are_ended() {
    let lab = Lab::start();
    let journal = lab.sandbox.path().join("journal");
    let long = format!(
        "beforeLease:\n  script: |\n    echo begin >> {0}\n    sleep 25\n    echo end >> {0}\n",
        journal.display()
    );
    let _dut = lab.exporter(setup("dut", &long));
    let endless =
        "beforeLease: { timeout: 2, onFailure: endLease, script: \"trap '' TERM; sleep 600 & wait; wait\" }\n";
    let mut hung = lab.exporter(setup("hung", endless));
    let alice = lab.client("alice");
    let bob = lab.client("bob");

    let mut refused = bob.start(&["shell", "-n", "hung", "--", "echo", "in the session"]);
    let script = format!("echo session >> {}; j power on", journal.display());
    let done = alice.run(&["shell", "-l", "name=dut", "--", "sh", "-c", &script]).ok();
    assert_eq!(lines(&journal), ["begin", "end", "session"], "{}", done.report());
    assert!(done.took < Duration::from_secs(90), "{}", done.report());
    done.never_says("unreachable").never_says("retrying");

    assert_eq!(refused.wait(MINUTE).code(), Some(1), "{}", refused.output());
    assert!(!refused.output().contains("in the session"), "{}", refused.output());
    lab.await_available(&mut hung);
    assert!(hung.process().output().contains("Hook timed out after 2 seconds"), "{}", hung.process().output());
}

#[test]
fn a_session_and_its_hooks_survive_a_restart_of_the_service() {
    let mut lab = Lab::start();
    let journal = lab.sandbox.path().join("journal");
    let mut dut = lab.exporter(setup("dut", &quick_hooks(&journal, (0, "warn"), (0, "warn"))));
    let alice = lab.client("alice");
    let lease = alice.run(&["create", "lease", "-l", "name=dut", "--duration", "1h", "-o", "name"]).ok();
    alice.run(&["shell", "--lease", lease.text(), "--", "j", "power", "on"]).ok();
    lab.service.kill();
    lab.service.up();
    alice.run(&["shell", "--lease", lease.text(), "--", "j", "power", "on"]).ok();
    assert_eq!(lines(&journal), ["before"], "one session, before and after");
    alice.run(&["delete", "leases", lease.text()]).ok();
    lab.await_available(&mut dut);
    assert_eq!(lines(&journal), ["before", "after"]);
}
