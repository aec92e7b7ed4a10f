//! Byte streams to the network.
use jumpstarter_drivers::DriverError;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket, UnixListener},
};

use super::{driver, fault, only};

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
        driver("jumpstarter_driver_network.driver.TcpNetwork", &config).await
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

#[tokio::test]
async fn udp_keeps_datagrams_apart() {
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = peer.local_addr().unwrap().port();
    let udp =
        driver("jumpstarter_driver_network.driver.UdpNetwork", &format!("{{host: 127.0.0.1, port: {port}}}")).await;
    assert_eq!(udp.call("address", vec![]).await.unwrap(), json!(format!("udp://127.0.0.1:{port}")));
    let mut stream = udp.open("connect").await.unwrap();
    let mut buffer = vec![0; 70_000];
    for text in ["one", "two"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let (n, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], text.as_bytes());
        peer.send_to(format!("{text} back").as_bytes(), from).await.unwrap();
        peer.send_to(b"again", from).await.unwrap();
        let n = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], format!("{text} back").as_bytes());
        let n = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], b"again");
    }
    stream.write_all(&vec![7; 60_000]).await.unwrap();
    assert_eq!(peer.recv_from(&mut buffer).await.unwrap().0, 60_000);
}

#[tokio::test]
async fn unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let unix = driver("jumpstarter_driver_network.driver.UnixNetwork", &format!("{{path: {}}}", path.display())).await;
    let err = unix.open("connect").await.err().unwrap();
    assert!(
        matches!(&err, DriverError::Connection { .. }) && err.to_string().contains(path.to_str().unwrap()),
        "{err}"
    );
    let listener = UnixListener::bind(&path).unwrap();
    let mut stream = unix.open("connect").await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    peer.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
    assert!(matches!(unix.call("address", vec![]).await, Err(DriverError::MethodNotFound(_))));
    let text = fault("jumpstarter_driver_network.driver.UnixNetwork", &format!("{{path: /{}}}", "x".repeat(200))).await;
    assert!(text.contains("'path'") && text.contains("107"), "{text}");
    let text = fault("jumpstarter_driver_network.driver.DbusNetwork", "{kind: other}").await;
    assert!(text.contains("'other' is neither 'system' nor 'session'"), "{text}");
}
