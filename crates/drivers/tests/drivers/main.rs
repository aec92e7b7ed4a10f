//! Drivers and trees as an exporter uses them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod network;
mod power;
mod qemu;
mod remote;
mod serial;
mod serve;
mod shell;
mod tasmota;
mod websocket;

use std::sync::{Arc, Mutex};

use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_drivers::{Driver, DriverTree, LogLevel, LogSink, NoLog, Registry};

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

/// The driver of class `class` with `config`, alone in a tree.
async fn driver(class: &str, config: &str) -> Arc<dyn Driver> {
    only(&format!("{{type: {class}, config: {config}}}")).await
}

/// Why there is none.
async fn fault(class: &str, config: &str) -> String {
    refused(&format!("{{d: {{type: {class}, config: {config}}}}}")).await
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
