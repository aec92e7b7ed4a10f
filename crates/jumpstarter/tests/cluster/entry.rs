//! The entry points of today's images.

use std::os::unix::fs::symlink;

use jumpstarter_kube_testkit::ApiServer;
use rustix::process::Signal;

use crate::kit::{Installation, LONG, Process, binary, call, get};

#[tokio::test(flavor = "multi_thread")]
async fn manager_is_the_controller() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let manager = lab.path().join("manager");
    symlink(binary(), &manager).unwrap();
    let mut command = lab.command(&manager);
    command
        .args(["--leader-elect", "--health-probe-bind-address=127.0.0.1:0", "-metrics-bind-address=127.0.0.1:0"])
        .args(["-grpc-bind-address", "127.0.0.1:0", "-zap-log-level=debug", "-zap-unknown", "x"]);
    let replica = Process::start(command);
    replica.leads().await;
    call(&replica.port().await).await.unwrap();
    let line = replica.says("\"msg\":\"leading\"").await;
    for part in ["\"ts\":\"", "\"level\":\"info\"", "\"logger\":\"", "\"component\":\"controller\""] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    assert!(replica.said().contains("--zap-unknown"), "{}", replica.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn router_needs_nothing_but_its_environment() {
    let directory = tempfile::tempdir().unwrap();
    let router = directory.path().join("router");
    symlink(binary(), &router).unwrap();
    let mut command = tokio::process::Command::new(&router);
    command
        .env_clear()
        .env("ROUTER_KEY", "the-router-key-of-the-tests")
        .env("GRPC_ROUTER_ENDPOINT", "router.example.com:443")
        .args(["--listen", "127.0.0.1:0"]);
    let mut router = Process::start(command);
    let address = router.field("\"msg\":\"router is ready\"", "address").await;
    assert!(router.said().contains("\"component\":\"router\""), "{}", router.said());
    // It talks TLS, with a certificate for its endpoint's host.
    let tls = jumpstarter_transport::ChannelTls {
        insecure: true,
        server_name: Some("router.example.com".to_owned()),
        ..jumpstarter_transport::ChannelTls::default()
    };
    let options = jumpstarter_transport::ChannelOptions::default();
    let connecting = jumpstarter_transport::connect::connect(&address, &tls, &options);
    tokio::time::timeout(LONG, connecting).await.unwrap().unwrap();
    router.signal(Signal::TERM);
    assert!(router.ends().await.success(), "{}", router.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_without_a_key_is_refused() {
    let mut command = tokio::process::Command::new(binary());
    command.env_clear().args(["router", "--listen", "127.0.0.1:0"]);
    let mut router = Process::start(command);
    assert_eq!(router.ends().await.code(), Some(2), "{}", router.said());
    assert!(router.said().contains("ROUTER_KEY"), "{}", router.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_service_tells_where_the_controller_is() {
    let lab = Installation::new(ApiServer::shared().await).await;
    let replica = lab.replica(&["--drain=0s"]);
    let login = replica.field("\"msg\":\"serving login\"", "address").await;
    let (status, body) = get(&login, "/v1/auth/config").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, serde_json::json!({ "grpcEndpoint": "localhost:8082", "namespace": lab.namespace }));
}
