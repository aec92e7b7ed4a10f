//! Python drivers in the tree of our exporter.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures::TryStreamExt as _;
use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_driver_host_python::PythonHost;
use jumpstarter_drivers::{Driver, DriverError, DriverTree, HostedResource, LogLevel, LogSink, Registry};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn line(&self, level: LogLevel, driver: &str, message: &str) {
        self.0.lock().unwrap().push(format!("{} {driver} {message}", level.as_str()));
    }
}

/// An interpreter of the real peers that also finds the module of these tests.
struct Lab {
    host: Arc<PythonHost>,
    dir: tempfile::TempDir,
}

fn lab() -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let python = jumpstarter_peers::NEWEST.find().unwrap_or_else(|missing| panic!("{missing}")).program("python");
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let wrapper = format!("PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={} exec {} \"$@\"", tests.display(), python.display());
    Lab { host: Arc::new(PythonHost::new(script(dir.path(), &wrapper))), dir }
}

fn script(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("python");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn build(host: &Arc<PythonHost>, export: &str, logs: &Arc<Lines>) -> Result<DriverTree, String> {
    let yaml = format!("metadata: {{namespace: lab, name: ex}}\nexport: {export}\n");
    let config = ExporterConfig::from_yaml(&yaml, &Env::empty()).unwrap();
    let registry = Registry::builtin().with_host(Arc::<PythonHost>::clone(host));
    let logs: Arc<dyn LogSink> = Arc::<Lines>::clone(logs);
    DriverTree::build(&config, &registry, &logs).await.map_err(|err| err.to_string())
}

/// The driver at a dotted path of names.
fn at<'a>(tree: &'a DriverTree, path: &str) -> &'a Arc<dyn Driver> {
    let mut parent = tree.reports()[0].uuid;
    for name in path.split('.') {
        let child = tree.reports().iter().rev().find(|report| {
            report.parent == Some(parent) && report.labels.get("jumpstarter.dev/name").is_some_and(|n| n == name)
        });
        parent = child.unwrap_or_else(|| panic!("{name} of {path}: {:?}", tree.reports())).uuid;
    }
    tree.get(&parent).unwrap()
}

const POWER: &str = "{type: jumpstarter_driver_power.driver.MockPower}";

#[tokio::test]
async fn a_mixed_tree_works_as_one() {
    let Lab { host, dir } = lab();
    let logs = Arc::new(Lines::default());
    let closed = dir.path().join("closed");
    let export = format!(
        "{{m: {POWER}, \
          g: {{children: {{b: {{type: bench.Bench, description: a bench, methods_description: {{echo: Echo!}}, \
             config: {{note: hello, close_file: {}}}, children: {{p: {POWER}, q: {{ref: far}}}}}}}}}}, \
          far: {POWER}, again: {{ref: g.b.made}}}}",
        closed.display()
    );
    let tree = build(&host, &export, &logs).await.unwrap();
    let reports = tree.reports();
    let seen: Vec<_> = reports
        .iter()
        .skip(1)
        .map(|r| {
            (r.labels["jumpstarter.dev/name"].as_str(), r.labels["jumpstarter.dev/client"].rsplit('.').next().unwrap())
        })
        .collect();
    let power = "PowerClient";
    let expected = [
        ("m", power),
        ("g", "CompositeClient"),
        ("b", "BenchClient"),
        ("p", power),
        ("q", power),
        ("made", power),
        ("far", power),
        ("again", power),
    ];
    assert_eq!(seen, expected);
    assert_eq!(reports[3].labels["bench"], "yes");
    assert_eq!(reports[3].description.as_deref(), Some("a bench"));
    assert_eq!(reports[3].methods_description["echo"], "Echo!");
    assert_eq!(reports[5].uuid, reports[7].uuid);

    let bench = at(&tree, "g.b");
    let back = bench.call("echo", vec![json!(1), json!({"a": [null, "ü"]})]).await.unwrap();
    assert_eq!(back, json!([[1.0, {"a": [null, "ü"]}], "hello"]));
    // What a Python driver refers to lives beside it, so that it can use it.
    assert_eq!(bench.call("calls", vec![json!("q")]).await.unwrap(), json!(["off", "on"]));
    for (method, code) in [("value", 3), ("missing", 12), ("late", 4)] {
        let err = bench.call("fail", vec![json!(method)]).await.unwrap_err();
        assert!(
            matches!(&err, DriverError::Remote { code: c, message } if *c == code && message == "because"),
            "{err:?}"
        );
    }
    let err = bench.call("nothing", vec![]).await.unwrap_err();
    assert!(matches!(err, DriverError::Remote { code: 5, .. }), "{err:?}");
    let mut numbers = bench.stream_call("numbers", vec![json!(2)]).await.unwrap();
    assert_eq!(numbers.try_next().await.unwrap(), Some(json!(0.0)));
    assert_eq!(numbers.try_next().await.unwrap(), Some(json!(1.0)));
    assert!(matches!(numbers.try_next().await, Err(DriverError::Remote { code: 3, .. })));

    let stream = bench.open("connect").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(b"there and back").await.unwrap();
    let mut text = [0; 14];
    read.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"there and back");
    write.shutdown().await.unwrap();
    assert_eq!(read.read(&mut text).await.unwrap(), 0);

    at(&tree, "again").call("on", vec![]).await.unwrap();
    at(&tree, "far").call("off", vec![]).await.unwrap();
    assert_eq!(bench.call("count", vec![]).await.unwrap(), json!(1.0));
    tree.reset().await;
    assert_eq!(bench.call("count", vec![]).await.unwrap(), json!(101.0));
    tree.close().await;
    assert_eq!(std::fs::read_to_string(&closed).unwrap(), "closed\n");
    let lines = logs.0.lock().unwrap().clone();
    assert!(lines.iter().any(|line| line == "INFO Bench echo 2"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "INFO MockPower power on"), "{lines:?}");
}

