//! Our `jmp` beside the released one: the same service, the same configuration files, the same answers.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{Done, ExporterSetup, Jmp, Lab, MINUTE, eventually, jmp::Release};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{device, listings};

/// The released programs come first on the `PATH` of what the shell runs: `j`, `python`, `pytest`.
fn with_python(command: &mut Command) {
    let bin = NEWEST.find().unwrap_or_else(|missing| panic!("{missing}")).bin();
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/use_device.py");

#[test]
fn both_show_and_change_the_same_things() {
    let lab = Lab::start();
    let python = lab.client("alice");
    let alice = python.with(Release::Rust);
    let bob = lab.client("bob").with(Release::Rust);
    alice.run(&["get", "exporters"]).ok().says("No resources found.");
    let _dut = lab.exporter(ExporterSetup::new("dut").label("board", "qemu").release(Release::Rust));

    // The whole story of the released client, told by ours.
    listings::exporters(&alice, lab.namespace());
    let lease = listings::create(&alice, lab.namespace());
    listings::leases(&alice, &lease);
    listings::others_see_it(&bob, &lease);

    // Field by field the same, in every format.
    for args in [
        &["get", "leases", "-o", "json"][..],
        &["get", "exporters", "-o", "json", "--with", "online,status"],
        &["get", "exporters", "-o", "json", "--with", "leases"],
    ] {
        let (ours, theirs) = (alice.run(args).ok().json(), python.run(args).ok().json());
        assert_eq!(steady(ours), steady(theirs), "{args:?}");
    }
    for args in [
        &["get", "leases"][..],
        &["get", "leases", "-A", "-o", "name"],
        &["get", "exporters"],
        &["get", "exporters", "--with", "leases,online"],
        &["get", "exporters", "-l", "board=qemu", "-o", "name"],
    ] {
        assert_eq!(lines(&alice.run(args).ok()), lines(&python.run(args).ok()), "{args:?}");
    }
    alice.run(&["get", "leases", "-o", "wide"]).ok().says("STATUS").says("In-Use");

    // One that waits says behind whom.
    let waiting = ["create", "lease", "-n", "dut", "--duration", "5m", "-o", "name"];
    let waiting = bob.run(&waiting).ok();
    bob.until("its place in the queue", &["get", "leases"], |done| {
        done.stdout.contains("QUEUE") && done.stdout.contains(waiting.text())
    });
    bob.run(&["why", waiting.text()]).ok().says("place 1 in the queue").says("It begins about").says("dut is held by");
    let why = bob.run(&["why", waiting.text(), "--if-selector", "board=none", "-o", "json"]).ok().json();
    assert_eq!((&why["standing"], &why["alternatives"][0]["devices"]), (&"Waiting".into(), &0.into()), "{why}");
    assert!(why["start"]["latest"].is_string(), "the lease ahead of it has an end: {why}");
    alice.run(&["why", &lease]).ok().says("has dut");
    let more = bob.run(&["create", "lease", "-n", "dut", "--duration", "5m", "--wait", "--acquisition-timeout", "5s"]);
    more.code(1).says("acquisition timed out after 5 seconds");
    assert_eq!(bob.run(&["get", "leases", "-o", "name"]).ok().text(), waiting.text(), "the one that timed out is gone");
    bob.run(&["delete", "leases", "--all"]).ok();
    // What is refused at once is no success, though it is printed like any other.
    let refused = bob.run(&["create", "lease", "-l", "board=none", "--duration", "5m"]);
    refused.code(1).says("board=none").says("cannot be satisfied: No exporter matches the lease");

    listings::deleted(&alice, &lease);
    let held = ["create", "lease", "-l", "board=qemu", "--duration", "5m", "--wait", "-o", "json"];
    assert_eq!(alice.run(&held).ok().json()["exporter"], "dut");
    python.run(&["delete", "leases", "-l", "board=qemu"]).ok().says("deleted");
}

/// What changes between two looks.
fn steady(mut told: Value) -> Value {
    let leases = told.get_mut("leases").and_then(Value::as_array_mut).into_iter().flatten();
    for lease in leases {
        lease["effective_duration"] = Value::Null;
    }
    for exporter in told.get_mut("exporters").and_then(Value::as_array_mut).into_iter().flatten() {
        if exporter["lease"].is_object() {
            exporter["lease"]["effective_duration"] = Value::Null;
        }
    }
    told
}

/// The words of a table, but for the time that remains.
fn lines(done: &Done) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().filter(|word| !word.ends_with('m')).collect::<Vec<_>>().join(" ");
    done.stdout.lines().map(words).filter(|line| !line.is_empty()).collect()
}

