//! What our clients accept, and what they say when they do not.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use jumpstarter_transport::connect::{connect, connect_lazy, connect_plain, connect_raw};
use jumpstarter_transport::listen::bind_tcp;
use jumpstarter_transport::{BindOptions, ChannelOptions, ChannelTls, ConnectError, OwnCa, ServeLimits};
use tokio::io::AsyncWriteExt;

use crate::kit::{LONG, check, own_tls, start, start_health};

fn trusting(ca_pem: &str) -> ChannelTls {
    ChannelTls { ca_pem: Some(ca_pem.to_owned()), ..ChannelTls::default() }
}

fn insecure() -> ChannelTls {
    ChannelTls { insecure: true, ..ChannelTls::default() }
}

#[tokio::test]
async fn trust_is_what_was_configured() {
    let directory = tempfile::tempdir().unwrap();
    let tls = own_tls(directory.path());
    let ca = tls.ca_pem().unwrap();
    let server = start_health(Some(tls), ServeLimits::default()).await;
    let options = ChannelOptions::default();

    for endpoint in [server.endpoint(), server.addr.to_string()] {
        let channel = connect(&endpoint, &trusting(&ca), &options).await.unwrap();
        assert_eq!(check(channel).await.unwrap(), "SERVING", "{endpoint}");
        let channel = connect(&endpoint, &insecure(), &options).await.unwrap();
        assert_eq!(check(channel).await.unwrap(), "SERVING", "{endpoint}");
    }
    // The leaf itself may be the bundle.
    let leaf = std::fs::read_to_string(directory.path().join("server.crt")).unwrap();
    let leaf = leaf.split_inclusive("-----END CERTIFICATE-----").next().unwrap().to_owned();
    assert_eq!(check(connect(&server.endpoint(), &trusting(&leaf), &options).await.unwrap()).await.unwrap(), "SERVING");

    let elsewhere = Some("elsewhere.example.com".to_owned());
    let other = tempfile::tempdir().unwrap();
    let other = OwnCa::load_or_create(other.path()).unwrap();
    let refused = [
        ("another name", ChannelTls { server_name: elsewhere.clone(), ..trusting(&ca) }),
        ("another name, insecure", ChannelTls { server_name: elsewhere.clone(), ..insecure() }),
        ("another name, pinned", ChannelTls { server_name: elsewhere, ..trusting(&leaf) }),
        ("another CA", trusting(other.ca_pem())),
        ("the system's CAs", ChannelTls::default()),
    ];
    for (case, tls) in refused {
        let error = connect(&server.endpoint(), &tls, &options).await.expect_err(case);
        // A machine without any system certificate says so instead.
        assert!(matches!(error, ConnectError::Tls { .. } | ConnectError::Trust(_)), "{case}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn unusable_settings_and_dead_ends_are_told_apart() {
    let options = ChannelOptions { connect_timeout: Duration::from_millis(300), ..ChannelOptions::default() };
    let error = connect("host:port", &insecure(), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Endpoint(_)), "{error}");
    let error = connect_lazy("host:1", &trusting("no PEM"), &options).unwrap_err();
    assert!(matches!(error, ConnectError::Trust(_)), "{error}");

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = closed.local_addr().unwrap().to_string();
    // It listens and never answers the handshake.
    let error = connect(&addr, &insecure(), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
    drop(closed);
    let error = connect(&addr, &insecure(), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Connect { .. }) && error.to_string().contains(&addr), "{error}");

    let plain = start(None, ServeLimits::default()).await;
    let error = connect(&plain.endpoint(), &insecure(), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. } | ConnectError::Timeout { .. }), "{error}");
    plain.stop().await;
}

#[tokio::test]
async fn a_channel_connects_again_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let tls = own_tls(directory.path());
    let limits = ServeLimits { drain_grace: Duration::ZERO, ..ServeLimits::default() };
    let server = start_health(Some(tls.clone()), limits.clone()).await;
    let addr = server.addr;
    let channel = connect(&addr.to_string(), &insecure(), &ChannelOptions::default()).await.unwrap();
    assert_eq!(check(channel.clone()).await.unwrap(), "SERVING");
    server.stop().await;
    let status = check(channel.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");

    let listeners = bind_tcp(&addr.to_string(), &BindOptions::default()).await.unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut again = jumpstarter_transport::Server::new(listeners, Some(tls));
    again.limits = limits;
    let done = tokio::task::spawn(again.serve(tonic::service::Routes::new(health).prepare(), stop.clone()));
    let started = std::time::Instant::now();
    while check(channel.clone()).await.is_err() {
        assert!(started.elapsed() < LONG, "the channel never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    done.await.unwrap().unwrap();
}

#[tokio::test]
async fn bodies_flow_over_a_raw_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(Some(own_tls(directory.path())), ServeLimits::default()).await;
    let options = ChannelOptions::default();
    let (mut sender, driver) = connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &options).await.unwrap();
    let driver = tokio::task::spawn(driver);
    // More than every window: flow control has to turn over.
    let sent = Bytes::from(vec![7; 20 * 1024 * 1024]);
    let request = http::Request::post("https://localhost/echo").body(Full::new(sent.clone())).unwrap();
    let answer = tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap();
    let received = tokio::time::timeout(LONG, answer.into_body().collect()).await.unwrap().unwrap().to_bytes();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    drop(sender);
    tokio::time::timeout(LONG, driver).await.expect("the driver ends with its last sender").unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_peer_without_http2_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let tls = own_tls(directory.path());
    let mut config = (*tls.server_config()).clone();
    config.alpn_protocols = Vec::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let peer = tokio::task::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        acceptor.accept(stream).await.unwrap().shutdown().await
    });
    let error = connect(&addr.to_string(), &insecure(), &ChannelOptions::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotHttp2 { .. }), "{error}");
    let _ = peer.await.unwrap();
}

#[tokio::test]
async fn direct_mode_does_without_tls() {
    let server = start_health(None, ServeLimits::default()).await;
    let channel = connect_plain(&server.endpoint(), &ChannelOptions::default()).await.unwrap();
    assert_eq!(check(channel).await.unwrap(), "SERVING");
    server.stop().await;
}