#[tokio::test]
async fn client_files_stay_with_the_python_driver() {
    let Lab { host, dir: _dir } = lab();
    let logs = Arc::new(Lines::default());
    let tree = build(&host, "{b: {type: bench.Bench}}", &logs).await.unwrap();
    let bench = at(&tree, "b");
    let HostedResource { metadata, stream } = bench.open_resource(None).await.unwrap().unwrap();
    let handle = &metadata.iter().find(|(key, _)| key == "resource").unwrap().1;
    let handle: serde_json::Value = serde_json::from_str(handle).unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        write.write_all(&vec![7; 300_000]).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (size, ()) = tokio::join!(bench.call("size", vec![handle]), send);
    assert_eq!(size.unwrap(), json!(300_000.0));
    assert_eq!(read.read(&mut [0; 1]).await.unwrap(), 0);
    tree.close().await;
}

#[tokio::test]
async fn a_dead_child_is_told_and_replaced() {
    let Lab { host, dir: _dir } = lab();
    let logs = Arc::new(Lines::default());
    let tree = build(&host, "{b: {type: bench.Bench}}", &logs).await.unwrap();
    let bench = at(&tree, "b");
    assert_eq!(bench.call("count", vec![]).await.unwrap(), json!(1.0));
    bench.call("die", vec![]).await.unwrap_err();
    // The call may fail before the end of the process is known; then it is.
    let text = loop {
        match bench.call("count", vec![]).await {
            Err(DriverError::Connection { message, .. }) => break message,
            Err(_) => tokio::task::yield_now().await,
            Ok(value) => panic!("{value} from a dead process"),
        }
    };
    assert!(text.contains("'b'") && text.contains("exit status: 3"), "{text}");
    tree.close().await;
    // The next session has a new process, the one after it new instances in the same.
    for _ in 0..2 {
        let tree = build(&host, "{b: {type: bench.Bench}}", &logs).await.unwrap();
        assert_eq!(at(&tree, "b").call("count", vec![]).await.unwrap(), json!(1.0));
        tree.close().await;
    }
}

#[tokio::test]
async fn what_a_driver_says_or_returns_harms_nobody() {
    let Lab { host, dir: _dir } = lab();
    let logs = Arc::new(Lines::default());
    let tree = build(&host, "{b: {type: bench.Bench}}", &logs).await.unwrap();
    let bench = at(&tree, "b");
    let err = bench.call("strange", vec![]).await.unwrap_err();
    assert!(matches!(err, DriverError::Remote { .. }), "{err:?}");
    // A hundred megabytes on one line, to the log and to the standard output.
    bench.call("shout", vec![json!(100_000_000)]).await.unwrap();
    assert_eq!(bench.call("count", vec![]).await.unwrap(), json!(1.0));
    tree.close().await;
    let lines = logs.0.lock().unwrap().clone();
    let shout = lines.iter().find(|line| line.contains("xxx")).unwrap();
    assert!(shout.len() < 20_000 && !shout.contains(['\u{1b}', '\u{7}']), "{}", &shout[..100]);
    assert!(lines.iter().any(|line| line == "WARNING Bench quiet again"), "{}", lines.len());
}

#[tokio::test]
async fn what_is_missing_is_named_with_what_mends_it() {
    let Lab { host, dir } = lab();
    let logs = Arc::new(Lines::default());
    for (export, parts) in [
        (
            "{x: {children: {z: {type: jumpstarter_driver_dutlink.driver.Dutlink}}}}",
            &["'x.z'", "Dutlink", "pip install jumpstarter-driver-dutlink"][..],
        ),
        ("{x: {type: jumpstarter_driver_power.driver.Nothing}}", &["'x'", "has no", "--upgrade"]),
        ("{x: {type: bench.Bench, config: {note: refuse}}}", &["'x'", "ValueError: this note is refused"]),
        ("{x: {type: bench.Bench, config: {colour: red}}}", &["'x'", "colour"]),
        ("{x: {type: nodots}}", &["'x'", "nodots", "class path"]),
        ("{x: {type: bench.Bench, children: {y: {ref: gone}}}}", &["gone"]),
    ] {
        let Err(text) = build(&host, export, &logs).await else { panic!("built {export}") };
        assert!(parts.iter().all(|part| text.contains(part)), "{export}: {text}");
    }
    // None of this cost the child: the same one still hosts.
    build(&host, "{x: {type: bench.Bench}}", &logs).await.unwrap().close().await;

    let bare = script(dir.path(), "exec python3 -I -S \"$@\"");
    for (interpreter, parts) in [
        (bare, &["pip install jumpstarter", "JMP_PYTHON"][..]),
        (PathBuf::from("/nonexistent/python3"), &["/nonexistent/python3", "JMP_PYTHON"]),
        (PathBuf::from("/bin/false"), &["/bin/false", "exit status: 1"]),
    ] {
        let host = Arc::new(PythonHost::new(&interpreter));
        let Err(text) = build(&host, "{x: {type: bench.Bench}}", &logs).await else { panic!("hosted") };
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
