//! Serving: protocols, draining, and peers that die without a word.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use jumpstarter_transport::connect::{connect_raw, connect_unix};
use jumpstarter_transport::listen::bind_unix;
use jumpstarter_transport::{ChannelOptions, ChannelTls, ServeLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::{LONG, eventually, own_tls, start, start_on, tls_connect};

fn insecure() -> ChannelTls {
    ChannelTls { insecure: true, ..ChannelTls::default() }
}

#[tokio::test]
async fn handshakes_finish_with_and_without_alpn() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(Some(own_tls(directory.path())), ServeLimits::default()).await;
    let cases: [(&[&str], Option<&[u8]>); 4] =
        [(&[], None), (&["h2"], Some(b"h2")), (&["http/1.1", "h2"], Some(b"h2")), (&["http/1.1"], Some(b"http/1.1"))];
    for (offered, selected) in cases {
        let stream = tls_connect(server.addr, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), selected, "{offered:?}");
    }
    for offered in [&[][..], &["http/1.1"]] {
        let mut stream = tls_connect(server.addr, offered).await.unwrap();
        stream.write_all(b"GET /peer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        // A peer that closes without close_notify is an error to rustls and fine here.
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("Tcp(127.0.0.1:"), "{answer}");
    }
    assert!(tls_connect(server.addr, &["spdy/3"]).await.is_err());
    eventually("all handshakes are counted", || server.totals().handshakes_ok == 6).await;
    eventually("the failed one as well", || server.totals().handshakes_failed == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn stopping_lets_requests_finish_and_refuses_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let limits = ServeLimits { drain_grace: 2 * LONG, ..ServeLimits::default() };
    let server = start(Some(own_tls(directory.path())), limits).await;
    let (mut sender, driver) =
        connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &ChannelOptions::default()).await.unwrap();
    let driver = tokio::task::spawn(driver);
    let request = http::Request::get("https://localhost/wait").body(Full::default()).unwrap();
    let waiting = tokio::task::spawn(sender.send_request(request));
    server.arrived.notified().await;
    let addr = server.addr;
    server.stop.cancel();

    let started = std::time::Instant::now();
    while TcpStream::connect(addr).await.is_ok() {
        assert!(started.elapsed() < LONG, "the port stays open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The connection is told a moment later; from then on it takes nothing new.
    loop {
        assert!(started.elapsed() < LONG, "new requests are still taken");
        let request = http::Request::get("https://localhost/peer").body(Full::default()).unwrap();
        if sender.send_request(request).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!waiting.is_finished());
    server.release.notify_one();
    let answer = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "released");
    tokio::time::timeout(LONG, server.done).await.expect("the server ends").unwrap().unwrap();
    let _ = driver.await.unwrap();
}

#[tokio::test]
async fn what_outlives_the_grace_is_cut() {
    let limits = ServeLimits { drain_grace: Duration::from_millis(100), ..ServeLimits::default() };
    let directory = tempfile::tempdir().unwrap();
    let server = start(Some(own_tls(directory.path())), limits).await;
    let (mut sender, driver) =
        connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &ChannelOptions::default()).await.unwrap();
    let driver = tokio::task::spawn(driver);
    let request = http::Request::get("https://localhost/wait").body(Full::default()).unwrap();
    let waiting = tokio::task::spawn(sender.send_request(request));
    server.arrived.notified().await;
    let counters = server.counters.clone();
    server.stop().await;
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(counters.totals().open, 0);
    let _ = driver.await;
}

#[tokio::test]
async fn a_silently_dead_peer_is_noticed_by_both_sides() {
    let limits = ServeLimits {
        keepalive_interval: Duration::from_millis(100),
        keepalive_timeout: Duration::from_millis(300),
        ..ServeLimits::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let server = start(Some(own_tls(directory.path())), limits).await;

    // A proxy that stops forwarding without closing anything: a pulled cable.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_addr = proxy.local_addr().unwrap();
    let cut = tokio_util::sync::CancellationToken::new();
    let (cable, target) = (cut.clone(), server.addr);
    let proxying = tokio::task::spawn(async move {
        let (client, _) = proxy.accept().await.unwrap();
        let upstream = TcpStream::connect(target).await.unwrap();
        let (mut client_read, mut client_write) = client.into_split();
        let (mut upstream_read, mut upstream_write) = upstream.into_split();
        let both = async {
            tokio::join!(copy(&mut client_read, &mut upstream_write), copy(&mut upstream_read, &mut client_write))
        };
        let _ = cable.run_until_cancelled(both).await;
        // Keeps the sockets open until the test is over.
        std::future::pending::<()>().await;
    });
    let options = ChannelOptions {
        keepalive_interval: Some(Duration::from_millis(100)),
        keepalive_timeout: Duration::from_millis(300),
        ..ChannelOptions::default()
    };
    let endpoint = format!("localhost:{}", proxy_addr.port());
    let (mut sender, driver) = connect_raw::<Full<Bytes>>(&endpoint, &insecure(), &options).await.unwrap();
    let mut driver = tokio::task::spawn(driver);
    let request = http::Request::get("https://localhost/peer").body(Full::default()).unwrap();
    assert!(sender.send_request(request).await.unwrap().status().is_success());

    // Alive and idle for longer than interval and timeout together: nothing is cut.
    assert!(tokio::time::timeout(Duration::from_millis(800), &mut driver).await.is_err(), "an idle peer was cut");
    assert_eq!(server.totals().open, 1);
    cut.cancel();
    eventually("the server drops the dead peer", || server.totals().open == 0).await;
    let ended = tokio::time::timeout(LONG, driver).await.expect("the client notices").unwrap();
    assert!(ended.is_err(), "a dead server is an error");
    proxying.abort();
    server.stop().await;
}

#[tokio::test]
async fn unix_sockets_are_served_and_name_the_user() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = bind_unix(&path, 0o600).await.unwrap();
    // With a certificate: it is not used here.
    let server = start_on(vec![listener], Some(own_tls(directory.path())), ServeLimits::default());
    let (mut sender, driver) =
        jumpstarter_transport::connect::connect_raw_unix::<Full<Bytes>>(&path, &ChannelOptions::default())
            .await
            .unwrap();
    let driver = tokio::task::spawn(driver);
    let request = http::Request::get("http://localhost/peer").body(Full::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(answer, format!("Some(Unix {{ uid: Some({uid}) }})"));
    drop(sender);
    let _ = driver.await.unwrap();
    assert!(connect_unix(&path, &ChannelOptions::default()).await.is_ok());
    server.stop().await;
}
