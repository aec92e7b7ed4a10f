//! Connections that are idle or too old, and peers that ping all the time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use jumpstarter_transport::connect::connect_raw;
use jumpstarter_transport::{ChannelOptions, ChannelTls, ServeLimits, ServingTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{LONG, eventually, own_tls, start, tls_connect};

const PING: u8 = 6;
const GOAWAY: u8 = 7;

fn insecure() -> ChannelTls {
    ChannelTls { insecure: true, ..ChannelTls::default() }
}

fn request(path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(format!("https://localhost{path}")).body(Full::default()).unwrap()
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_busy_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let idle = Duration::from_millis(300);
    let limits = ServeLimits { max_connection_idle: Some(idle), ..ServeLimits::default() };
    let server = start(Some(own_tls(directory.path())), limits).await;
    let options = ChannelOptions::default();
    let (mut busy, busy_driver) = connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &options).await.unwrap();
    let busy_driver = tokio::task::spawn(busy_driver);
    let waiting = tokio::task::spawn(busy.send_request(request("/wait")));
    server.arrived.notified().await;

    let (mut quiet, quiet_driver) =
        connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &options).await.unwrap();
    let quiet_driver = tokio::task::spawn(quiet_driver);
    let answer = quiet.send_request(request("/peer")).await.unwrap();
    assert!(answer.into_body().collect().await.is_ok());
    // Only GOAWAY, not a broken connection.
    assert!(tokio::time::timeout(LONG, quiet_driver).await.expect("it ends").unwrap().is_ok());
    eventually("one is left", || server.totals().open == 1).await;

    tokio::time::sleep(2 * idle).await;
    assert!(!waiting.is_finished() && !busy_driver.is_finished());
    server.release.notify_one();
    let answer = tokio::time::timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "released");
    // Now it is idle as well.
    assert!(tokio::time::timeout(LONG, busy_driver).await.expect("it ends").unwrap().is_ok());
    server.stop().await;
}

#[tokio::test]
async fn an_old_connection_takes_nothing_new_and_its_calls_end_with_the_grace() {
    let directory = tempfile::tempdir().unwrap();
    let limits = ServeLimits {
        max_connection_age: Some(Duration::from_millis(300)),
        max_connection_age_grace: Some(Duration::from_millis(500)),
        ..ServeLimits::default()
    };
    let server = start(Some(own_tls(directory.path())), limits).await;
    let (mut sender, driver) =
        connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &ChannelOptions::default()).await.unwrap();
    let driver = tokio::task::spawn(driver);
    let waiting = tokio::task::spawn(sender.send_request(request("/wait")));
    server.arrived.notified().await;
    // Told to go: nothing new is taken, while the call goes on.
    let started = std::time::Instant::now();
    while sender.send_request(request("/peer")).await.is_ok() {
        assert!(started.elapsed() < LONG, "new calls are still taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = tokio::time::timeout(LONG, waiting).await.expect("it is cut").unwrap();
    assert!(ended.is_err(), "{ended:?}");
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    let _ = tokio::time::timeout(LONG, driver).await.expect("it ends");
    eventually("it is closed", || server.totals().open == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn any_number_of_pings_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(Some(own_tls(directory.path())), ServeLimits::default()).await;
    let mut stream = tls_connect(server.addr, &["h2"]).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    for _ in 0..200 {
        stream.write_all(&[0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).await.unwrap();
    }
    stream.flush().await.unwrap();
    let mut answered = 0;
    while answered < 200 {
        let mut header = [0; 9];
        tokio::time::timeout(LONG, stream.read_exact(&mut header)).await.expect("in time").unwrap();
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let mut payload = vec![0; length];
        tokio::time::timeout(LONG, stream.read_exact(&mut payload)).await.expect("in time").unwrap();
        assert_ne!(header[3], GOAWAY, "{payload:?} after {answered}");
        if header[3] == PING && header[4] == 1 {
            assert_eq!(payload, [1, 2, 3, 4, 5, 6, 7, 8]);
            answered += 1;
        }
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_for_the_hosts_given() {
    let tls = ServingTls::self_signed(&["grpc.example.com".to_owned(), "10.1.2.3".to_owned()]).unwrap();
    for host in ["grpc.example.com", "10.1.2.3", "localhost"] {
        assert!(tls.hosts().iter().any(|name| name == host), "{:?}", tls.hosts());
    }
    assert_eq!(tls.ca_pem(), None);
    let before = tls.not_after();
    // Not due: the same one stays. Due: another one, which ends no earlier.
    tls.refresh(jiff::Timestamp::now());
    assert_eq!(tls.not_after(), before);
    tls.refresh(before);
    assert!(tls.not_after() >= before);
    let server = start(Some(std::sync::Arc::new(tls)), ServeLimits::default()).await;
    let (mut sender, driver) =
        connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &ChannelOptions::default()).await.unwrap();
    let driver = tokio::task::spawn(driver);
    assert!(sender.send_request(request("/peer")).await.unwrap().status().is_success());
    drop(sender);
    let _ = driver.await.unwrap();
    server.stop().await;
    assert!(ServingTls::self_signed(&["no host".to_owned()]).is_err());
}
