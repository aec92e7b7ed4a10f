//! Tasmota plugs: a real broker with a plug of our own behind it, and a plug's web server.
use std::{
    net::TcpListener as StdListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::TryStreamExt as _;
use jumpstarter_drivers::{Driver, DriverError, DriverTree};
use rumqttc::{AsyncClient, Broker as Address, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{build, fault};

const CLASS: &str = "jumpstarter_driver_tasmota.driver.TasmotaPower";
const MINUTE: Duration = Duration::from_mins(1);

/// A broker that takes one user, on a port of its own.
struct Broker {
    dir: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Broker {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let passwords = dir.path().join("passwords");
        let made = Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(&passwords).args(["me", "pw"]).status();
        assert!(made.is_ok_and(|status| status.success()), "no mosquitto_passwd: run `cargo xtask setup`");
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Self::run(dir.path(), port);
        let broker = Self { dir, port, process };
        broker.listening().await;
        broker
    }

    fn run(dir: &Path, port: u16) -> Child {
        let config = dir.join("mosquitto.conf");
        let (dir, user) = (dir.display(), if rustix::process::geteuid().is_root() { "user root\n" } else { "" });
        let text = format!(
            "{user}listener {port} 127.0.0.1\nlistener 0 {dir}/socket\nallow_anonymous false\npassword_file {dir}/passwords\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap_or_else(|err| panic!("start /usr/sbin/mosquitto ({err}): run `cargo xtask setup`"))
    }

    async fn listening(&self) {
        let up = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(MINUTE, up).await.expect("a broker");
    }

    fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    async fn again(&mut self) {
        self.process = Self::run(self.dir.path(), self.port);
        self.listening().await;
    }

    /// A plug that does what it is told, and what it was told. It comes back when the broker does.
    fn plug(&self) -> (JoinSet<()>, Arc<Mutex<Vec<String>>>) {
        let mut options = MqttOptions::new("plug", Address::tcp("127.0.0.1", self.port));
        options.set_credentials("me", "pw");
        let (client, mut events) = AsyncClient::builder(options).capacity(10).build();
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&told);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        client.subscribe("cmnd/plug/POWER", QoS::AtLeastOnce).await.unwrap();
                    }
                    Ok(Event::Incoming(Packet::Publish(order))) => {
                        let text = String::from_utf8(order.payload.to_vec()).unwrap();
                        seen.lock().unwrap().push(text.clone());
                        let options = PublishOptions::new(QoS::AtMostOnce).retained();
                        client.publish("stat/plug/POWER", text, options).await.unwrap();
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        (task, told)
    }

    fn config(&self, more: &str) -> String {
        let port = self.port;
        format!(
            "{{host: 127.0.0.1, port: {port}, tls: false, username: me, cmnd_topic: cmnd/plug/POWER, \
              stat_topic: stat/plug/POWER{more}}}"
        )
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn tree(config: &str) -> (DriverTree, Arc<dyn Driver>) {
    let tree = build(&format!("{{d: {{type: {CLASS}, config: {config}}}}}")).await;
    let driver = Arc::clone(tree.get(&tree.reports()[1].uuid).unwrap());
    (tree, driver)
}

#[tokio::test]
async fn a_plug_is_switched_through_a_broker_that_may_go_and_come() {
    let mut broker = Broker::start().await;
    // Nobody listens to commands yet.
    let (_tree, power) = tree(&broker.config(", password: pw, timeout: 0.5")).await;
    let err = power.call("on", vec![]).await.unwrap_err();
    let text = err.to_string();
    assert!(matches!(err, DriverError::Timeout(_)), "{text}");
    assert!(text.contains("cmnd/plug/POWER") && text.contains("stat/plug/POWER"), "{text}");

    let (_plug, told) = broker.plug();
    let (tree, power) = tree(&broker.config(", password: pw, timeout: 30")).await;
    let switched = async {
        // The plug may still be on its way to the broker.
        while power.call("on", vec![]).await.is_err() {}
    };
    timeout(MINUTE, switched).await.unwrap();
    power.call("off", vec![]).await.unwrap();
    // What the broker has kept of the last answer is no answer to this.
    power.call("off", vec![]).await.unwrap();
    let err = power.stream_call("read", vec![]).await.err().unwrap();
    assert!(matches!(err, DriverError::Unimplemented(_)), "{err}");

    broker.end();
    broker.again().await;
    let switched = async { while power.call("on", vec![]).await.is_err() {} };
    timeout(MINUTE, switched).await.unwrap();
    tree.close().await;
    assert_eq!(told.lock().unwrap().last().map(String::as_str), Some("OFF"), "the end of a session leaves it off");
}

#[tokio::test]
async fn brokers_that_are_away_or_refuse_are_told_without_the_password() {
    let broker = Broker::start().await;
    let text = fault(CLASS, &broker.config(", password: wrong-one")).await;
    assert!(text.contains("refused the user 'me'") && text.contains("'password'"), "{text}");
    assert!(!text.contains("wrong-one"), "{text}");
    let config = format!(
        "{{host: {}/socket, transport: unix, username: me, password: pw, cmnd_topic: a, stat_topic: b}}",
        broker.dir.path().display()
    );
    drop(build(&format!("{{d: {{type: {CLASS}, config: {config}}}}}")).await);
    let port = broker.port;
    let config = broker.config(", password: pw");
    drop(broker);
    let text = fault(CLASS, &config).await;
    assert!(text.contains(&format!("mqtt://127.0.0.1:{port}")) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn faults_name_their_keys() {
    let config = "{host: h, port: 70000, tls: 1, transport: websockets, password: 12, timeout: 0, cmnd_topic: 'a/#'}";
    let text = fault(CLASS, config).await;
    for part in [
        "'port' (a number)",
        "'tls' (a number)",
        "'websockets' is neither",
        "'password' must be a string",
        "'timeout': must be more than 0",
        "'cmnd_topic': must be one topic",
        "'stat_topic' is missing",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = fault(CLASS, "{url: 'mqtt://h', relay: 40, host: h}").await;
    for part in ["'url': scheme 'mqtt'", "'relay': must be", "'host' is not known"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A plug's web server that gives `answers` one after the other; what it was asked.
async fn plug(listener: TcpListener, answers: &[(&str, &str)]) -> Vec<String> {
    let mut asked = Vec::new();
    for (status, body) in answers {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(io.read_buf(&mut request).await.unwrap(), 0);
        }
        asked.push(String::from_utf8(request).unwrap().lines().next().unwrap().to_owned());
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        io.write_all(answer.as_bytes()).await.unwrap();
    }
    asked
}

#[tokio::test]
async fn a_plug_is_switched_and_read_by_http() {
    // As a program's `main` does; another test of this process may have done it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tree, power) = tree(&format!("{{url: '{url}', relay: 2, password: 'p w'}}")).await;
    let status = r#"{"StatusSNS":{"ENERGY":{"Voltage":230,"Current":0.25}}}"#;
    let answers = [
        ("200 OK", r#"{"POWER2":"ON"}"#),
        ("200 OK", status),
        ("200 OK", r#"{"StatusSNS":{}}"#),
        ("200 OK", r#"{"WARNING":"Need user=<username>&password=<password>"}"#),
        ("200 OK", r#"{"Command":"Unknown"}"#),
        ("404 Not Found", "<html>"),
        ("200 OK", r#"{"POWER2":"OFF"}"#),
    ];
    let calls = async {
        power.call("on", vec![]).await.unwrap();
        let read: Vec<_> = power.stream_call("read", vec![]).await.unwrap().try_collect().await.unwrap();
        assert_eq!(read, [json!({"voltage": 230.0, "current": 0.25})]);
        let err = power.stream_call("read", vec![]).await.err().unwrap();
        assert!(matches!(err, DriverError::Unimplemented(_)), "{err}");
        for part in ["check 'username' and 'password'", "is it a Tasmota plug", "404"] {
            let text = power.call("off", vec![]).await.unwrap_err().to_string();
            assert!(text.contains(part) && text.contains(&url) && !text.contains("p w"), "{text}");
        }
        tree.close().await;
    };
    let (asked, ()) = tokio::join!(plug(listener, &answers), calls);
    assert_eq!(asked[0], "GET /cm?user=admin&password=p+w&cmnd=Power2+ON HTTP/1.1");
    assert!(asked[1].contains("cmnd=Status+8"), "{}", asked[1]);
    assert!(asked[6].contains("cmnd=Power2+OFF"), "the end of a session leaves it off: {}", asked[6]);
}
