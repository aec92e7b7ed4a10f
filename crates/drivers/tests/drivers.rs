//! Drivers and trees as an exporter uses them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_drivers::{Driver, DriverError, DriverTree, LogLevel, LogSink, NoLog, Registry};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn line(&self, level: LogLevel, driver: &str, message: &str) {
        self.0.lock().unwrap().push(format!("{} {driver} {message}", level.as_str()));
    }
}

fn config(export: &str) -> ExporterConfig {
    let yaml = format!("metadata: {{namespace: lab, name: ex}}\ndescription: root text\nexport: {export}\n");
    ExporterConfig::from_yaml(&yaml, &Env::empty()).unwrap()
}

async fn build(export: &str) -> DriverTree {
    DriverTree::build(&config(export), &Registry::builtin(), &(Arc::new(NoLog) as Arc<dyn LogSink>)).await.unwrap()
}

async fn refused(export: &str) -> String {
    let logs: Arc<dyn LogSink> = Arc::new(NoLog);
    match DriverTree::build(&config(export), &Registry::builtin(), &logs).await {
        Ok(_) => panic!("built {export}"),
        Err(err) => err.to_string(),
    }
}

async fn only(export: &str) -> Arc<dyn Driver> {
    let tree = build(&format!("{{d: {export}}}")).await;
    Arc::clone(tree.get(&tree.reports()[1].uuid).unwrap())
}

#[tokio::test]
async fn reports_go_from_parents_to_children_and_repeat_proxied_trees() {
    let tree = build(
        "{a: {children: {p: {type: jumpstarter_driver_power.driver.MockPower, description: text, \
         methods_description: {on: On!}}}}, again: {ref: a}, deep: {children: {q: {type: \
         jumpstarter_driver_composite.driver.Proxy, config: {ref: a.p}}}}}",
    )
    .await;
    let seen: Vec<_> = tree
        .reports()
        .iter()
        .map(|r| {
            (
                r.labels.get("jumpstarter.dev/name").map_or("", |n| n),
                r.labels["jumpstarter.dev/client"].rsplit('.').next().unwrap(),
            )
        })
        .collect();
    let composite = "CompositeClient";
    let expected = [
        ("", composite),
        ("a", composite),
        ("p", "PowerClient"),
        ("again", composite),
        ("p", "PowerClient"),
        ("deep", composite),
        ("q", "PowerClient"),
    ];
    assert_eq!(seen, expected);
    let reports = tree.reports();
    assert_eq!(reports[0].parent, None);
    assert_eq!(reports[0].description.as_deref(), Some("root text"));
    assert_eq!((reports[3].uuid, reports[3].parent), (reports[1].uuid, Some(reports[0].uuid)));
    assert_eq!((reports[6].uuid, reports[6].parent), (reports[2].uuid, Some(reports[5].uuid)));
    assert_eq!(reports[2].methods_description["on"], "On!");
    for (n, report) in reports.iter().enumerate() {
        assert!(report.parent.is_none_or(|parent| reports[..n].iter().any(|r| r.uuid == parent)), "{n}");
    }
}

#[tokio::test]
async fn trees_that_cannot_be_built_say_where_and_why() {
    for (export, texts) in [
        (
            "{x: {children: {z: {type: jumpstarter_driver_dutlink.driver.Dutlink}}}}",
            &["'x.z'", "jumpstarter-driver-dutlink", "MockPower"][..],
        ),
        ("{x: {ref: nowhere.z}}", &["'x'", "nonexistent driver 'nowhere.z'"]),
        ("{x: {children: {z: {ref: x}}}}", &["contains the proxy itself"]),
        ("{x: {ref: z}, z: {ref: x}}", &["contains the proxy itself"]),
        ("{x: {type: jumpstarter_driver_network.driver.TcpNetwork}}", &["'x'", "host"]),
        (
            "{x: {type: jumpstarter_driver_network.driver.TcpNetwork, config: {host: h, port: 70000}}}",
            &["'x'", "'port'", "70000"],
        ),
        (
            "{x: {type: jumpstarter_driver_network.driver.TcpNetwork, config: {host: h, port: 7, prot: 8}}}",
            &["'x'", "'prot' is not known", "host, port, enable_address"],
        ),
    ] {
        let text = refused(export).await;
        assert!(texts.iter().all(|part| text.contains(part)), "{export}: {text}");
    }
}

#[tokio::test]
async fn mock_power() {
    let lines = Arc::new(Lines::default());
    let sink: Arc<dyn LogSink> = Arc::<Lines>::clone(&lines);
    let export = config("{d: {type: jumpstarter_driver_power.driver.MockPower, config: {log_level: DEBUG, odd: 1}}}");
    let tree = DriverTree::build(&export, &Registry::builtin(), &sink).await.unwrap();
    let power = tree.get(&tree.reports()[1].uuid).unwrap();
    assert_eq!(power.call("on", vec![]).await.unwrap(), json!(null));
    assert_eq!(power.call("off", vec![]).await.unwrap(), json!(null));
    let read: Vec<_> = power.stream_call("read", vec![]).await.unwrap().try_collect().await.unwrap();
    assert_eq!(read, [json!({"voltage": 0.0, "current": 0.0}), json!({"voltage": 5.0, "current": 2.0})]);
    assert!(matches!(power.call("read", vec![]).await, Err(DriverError::MethodNotFound(_))));
    assert!(matches!(power.call("on", vec![json!(1)]).await, Err(DriverError::InvalidArgument(_))));
    assert!(matches!(power.stream_call("on", vec![]).await, Err(DriverError::MethodNotFound(_))));
    assert!(matches!(power.open("connect").await, Err(DriverError::MethodNotFound(_))));
    let lines = lines.0.lock().unwrap();
    assert!(lines[0].contains("WARNING MockPower config key 'odd'"), "{lines:?}");
    assert_eq!(lines[1..], ["INFO MockPower power on", "INFO MockPower power off"]);
}

#[tokio::test]
async fn the_echo_gives_back_everything_and_ends_with_its_input() {
    let echo = only("{type: jumpstarter_driver_network.driver.EchoNetwork}").await;
    let (mut read, mut write) = tokio::io::split(echo.open("connect").await.unwrap());
    let sent = vec![7_u8; 2_000_000];
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let receive = async { read.read_to_end(&mut back).await.unwrap() };
    tokio::join!(send, receive);
    assert!(back == sent);
}

#[tokio::test]
async fn tcp_streams_and_addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = async |host: &str, extra: &str| {
        let config = format!("{{host: '{host}', port: {port}{extra}}}");
        only(&format!("{{type: jumpstarter_driver_network.driver.TcpNetwork, config: {config}}}")).await
    };
    let driver = tcp("127.0.0.1", "").await;
    assert_eq!(driver.call("address", vec![]).await.unwrap(), json!(format!("tcp://127.0.0.1:{port}")));
    assert_eq!(tcp("::1", "").await.call("address", vec![]).await.unwrap(), json!(format!("tcp://[::1]:{port}")));
    let hidden = tcp("127.0.0.1", ", enable_address: false").await.call("address", vec![]).await;
    assert!(matches!(hidden, Err(DriverError::InvalidArgument(text)) if text.contains("enable_address")));
    let mut stream = driver.open("connect").await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    peer.read_to_string(&mut text).await.unwrap();
    peer.write_all(b"pong").await.unwrap();
    drop(peer);
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "pingpong");
    drop(listener);
    assert!(matches!(driver.open("connect").await, Err(DriverError::Connection { .. })));
}
