//! Mistakes of the operator, and trouble with the disk.

use std::{fs, path::PathBuf};

use jumpstarter_testkit::{Lab, MINUTE, Process, grpc::wanted, service::binary};

use super::{leases, still_serving};

/// The store's file: the largest one of the data directory.
fn store(lab: &Lab) -> PathBuf {
    let files = fs::read_dir(lab.service.data()).unwrap().map(|entry| entry.unwrap().path());
    let sqlite = files.filter(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0")));
    sqlite.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("a store in the data directory")
}

#[test]
fn a_data_directory_has_one_service() {
    let lab = Lab::start();
    let alice = lab.grpc_client("alice");
    let mut second = Process::start(&lab.sandbox, "second-service", lab.service.command_at("127.0.0.1:0"));
    let status = second.wait(MINUTE);
    assert!(!status.success());
    let output = second.output();
    assert!(output.contains("in use") || output.contains("running"), "{output}");
    assert!(!output.contains("panicked"), "{output}");
    still_serving(&alice);
}

#[test]
fn a_corrupt_store_is_refused_and_left_alone() {
    let mut lab = Lab::start();
    lab.service.stop();
    let path = store(&lab);
    let good = fs::read(&path).unwrap();
    let mut torn = good.clone();
    let page = 4096.min(torn.len() / 2);
    for byte in torn.iter_mut().skip(page) {
        *byte ^= 0x5a;
    }
    for (case, bytes) in [("garbage", b"this is no store, it is a text".repeat(500)), ("torn", torn)] {
        fs::write(&path, &bytes).unwrap();
        let mut process = Process::start(&lab.sandbox, case, lab.service.command());
        let status = process.wait(MINUTE);
        let output = process.output();
        assert!(!status.success(), "{case}: {output}");
        assert!(output.contains("restore") || output.contains("backup"), "{case} says how to go on: {output}");
        assert!(!output.contains("panicked"), "{case}: {output}");
        assert!(fs::read(&path).unwrap() == bytes, "{case}: the file was changed");
    }
    fs::write(&path, good).unwrap();
    lab.service.up();
}

/// A limit on the size of files stands in for a disk that is full: writing fails in the same place.
#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    let mut lab = Lab::start();
    let alice = lab.grpc_client("alice");
    let before: Vec<_> =
        (0..5).map(|n| alice.create(&format!("kept-{n}"), wanted("a=b", MINUTE * 60)).unwrap().name).collect();
    lab.service.stop();

    let size = fs::metadata(store(&lab)).unwrap().len();
    lab.service.limit_files(Some(size + 256 * 1024));
    lab.service.up();
    let mut acknowledged = before;
    let mut refusals = 0;
    for n in 0..2000 {
        match alice.create(&format!("more-{n}"), wanted("a=b", MINUTE * 60)) {
            Ok(lease) => acknowledged.push(lease.name),
            Err(status) => {
                assert!(!status.message().is_empty(), "{status:?}");
                refusals += 1;
                if refusals > 3 {
                    break;
                }
            }
        }
    }
    assert!(refusals > 0, "the disk never filled");
    assert!(lab.service.process().try_wait().is_none(), "the service lives on to say so");
    lab.service.kill();

    lab.service.limit_files(None);
    lab.service.up();
    let kept = leases(&alice);
    for name in acknowledged {
        assert!(kept.contains(&name), "{name} was acknowledged and is gone");
    }
    alice.create("after", wanted("a=b", MINUTE * 60)).unwrap();
}

const HEAD: &str = "apiVersion: jumpstarter.dev/v1alpha1\n";

#[test]
fn unknown_fields_and_values_are_named() {
    let mut lab = Lab::start();
    lab.service.stop();
    let path = lab.sandbox.path().join("input.yaml");
    let run = |args: &[&str]| {
        fs::write(&path, args[0]).unwrap();
        let mut command = lab.sandbox.command(&binary("jumpstarter"), "operator");
        command.args(&args[1..]).arg(&path).env("JUMPSTARTER_DATA_DIR", lab.service.data());
        let mut process = Process::start(&lab.sandbox, "operator", command);
        let status = process.wait(MINUTE);
        assert!(!status.success(), "{args:?}: {}", process.output());
        process.output()
    };
    for (text, word) in [
        ("listn: 127.0.0.1:0\n".to_owned(), "listn"),
        ("leaseRetention: soon\n".to_owned(), "soon"),
        ("listen: [\n".to_owned(), "input.yaml"),
    ] {
        let output = run(&[&text, "serve", "--config"]);
        assert!(output.contains(word), "`{word}` in {output}");
    }
    for (text, word) in [
        (
            format!("{HEAD}kind: Exporter\nmetadata: {{ name: a, namespace: default }}\nspec: {{ colour: red }}\n"),
            "colour",
        ),
        (format!("{HEAD}kind: Robot\nmetadata: {{ name: a, namespace: default }}\n"), "Robot"),
        (format!("{HEAD}kind: Exporter\nmetadata: {{ name: Not/Good, namespace: default }}\n"), "Not/Good"),
        (format!("{HEAD}kind: Exporter\nmetadata: {{ namespace: default }}\n"), "name"),
    ] {
        let output = run(&[&text, "import"]);
        assert!(output.contains(word), "`{word}` in {output}");
    }
    lab.service.up();
    lab.observer().exporter("a").unwrap_err();
}
