//! The released Python client against our session, on a Unix socket and through a plain TCP port.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{path::Path, process::Stdio, time::Duration};

use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_drivers::Registry;
use jumpstarter_exporter::{Session, SessionInfo};
use jumpstarter_peers::NEWEST;
use jumpstarter_protocol::v1::ExporterStatus;
use tokio::{
    net::{TcpListener, UnixListener},
    process::Command,
    task::JoinSet,
    time::timeout,
};

/// Every call style, the tree with a proxy, errors, logs, and a megabyte through the echo.
const SCRIPT: &str = r#"
import grpc
from jumpstarter.utils.env import env
from jumpstarter.client.core import DriverMethodNotImplemented, DriverInvalidArgument
from jumpstarter_driver_network.adapters import TcpPortforwardAdapter
import socket, threading

with env() as client:
    client.power.on()
    client.group.again.off()
    readings = [(r.voltage, r.current) for r in client.power.read()]
    assert readings == [(0.0, 0.0), (5.0, 2.0)], readings
    for call, error in [
        (lambda: client.power.call("fly"), DriverMethodNotImplemented),
        (lambda: client.power.call("read"), DriverMethodNotImplemented),
        (lambda: client.power.call("on", 1), DriverInvalidArgument),
    ]:
        try:
            call()
        except error:
            pass
        else:
            raise AssertionError(error)
    with client.echo.stream() as stream:
        stream.send(b"hello")
        assert stream.receive() == b"hello"
    assert client.tcp.address().startswith("tcp://127.0.0.1:")
    sent = bytes(range(256)) * 4096
    with TcpPortforwardAdapter(client=client.echo) as (host, port):
        with socket.create_connection((host, port)) as s:
            def send():
                s.sendall(sent)
                s.shutdown(socket.SHUT_WR)
            t = threading.Thread(target=send); t.start()
            got = b""
            while chunk := s.recv(65536):
                got += chunk
            t.join()
            assert got == sent, len(got)
    print("all good")
"#;

fn config(port: u16) -> ExporterConfig {
    let yaml = format!(
        "metadata: {{namespace: lab, name: ex}}
description: a bench
export:
  power: {{type: jumpstarter_driver_power.driver.MockPower, description: the switch}}
  echo: {{type: jumpstarter_driver_network.driver.EchoNetwork}}
  tcp: {{type: jumpstarter_driver_network.driver.TcpNetwork, config: {{host: 127.0.0.1, port: {port}}}}}
  group: {{children: {{again: {{ref: power}}}}}}
"
    );
    ExporterConfig::from_yaml(&yaml, &Env::empty()).unwrap()
}

async fn python(program: &str, args: &[&str], host: &str, insecure: bool) -> String {
    let program = NEWEST.find().expect("the Python peers are installed").program(program);
    let mut command = Command::new(program);
    command.args(args).env("JUMPSTARTER_HOST", host).env("JMP_DRIVERS_ALLOW", "UNSAFE").env("COLUMNS", "200");
    if insecure {
        command.env("JMP_GRPC_INSECURE", "1");
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(Duration::from_mins(2), command.output()).await.expect("Python is done in time").unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

async fn session(port: u16) -> Session {
    let session = Session::new(&config(port), &Registry::builtin(), SessionInfo::default()).await.unwrap();
    session.set_status(ExporterStatus::LeaseReady, "");
    session
}

#[tokio::test]
async fn the_python_client_uses_every_call_style_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    // A socket path becomes the percent-encoded authority of each call.
    let path = dir.path().join("a socket");
    let listener = UnixListener::bind(&path).unwrap();
    let session = session(1).await;
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let session = session.clone();
        async move { session.serve_unix(listener).await.unwrap() }
    });
    let host = path.to_str().unwrap();
    assert!(python("python", &["-c", SCRIPT], host, false).await.contains("all good"));
    let help = python("j", &["--help"], host, false).await;
    assert!(help.contains("the switch") && help.contains("group"), "{help}");
    assert!(python("j", &["power", "read"], host, false).await.contains("voltage=5.0 V"));
    session.close().await;
    while tasks.join_next().await.is_some() {}
    assert!(!Path::new(&path).exists() || tokio::net::UnixStream::connect(&path).await.is_err());
}

#[tokio::test]
async fn the_python_client_reaches_a_tcp_port_directly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let session = session(address.port()).await;
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let session = session.clone();
        async move { session.serve_tcp(listener).await.unwrap() }
    });
    let said = python("j", &["tcp", "address"], &address.to_string(), true).await;
    assert!(said.contains(&address.to_string()), "{said}");
    session.close().await;
    while tasks.join_next().await.is_some() {}
}
