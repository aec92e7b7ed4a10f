//! Virtual machines: a real guest, with either exporter, used by either client.
//!
//! One start of the guest serves both clients: the released client's shell runs their script, which uses our `j` beside
//! its own.

mod image;

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{ExporterSetup, Lab, eventually, jmp::Release};
use rustix::process::Signal;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/qemu/use_qemu.py");

/// The emulator without the host's help: whether that works is no question of ours, and it is not there everywhere.
const PLAIN_EMULATOR: &str = r#"#!/bin/sh
for word; do
    case $word in
        kvm) word=tcg ;;
        host) word=max ;;
    esac
    set -- "$@" "$word"
    shift
done
exec /usr/bin/qemu-system-x86_64 "$@"
"#;

fn drivers(port: u16) -> String {
    format!(
        "
qemu:
  type: jumpstarter_driver_qemu.driver.Qemu
  config:
    arch: x86_64
    hostname: vm7
    hostfwd: {{ web: {{ hostport: {port}, guestport: 80 }} }}
"
    )
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An exporter of `release` with a machine whose files are in `files`.
fn setup(lab: &Lab, release: Release, port: u16, files: &Path) -> ExporterSetup {
    let emulators = lab.sandbox.dir("emulators");
    let emulator = emulators.join("qemu-system-x86_64");
    fs::write(&emulator, PLAIN_EMULATOR).unwrap();
    fs::set_permissions(&emulator, fs::Permissions::from_mode(0o755)).unwrap();
    let bin = match &release {
        Release::Python(venv) => venv.bin(),
        Release::Rust => lab.sandbox.dir("bin"),
    };
    let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", emulators.display(), bin.display());
    let setup = ExporterSetup::new("dut").drivers(&drivers(port)).release(release);
    setup.env("PATH", &path).env("TMPDIR", files.to_str().unwrap())
}

/// Both clients use the machine; afterwards nothing of it runs.
fn use_machine(release: Release) {
    let ours = matches!(release, Release::Rust);
    let lab = Lab::start();
    let (port, work, files) = (free_port(), lab.sandbox.dir("work"), lab.sandbox.dir("vm"));
    let mut dut = lab.exporter(setup(&lab, release, port, &files));
    let alice = lab.client("alice").with(Release::Rust);
    let disk = image::make(&work);
    let j = lab.sandbox.path().join("bin/j");

    let script = [SCRIPT, disk.to_str().unwrap(), j.to_str().unwrap()];
    let mut command = alice.command(&[&["shell", "-l", "name=dut", "--", "python"], &script[..]].concat());
    let python = NEWEST.find().unwrap().bin();
    command.env("PATH", format!("{}:/usr/bin:/bin", python.display())).env("TERM", "dumb").current_dir(&work);
    let done = alice.run_command(command).ok();
    for line in ["flash ok", "boot ok", "disk ok", "consoles ok", "network ok", "power ok"] {
        done.clone().says(line);
    }
    lab.await_available(&mut dut);
    is_over(port);
    if !ours {
        return;
    }
    assert_eq!(fs::read_dir(&files).unwrap().count(), 0, "files of the machine are left");

    // A killed exporter takes its machine with it.
    let mut shell =
        alice.start(&["shell", "-l", "name=dut", "--", "sh", "-c", "j qemu power on && echo RUNS && sleep 600"]);
    shell.wait_line("RUNS");
    assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "the machine holds its port");
    dut.process().signal(Signal::KILL);
    is_over(port);
    eventually("the machine's files are removed", Duration::from_mins(1), || {
        (fs::read_dir(&files).unwrap().count() == 0).then_some(())
    });
}

/// The machine held this port.
#[track_caller]
fn is_over(port: u16) {
    eventually("the machine has ended", Duration::from_mins(1), || TcpListener::bind(("127.0.0.1", port)).ok());
}

#[test]
fn both_clients_use_a_machine_of_our_exporter() {
    use_machine(Release::Rust);
}

#[test]
fn both_clients_use_a_machine_of_a_released_exporter() {
    use_machine(Release::newest());
}