#[test]
fn configurations_written_by_one_are_read_by_the_other() {
    let lab = Lab::start();
    let python = lab.client("alice");
    let ours = python.with(Release::Rust);
    let source = fs::read_to_string(python.config()).unwrap();
    let field = |name: &str| {
        let line = source.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_matches(['"', '\'']).to_owned()
    };
    let (endpoint, token, ca) = (field("endpoint"), field("token"), field("ca"));

    for (writer, reader, name) in [(&ours, &python, "by-ours"), (&python, &ours, "by-theirs")] {
        let create = [
            "config",
            "client",
            "create",
            name,
            "--namespace",
            lab.namespace(),
            "--name",
            "alice",
            "-e",
            &endpoint,
            "-t",
            &token,
            "--allow",
            "a.*,b.*",
            "-o",
            "path",
        ];
        let path = writer.run(&create).ok();
        let path = Path::new(path.text());
        // The certificate of this lab is not among those that the command can set.
        let text = fs::read_to_string(path).unwrap();
        let text: String = text
            .lines()
            .map(
                |line| if line.trim_start().starts_with("ca:") { format!("  ca: {ca}\n") } else { format!("{line}\n") },
            )
            .collect();
        fs::write(path, text).unwrap();
        writer.run(&create).code(1).says("already exists");
        reader.run(&["config", "client", "use", name]).ok();
        assert!(
            writer
                .run(&["config", "client", "list"])
                .ok()
                .stdout
                .lines()
                .any(|line| { line.starts_with('*') && line.contains(name) })
        );
        reader.run(&["get", "leases"]).ok().says("No resources found.");
        let told = |jmp: &Jmp| {
            let all = jmp.run(&["config", "client", "list", "-o", "json"]).ok().json();
            let mut found = all["items"].as_array().unwrap().iter().find(|item| item["alias"] == name).unwrap().clone();
            // Ours keeps this one to itself.
            found.as_object_mut().unwrap().remove("refresh_token");
            found
        };
        assert_eq!(told(&ours)["drivers"], told(&python)["drivers"]);
        assert_eq!(told(&ours)["metadata"], told(&python)["metadata"]);
        reader.run(&["config", "client", "delete", name]).ok();
    }
    ours.run(&["config", "client", "use", "alice"]).ok();
    python.run(&["auth", "status"]).ok().says("Valid");
    ours.run(&["auth", "status", "-v"]).ok().says("Status: Valid").says("Refresh token stored: no");
    ours.run(&["auth", "rotate"]).ok().says("Token rotated. New expiry:");
    python.run(&["get", "leases"]).ok().says("No resources found.");

    let create = [
        "config",
        "exporter",
        "create",
        "rig",
        "--namespace",
        "lab",
        "--name",
        "rig",
        "--endpoint",
        "h:1",
        "--token",
        "t",
    ];
    ours.run(&create).ok();
    python.run(&["config", "exporter", "list", "-o", "json"]).ok().says("\"alias\": \"rig\"");
    python.run(&["config", "exporter", "delete", "rig"]).ok();
    ours.run(&["config", "exporter", "list"]).ok().says("No resources found.");
}

#[test]
fn programs_of_the_released_tools_run_in_our_shell() {
    let lab = Lab::start();
    let setup = ExporterSetup::new("dut").drivers(&device::drivers(&lab.sandbox.dir("storage")));
    let mut dut = lab.exporter(setup);
    let alice = lab.client("alice").with(Release::Rust);
    let run = |args: &[&str]| {
        let mut command = alice.command(args);
        with_python(&mut command);
        alice.run_command(command)
    };

    let done = run(&["shell", "-l", "name=dut", "--", "python", SCRIPT, "2"]).ok();
    for line in ["power ok", "stream ok", "forward ok", "transfer ok"] {
        done.clone().says(line);
    }

    let test = lab.sandbox.path().join("test_device.py");
    fs::write(
        &test,
        concat!(
            "from jumpstarter_testing.pytest import JumpstarterTest\n\n\n",
            "class TestDevice(JumpstarterTest):\n",
            "    selector = \"name=dut\"\n\n",
            "    def test_power(self, client):\n",
            "        client.power.on()\n",
            "        assert [reading.voltage for reading in client.power.read()] == [0.0, 5.0]\n",
        ),
    )
    .unwrap();
    let lease = run(&["create", "lease", "-l", "name=dut", "--duration", "10m", "--wait", "-o", "name"]).ok();
    let lease = lease.text();
    run(&["shell", "--lease", lease, "--", "pytest", "-q", test.to_str().unwrap()]).ok().says("1 passed");
    // The only lease is found by itself, and the program's own exit code is handed on.
    let told =
        "test \"$JMP_LEASE\" = \"$1\" && test \"$JMP_EXPORTER\" = dut && test -S \"$JUMPSTARTER_HOST\" && exit 7";
    run(&["shell", "--", "sh", "-c", told, "sh", lease]).code(7);
    run(&["shell", "--", "no-such-program"]).code(127).says("command not found: no-such-program");
    run(&["shell", "--", "sh", "-c", "kill -9 $$"]).code(137);
    // A reused lease is still there.
    run(&["delete", "leases", lease]).ok();
    lab.await_available(&mut dut);
    run(&["shell", "-l", "name=nobody", "--", "true"]).code(1).says("cannot be satisfied");
    run(&["shell"]).code(2).says("no active leases found");
}

