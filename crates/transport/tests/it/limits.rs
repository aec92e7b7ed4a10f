//! Peers that take more than their share.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use jumpstarter_transport::connect::{connect, connect_raw};
use jumpstarter_transport::{ChannelOptions, ChannelTls, ServeLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::{LONG, check, eventually, own_tls, start, start_health, tls_connect};

fn insecure() -> ChannelTls {
    ChannelTls { insecure: true, ..ChannelTls::default() }
}

/// Reads until the peer closes; how many bytes came.
async fn read_to_close(stream: &mut (impl AsyncReadExt + Unpin)) -> usize {
    let mut content = Vec::new();
    // An abrupt end is an end as well.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut content)).await.expect("the peer closes");
    content.len()
}

#[tokio::test]
async fn huge_metadata_is_refused_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(Some(own_tls(directory.path())), ServeLimits::default()).await;
    for (size, taken) in [(8 * 1024, true), (40 * 1024, false), (4 * 1024 * 1024, false)] {
        // By hand, since well-behaved clients respect our SETTINGS: HEADERS, then CONTINUATION after CONTINUATION.
        let mut stream = tls_connect(server.addr, &["h2"]).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        // GET, https, `/peer` would need a literal; `/` echoes the empty body.
        let mut block: Vec<u8> = vec![0x82, 0x87, 0x84];
        // A literal header without indexing, with a name of one byte and a value of `size`.
        block.extend([0x00, 0x01, b'x', 0x7f]);
        let mut rest = size - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap() | 0x80);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
        block.resize(block.len() + size, b'v');
        let mut frames = block.chunks(16 * 1024).peekable();
        let mut kind = 1;
        while let Some(part) = frames.next() {
            let length = u32::try_from(part.len()).unwrap().to_be_bytes();
            let flags = if frames.peek().is_none() { 4 } else { 0 } | u8::from(kind == 1);
            let header = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
            if stream.write_all(&[&header[..], part].concat()).await.is_err() {
                break;
            }
            kind = 9;
        }
        let _ = stream.flush().await;
        // SETTINGS, then a 431 or GOAWAY; never the answer of the service, which is an HTTP 200 (index 8 of HPACK).
        let mut answer = vec![0; 4096];
        let mut seen = Vec::new();
        while let Ok(Ok(count)) = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut answer)).await {
            if count == 0 {
                break;
            }
            seen.extend_from_slice(&answer[..count]);
            if has_ok_answer(&seen) {
                break;
            }
        }
        assert_eq!(has_ok_answer(&seen), taken, "{size} bytes of metadata");
    }
    let (mut sender, driver) =
        connect_raw::<Full<Bytes>>(&server.endpoint(), &insecure(), &ChannelOptions::default()).await.unwrap();
    let driver = tokio::task::spawn(driver);
    // Large tokens pass.
    let request = http::Request::get("https://localhost/peer").header("authorization", "x".repeat(9000));
    let answer = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert!(answer.status().is_success());
    drop(sender);
    let _ = driver.await.unwrap();
    server.stop().await;
}

/// Whether a HEADERS frame that begins with `:status: 200` is among the frames.
fn has_ok_answer(mut bytes: &[u8]) -> bool {
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *kind == 1 && rest.first() == Some(&0x88) {
            return true;
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    false
}

#[tokio::test]
async fn garbage_and_silence_hold_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let limits = ServeLimits {
        handshake_timeout: Duration::from_millis(1500),
        request_timeout: Duration::from_millis(1500),
        ..ServeLimits::default()
    };
    let server = start_health(Some(own_tls(directory.path())), limits).await;

    let mut garbage = TcpStream::connect(server.addr).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n\xff\x00\xff").await.unwrap();
    read_to_close(&mut garbage).await;

    // Half-done handshakes by the hundred.
    let mut silent = Vec::new();
    for n in 0..1000 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).await.unwrap();
        }
        silent.push(stream);
    }
    let channel = connect(&server.endpoint(), &insecure(), &ChannelOptions::default()).await.unwrap();
    assert_eq!(check(channel.clone()).await.unwrap(), "SERVING");

    // A handshake, then nothing; and less than a preface.
    let mut idle = tls_connect(server.addr, &["h2"]).await.unwrap();
    read_to_close(&mut idle).await;
    let mut slow = tls_connect(server.addr, &["h2"]).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0").await.unwrap();
    read_to_close(&mut slow).await;
    let mut headers = tls_connect(server.addr, &["http/1.1"]).await.unwrap();
    headers.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-endless: ").await.unwrap();
    read_to_close(&mut headers).await;

    eventually("only the good connection is left", || server.totals().open == 1).await;
    assert_eq!(check(channel).await.unwrap(), "SERVING");
    drop(silent);
    server.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let limits = ServeLimits { max_connections: 2, ..ServeLimits::default() };
    let server = start_health(Some(own_tls(directory.path())), limits).await;
    let first = tls_connect(server.addr, &["h2"]).await.unwrap();
    let second = tls_connect(server.addr, &["h2"]).await.unwrap();
    let mut third = TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(read_to_close(&mut third).await, 0);
    eventually("it is counted", || server.totals().refused == 1).await;
    drop(first);
    eventually("a slot is free", || server.totals().open == 1).await;
    assert!(tls_connect(server.addr, &["h2"]).await.is_ok());
    drop(second);
    server.stop().await;
}

#[tokio::test]
async fn many_small_unread_frames_do_not_end_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(Some(own_tls(directory.path())), ServeLimits::default()).await;
    let options = ChannelOptions::default();
    let (mut sender, driver) = connect_raw::<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>(
        &server.endpoint(),
        &insecure(),
        &options,
    )
    .await
    .unwrap();
    let driver = tokio::task::spawn(driver);
    // `/wait` does not read its body: 23-byte frames fill the stream's window, and only that.
    let frames = futures::stream::repeat_with(|| Ok(http_body::Frame::data(Bytes::from_static(&[1; 23]))));
    let body = http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(frames));
    let request = http::Request::post("https://localhost/wait").body(body).unwrap();
    let waiting = tokio::task::spawn(sender.send_request(request));
    server.arrived.notified().await;
    for _ in 0..20 {
        let body = http_body_util::BodyExt::boxed(Full::new(Bytes::from_static(b"alive")));
        let request = http::Request::post("https://localhost/echo").body(body).unwrap();
        let answer = tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap();
        assert!(answer.status().is_success());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    server.release.notify_one();
    assert!(tokio::time::timeout(LONG, waiting).await.unwrap().unwrap().unwrap().status().is_success());
    drop(sender);
    driver.abort();
    server.stop().await;
}
