//! Our client against the released Python exporter in direct mode.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use futures::TryStreamExt as _;
use jumpstarter_client::{ClientError, DirectTls, ExporterStatus, Session};
use jumpstarter_peers::NEWEST;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::{sleep, timeout},
};

const CONFIG: &str = "apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterConfig
metadata: {namespace: lab, name: ex}
export:
  power: {type: jumpstarter_driver_power.driver.MockPower}
  echo: {type: jumpstarter_driver_network.driver.EchoNetwork}
  group: {children: {again: {ref: power}}}
";

async fn exporter(dir: &std::path::Path) -> (Child, Session) {
    let path = dir.join("exporter.yaml");
    std::fs::write(&path, CONFIG).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let jmp = NEWEST.find().expect("the Python peers are installed").program("jmp");
    let child = Command::new(jmp)
        .args(["run", "--exporter-config", path.to_str().unwrap(), "--tls-grpc-insecure"])
        .args(["--tls-grpc-listener", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let started = Instant::now();
    loop {
        if let Ok(session) = Session::direct(&format!("127.0.0.1:{port}"), &DirectTls::Plaintext, None).await
            && session.status().await.is_ok_and(|state| state.status == ExporterStatus::LeaseReady)
        {
            return (child, session);
        }
        assert!(started.elapsed() < Duration::from_mins(1), "the Python exporter does not answer");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn our_client_uses_every_call_style_of_a_python_exporter() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, session) = exporter(dir.path()).await;
    let paths: Vec<_> = session.report().await.unwrap().drivers.iter().map(|d| d.path.clone()).collect();
    assert_eq!(paths, ["", "power", "echo", "group", "group.again"]);
    assert_eq!(session.call("power", "on", &[]).await.unwrap(), json!(null));
    assert_eq!(session.call("group.again", "off", &[]).await.unwrap(), json!(null));
    let readings: Vec<_> = session.stream_call("power", "read", &[]).await.unwrap().try_collect().await.unwrap();
    assert_eq!(readings, [json!({"voltage": 0.0, "current": 0.0}), json!({"voltage": 5.0, "current": 2.0})]);
    let err = session.call("power", "fly", &[]).await.unwrap_err();
    assert!(matches!(&err, ClientError::Exporter { status, .. } if status.code() == tonic::Code::NotFound), "{err}");

    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let (mut read, mut write) = tokio::io::split(session.open("echo", "connect").await.unwrap());
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let receive = async { read.read_to_end(&mut received).await.unwrap() };
    timeout(Duration::from_mins(1), async { tokio::join!(send, receive) }).await.unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    // The exporter process forks; the parent passes the signal on.
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    timeout(Duration::from_secs(30), child.wait()).await.unwrap().unwrap();
}
