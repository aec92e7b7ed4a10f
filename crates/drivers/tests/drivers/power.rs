//! Power switches.
use std::sync::Arc;

use futures::TryStreamExt as _;
use jumpstarter_drivers::{DriverError, DriverTree, LogSink, Registry};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{Lines, config, driver, fault};

#[tokio::test]
async fn mock_power() {
    let lines = Arc::new(Lines::default());
    let sink: Arc<dyn LogSink> = Arc::<Lines>::clone(&lines);
    let export = config("{d: {type: jumpstarter_driver_power.driver.MockPower, config: {log_level: DEBUG, odd: 1}}}");
    let tree = DriverTree::build(&export, &Registry::builtin(), &sink).await.unwrap();
    let power = tree.get(&tree.reports()[1].uuid).unwrap();
    assert_eq!(power.call("on", vec![]).await.unwrap(), json!(null));
    assert_eq!(power.call("off", vec![]).await.unwrap(), json!(null));
    let read: Vec<_> = power.stream_call("read", vec![]).await.unwrap().try_collect().await.unwrap();
    assert_eq!(read, [json!({"voltage": 0.0, "current": 0.0}), json!({"voltage": 5.0, "current": 2.0})]);
    assert!(matches!(power.call("read", vec![]).await, Err(DriverError::MethodNotFound(_))));
    assert!(matches!(power.call("on", vec![json!(1)]).await, Err(DriverError::InvalidArgument(_))));
    assert!(matches!(power.stream_call("on", vec![]).await, Err(DriverError::MethodNotFound(_))));
    assert!(matches!(power.open("connect").await, Err(DriverError::MethodNotFound(_))));
    let lines = lines.0.lock().unwrap();
    assert!(lines[0].contains("WARNING MockPower config key 'odd'"), "{lines:?}");
    assert_eq!(lines[1..], ["INFO MockPower power on", "INFO MockPower power off"]);
}

const HTTP: &str = "jumpstarter_driver_http_power.driver.HttpPower";

/// Answers one request after the other with `answers`; gives back what was asked.
async fn socket(listener: TcpListener, answers: &[&str]) -> Vec<String> {
    let mut asked = Vec::new();
    for answer in answers {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let wanted = |text: &str| {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            (body.len() >= length.unwrap_or(0)).then_some(())
        };
        while wanted(&String::from_utf8_lossy(&request)).is_none() {
            assert_ne!(io.read_buf(&mut request).await.unwrap(), 0);
        }
        asked.push(String::from_utf8(request).unwrap());
        io.write_all(answer.as_bytes()).await.unwrap();
    }
    asked
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn http_sockets_are_switched_and_read() {
    // As a program's `main` does; another test of this process may have done it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let power = driver(
        HTTP,
        &format!(
            "{{power_on: {{url: '{url}/on', method: post, data: 'a=1'}}, power_off: {{url: '{url}/off?t=1', data: unsent}}, \
              power_read: {{url: '{url}/read', voltage_path: m.0.v}}, auth: {{basic: {{user: me, password: pw}}}}}}"
        ),
    )
    .await;
    let answers = [
        answer("204 No Content", ""),
        answer("503 Down", "not now"),
        answer("200 OK", r#"{"m": [{"v": 230.5}]}"#),
        answer("200 OK", "<html>"),
    ];
    let answers: Vec<_> = answers.iter().map(String::as_str).collect();
    let calls = async {
        power.call("on", vec![]).await.unwrap();
        let err = power.call("off", vec![]).await.unwrap_err();
        assert!(
            matches!(&err, DriverError::Other(text) if text.contains("/off was answered with 503") && text.contains("not now")),
            "{err}"
        );
        let read: Vec<_> = power.stream_call("read", vec![]).await.unwrap().try_collect().await.unwrap();
        assert_eq!(read, [json!({"voltage": 230.5, "current": 0.0})]);
        let err = power.stream_call("read", vec![]).await.err().unwrap();
        assert!(matches!(&err, DriverError::InvalidArgument(text) if text.contains("JSON")), "{err}");
    };
    let (asked, ()) = tokio::join!(socket(listener, &answers), calls);
    assert!(asked[0].starts_with("POST /on HTTP/1.1") && asked[0].ends_with("\r\n\r\na=1"), "{}", asked[0]);
    // `me:pw` in base64.
    assert!(asked[0].to_lowercase().contains("authorization: basic bwu6chc="), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /off?t=1 ") && !asked[1].contains("unsent"), "{}", asked[1]);
    // The listener is gone.
    let err = power.call("on", vec![]).await.unwrap_err();
    assert!(matches!(err, DriverError::Connection { .. }), "{err}");
}

#[tokio::test]
async fn faults_of_http_sockets_name_their_keys() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let text =
        fault(HTTP, "{power_on: {url: 'ftp://x'}, power_read: {path: x}, auth: {basic: {user: 1}}, extra: 2}").await;
    for part in [
        "'power_on'",
        "ftp",
        "'power_off': is missing",
        "'power_read'",
        "'url' is missing",
        "'path' is not known",
        "'user'",
        "'extra'",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
