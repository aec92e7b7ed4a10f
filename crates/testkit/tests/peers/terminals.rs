//! Our `jmp` as a person has it: on a terminal, with keys, colours and windows that are closed.

use jumpstarter_testkit::{ExporterSetup, Jmp, Lab, Terminal, jmp::Release, terminal::CTRL_C};

/// The prompt of a leased shell, without its colours.
const PROMPT: &str = "⚡";

fn leases(client: &Jmp) -> String {
    client.run(&["get", "leases", "-o", "name"]).ok().text().to_owned()
}

/// An interactive shell of ours that reads no profile.
fn shell(client: &Jmp, args: &[&str]) -> Terminal {
    let mut command = client.command(&["shell"]);
    command.args(args).env("SHELL", "/bin/bash");
    client.command_on_terminal(&command)
}

#[test]
fn no_key_leaves_a_lease_behind() {
    let lab = Lab::start();
    let hooks = "beforeLease: { script: 'echo welcome aboard > $JMP_MOTD_FILE' }\nafterLease: { script: 'echo bye' }\n";
    let mut dut = lab.exporter(ExporterSetup::new("dut").hooks(hooks).release(Release::Rust));
    let alice = lab.client("alice").with(Release::Rust);
    let bob = lab.client("bob").with(Release::Rust);
    let held = bob.run(&["create", "lease", "-n", "dut", "--duration", "10m", "--wait", "-o", "name"]).ok();

    // While it waits: the spinner makes room for what is said, and the second Ctrl-C changes nothing.
    for args in [&["shell", "-n", "dut"][..], &["create", "lease", "-n", "dut", "--duration", "5m", "--wait"]] {
        let mut waiting = alice.on_terminal(args);
        waiting.wait_for("Waiting for lease: ");
        waiting.keys(CTRL_C);
        waiting.wait_for("SIGINT pressed, terminating");
        waiting.keys(CTRL_C);
        assert_eq!(waiting.wait().code(), Some(2), "{}", waiting.screen());
        let screen = waiting.screen();
        assert!(!screen.lines().any(|line| line.contains(")SIGINT") || line.contains("^CSIGINT")), "{screen}");
        assert_eq!(leases(&alice), "", "{args:?}");
    }
    bob.run(&["delete", "leases", held.text()]).ok();
    lab.await_available(&mut dut);

    // At the prompt Ctrl-C is the shell's, its exit code is ours, and the hook's line comes before the end.
    let mut at_prompt = shell(&alice, &["-n", "dut"]);
    let screen = at_prompt.wait_for(PROMPT);
    assert!(screen.contains("welcome aboard") && screen.contains("\x1b[97mdut"), "{screen}");
    at_prompt.keys(CTRL_C);
    at_prompt.wait_times(PROMPT, 2);
    at_prompt.keys("echo still $JMP_EXPORTER here; exit 7\n");
    at_prompt.wait_for("still dut here");
    assert_eq!(at_prompt.wait().code(), Some(7), "{}", at_prompt.screen());
    at_prompt.wait_for("[exporter:afterLease] bye");
    assert_eq!(leases(&alice), "");
    lab.await_available(&mut dut);

    // A command that takes its time over Ctrl-C is waited for, and ended when it is asked for again and again.
    let mut stubborn =
        alice.on_terminal(&["shell", "-n", "dut", "--", "sh", "-c", "trap '' INT TERM HUP; echo up; cat"]);
    stubborn.wait_for("up");
    stubborn.keys(CTRL_C);
    stubborn.wait_for("SIGINT pressed, terminating");
    jumpstarter_testkit::eventually("the end of the command", jumpstarter_testkit::MINUTE, || {
        stubborn.keys(CTRL_C);
        leases(&alice).is_empty().then_some(())
    });
    assert_eq!(stubborn.wait().code(), Some(2), "{}", stubborn.screen());
    lab.await_available(&mut dut);

    // A window that is closed.
    let mut window = shell(&alice, &["-n", "dut"]);
    window.wait_for(PROMPT);
    window.close();
    assert_eq!(leases(&alice), "");
    lab.await_available(&mut dut);
}

#[test]
fn colours_and_movement_are_for_terminals() {
    let lab = Lab::start();
    let _dut = lab.exporter(ExporterSetup::new("dut").release(Release::Rust));
    let alice = lab.client("alice").with(Release::Rust);

    let args = ["get", "exporters", "--with", "online,status"];
    let mut coloured = alice.on_terminal(&args);
    assert!(coloured.wait().success());
    coloured.wait_for("\x1b[38;5;10mAVAILABLE");
    let mut command = alice.command(&["shell", "-l", "name=dut", "--", "env"]);
    command.arg("NO_COLOR=1").arg("jmp").args(args);
    let mut plain = alice.command_on_terminal(&command);
    assert!(plain.wait().success());
    let screen = plain.wait_for("LEASE_READY").replace('\r', "");
    let table: Vec<_> = screen.lines().skip_while(|line| !line.starts_with("NAME")).take(2).collect();
    assert!(table.len() == 2 && !table.concat().contains('\x1b'), "{screen}");

    // The list is drawn again when it has changed, and Ctrl-C ends it.
    let mut watching = alice.on_terminal(&["get", "leases", "--watch"]);
    watching.wait_for("No resources found.");
    let lease = alice.run(&["create", "lease", "-n", "dut", "--duration", "5m", "--wait", "-o", "name"]).ok();
    watching.wait_for(lease.text());
    alice.run(&["delete", "leases", lease.text()]).ok();
    watching.wait_times("No resources found.", 2);
    watching.keys(CTRL_C);
    assert!(!watching.wait().success());
}

/// Text from the lab cannot move the cursor, set titles or write to clipboards.
#[test]
fn hostile_log_lines_are_harmless() {
    let lab = Lab::start();
    let hooks = r"
beforeLease:
  script: |
    printf '\033]0;owned\007one \033[2Jtwo \033]52;c;ZXZpbA==\007three\n'
    printf '\033[31mmotd\033[0m \033]0;owned\007\n' > $JMP_MOTD_FILE
    head -c 100000000 /dev/zero | tr '\0' x
    echo
    echo after the long line
";
    let mut dut = lab.exporter(ExporterSetup::new("dut").hooks(hooks).release(Release::Rust));
    let alice = lab.client("alice").with(Release::Rust);
    let mut shell = shell(&alice, &["-n", "dut"]);
    shell.wait_for(PROMPT);
    let screen = shell.wait_for("after the long line");
    assert!(!screen.contains("\x1b]"), "{screen:?}");
    assert!(screen.contains("more bytes on this line"), "the line of a hundred megabytes is cut");
    let line = screen.lines().find(|line| line.contains("two")).unwrap();
    assert!(line.contains("one") && line.contains("three"), "{line:?}");
    shell.keys("exit\n");
    assert!(shell.wait().success());
    let held: u64 = dut.process().tree().into_iter().map(jumpstarter_testkit::figures::resident).sum();
    assert!(held < 150 * 1024 * 1024, "the exporter holds {held} bytes after a line of 100 MB");
}
