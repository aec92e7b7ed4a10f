//! WebSockets.
use futures::{SinkExt as _, StreamExt as _};
use jumpstarter_drivers::DriverError;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use super::{driver, fault};

const CLASS: &str = "jumpstarter_driver_network.driver.WebsocketNetwork";

#[tokio::test]
async fn messages_are_kept_apart_and_the_end_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/console?token=secret", listener.local_addr().unwrap());
    let ws = driver(CLASS, &format!("{{url: '{url}'}}")).await;
    assert_eq!(ws.call("address", vec![]).await.unwrap(), json!(url));
    let serve = async {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        for message in [Message::text("hällo"), Message::binary(vec![]), Message::binary(vec![7; 100_000])] {
            socket.send(message).await.unwrap();
        }
        let first = socket.next().await.unwrap().unwrap();
        let second = socket.next().await.unwrap().unwrap();
        assert_eq!((first, second), (Message::binary(&b"one"[..]), Message::binary(&b"two"[..])));
        // The end of the writer; what is said after it is still read.
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
        while let Some(Ok(_)) = socket.next().await {}
    };
    let talk = async {
        let mut stream = ws.open("connect").await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let n = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..n], "hällo".as_bytes());
        let mut got = 0;
        while got < 100_000 {
            got += stream.read(&mut buffer).await.unwrap();
        }
        assert_eq!(got, 100_000);
        for text in [&b"one"[..], b"two"] {
            assert_eq!(stream.write(text).await.unwrap(), 3);
            stream.flush().await.unwrap();
        }
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    };
    tokio::join!(serve, talk);
}

#[tokio::test]
async fn what_is_no_websocket_is_told_without_secrets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ws = driver(CLASS, &format!("{{url: 'ws://me:pw@{address}/x?token=secret', enable_address: false}}")).await;
    let hidden = ws.call("address", vec![]).await;
    assert!(matches!(hidden, Err(DriverError::InvalidArgument(text)) if text.contains("enable_address")));
    let refuse = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = io.read(&mut request).await.unwrap();
        io.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (opened, ()) = tokio::join!(ws.open("connect"), refuse);
    let text = opened.err().unwrap().to_string();
    assert!(text.contains(&format!("ws://{address}/x")) && text.contains("403"), "{text}");
    assert!(!text.contains("secret") && !text.contains("pw"), "{text}");
    drop(listener);
    let gone = ws.open("connect").await.err().unwrap();
    assert!(matches!(&gone, DriverError::Connection { .. }), "{gone}");
    let text = fault(CLASS, "{url: 'http://x', enable_address: 1}").await;
    assert!(
        text.contains("'url'") && text.contains("neither ws nor wss") && text.contains("'enable_address'"),
        "{text}"
    );
}