#[test]
fn our_j_uses_the_drivers_of_both_exporters() {
    let lab = Lab::start();
    let alice = lab.client("alice").with(Release::Rust);
    for (name, release) in [("ours", Release::Rust), ("theirs", Release::newest())] {
        let storage = lab.sandbox.dir(&format!("storage-{name}"));
        let mut dut = lab.exporter(ExporterSetup::new(name).drivers(&device::drivers(&storage)).release(release));
        let script = r#"
            set -e
            j --help | grep -q EchoNetwork || j --help | grep -q NetworkClient
            j power on
            j power read
            j power cycle -w 0
            j power call read
            j power call on
            j tool hello
            seq 100000 > numbers
            j storage write-from-path far.bin numbers
            j storage hash far.bin
            sha256sum numbers
            j storage read-into-path far.bin back
            cmp numbers back && echo same
            j storage list /
            j storage exists nowhere && exit 1
            j power fly && exit 1
            rm -f port
            j echo forward-tcp 0 > port & forward=$!
            while ! test -s port; do sleep 0.1; done
            python3 -c 'import socket; s = socket.create_connection(("127.0.0.1", int(open("port").read().rsplit(":", 1)[1]))); s.sendall(b"there and back"); print(s.recv(99).decode())'
            kill -INT $forward
            wait $forward || echo "forward ended with $?"
        "#;
        let done = alice.run(&["shell", "-n", name, "--", "sh", "-c", script]).ok();
        for text in [
            "voltage=5.0 V  current=2.0 A  apparent_power=10.0 VA",
            "hello from the host",
            "same",
            "far.bin",
            "path nowhere does not exist",
            "No such command 'fly'",
            "there and back",
            "forward ended with 2",
        ] {
            done.clone().says(text);
        }
        let hashes: Vec<_> = done.stdout.split_whitespace().filter(|word| word.len() == 64).collect();
        assert!(hashes.len() == 2 && hashes[0] == hashes[1], "{}", done.report());
        lab.await_available(&mut dut);
    }
}

#[test]
fn a_signal_never_leaves_a_lease_behind() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut").release(Release::Rust));
    let alice = lab.client("alice").with(Release::Rust);
    let bob = lab.client("bob").with(Release::Rust);
    let held = bob.run(&["create", "lease", "-n", "dut", "--duration", "10m", "--wait", "-o", "name"]).ok();

    // While it waits.
    for (signal, args) in [
        (Signal::INT, &["shell", "-n", "dut", "--", "true"][..]),
        (Signal::TERM, &["shell", "-n", "dut", "--", "true"]),
        (Signal::HUP, &["shell", "-n", "dut", "--", "true"]),
        (Signal::INT, &["create", "lease", "-n", "dut", "--duration", "5m", "--wait"]),
    ] {
        let mut child = alice.command(args).spawn().unwrap();
        alice.until("the lease", &["get", "leases", "-o", "name"], |done| !done.text().is_empty());
        send(child.id(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(2), "{signal:?} {args:?}");
        assert_eq!(alice.run(&["get", "leases", "-o", "name"]).ok().text(), "", "{signal:?} {args:?}");
    }
    bob.run(&["delete", "leases", held.text()]).ok();
    lab.await_available(&mut dut);

    // While a program runs: it is left to end by itself, or ended by a second signal.
    let started = lab.sandbox.path().join("started");
    let script = format!("touch {}; exec sleep 600", started.display());
    let mut command = alice.command(&["shell", "-n", "dut", "--", "sh", "-c", &script]);
    let mut child = command.process_group(0).spawn().unwrap();
    eventually("the program", MINUTE, || started.exists().then_some(()));
    send(child.id(), Signal::TERM);
    eventually("the second signal to be heard", MINUTE, || {
        send(child.id(), Signal::TERM);
        child.try_wait().unwrap()
    });
    assert_eq!(alice.run(&["get", "leases", "-o", "name"]).ok().text(), "");
    lab.await_available(&mut dut);
}

fn send(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

#[test]
fn shells_without_a_service() {
    let lab = Lab::start();
    let alice = lab.client("alice").with(Release::Rust);
    let config = lab.exporter_config("local", &[("a".to_owned(), "b".to_owned())]);
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("export: {}", "export:\n  power: { type: jumpstarter_driver_power.driver.MockPower }");
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let run = |args: &[&str], python: bool| {
        let mut command = alice.command(args);
        if python {
            with_python(&mut command);
        }
        alice.run_command(command)
    };
    let told = "j power on && test \"$JMP_DRIVERS_ALLOW\" = UNSAFE && test -z \"$JMP_EXPORTER\" && exit 5";
    for python in [false, true] {
        run(&["shell", "--exporter-config", config, "--", "sh", "-c", told], python).code(5);
    }
    run(&["shell", "--exporter", "nobody", "--", "true"], false).code(1).says("does not exist");
    run(&["shell", "--exporter", "a", "--client", "b"], false).code(2).says("only one of");
    run(&["shell", "--tls-grpc", "127.0.0.1:1", "--tls-grpc-insecure", "--", "true"], false)
        .code(1)
        .says("Exporter did not respond to initial connection");
}
