//! Our client: the library in this process, and `j`.

use std::{path::Path, process::Command};

use futures::{StreamExt as _, TryStreamExt as _};
use jumpstarter_client::{ClientError, Flasher, Session, Storage, Transfer, Value};
use jumpstarter_testkit::{Jmp, jmp::Release};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Bench;
use crate::mine::Mine;

/// What comes back through an echo.
async fn echoes(session: &Session, driver: &str, bytes: &[u8]) {
    let stream = session.open(driver, "connect").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let mut back = vec![0; bytes.len()];
    let (sent, got) = tokio::join!(write.write_all(bytes), read.read_exact(&mut back));
    sent.and(got.map(drop)).unwrap_or_else(|err| panic!("{driver}: {err}"));
    assert!(back == bytes, "{driver}");
}

async fn call(session: &Session, driver: &str, method: &str) -> Value {
    session.call(driver, method, &[]).await.unwrap_or_else(|err| panic!("{driver} {method}: {err}"))
}

async fn read(session: &Session, driver: &str) -> Vec<Value> {
    session.stream_call(driver, "read", &[]).await.unwrap().try_collect().await.unwrap()
}

/// The file behind `url`, as another program gets it.
async fn fetched(url: String) -> Vec<u8> {
    let fetch = move || Command::new("curl").args(["-sSf", "--max-time", "60", &url]).output();
    let done = tokio::task::spawn_blocking(fetch).await.unwrap().expect("start curl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// Every driver of the exporter `name`.
pub(super) fn use_in_process(config: &Path, bench: &Bench, name: &str) {
    let mine = Mine::start(config, &format!("name={name}"));
    mine.run(async {
        power(&mine.session, bench, name).await;
        network(&mine.session, bench).await;
        servers(&mine.session).await;
        cloud(&mine.session).await;
        hosted(&mine.session).await;
    });
    mine.end();
}

async fn power(session: &Session, bench: &Bench, name: &str) {
    for driver in ["power", "sync", "group.power", "webplug", "plug"] {
        call(session, driver, "on").await;
        call(session, driver, "off").await;
    }
    assert_eq!(bench.plug(name), "OFF");
    call(session, "plug", "on").await;
    assert_eq!(bench.plug(name), "ON");
    assert!(bench.orders().lines().any(|line| line == format!("/on {name}")), "what was posted");
    assert_eq!(read(session, "power").await.len(), 2);
    assert_eq!(read(session, "webplug").await, [json!({ "voltage": 230.5, "current": 0.25 })]);
    let refused = session.call("power", "rescue", &[]).await;
    assert!(matches!(refused, Err(ClientError::Exporter { .. })), "{refused:?}");
}

async fn network(session: &Session, bench: &Bench) {
    let some: Vec<u8> = (0..256_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    for driver in ["tcp", "unix", "echo", "vnc.tcp", "websocket", "remote"] {
        echoes(session, driver, &some).await;
    }
    echoes(session, "udp", b"a datagram").await;
    echoes(session, "serial", &some[..251]).await;
    echoes(session, "loop", b"slowly").await;
    let echo = &bench.told["echo"];
    assert_eq!(call(session, "tcp", "address").await, json!(format!("tcp://127.0.0.1:{echo}")));
    assert_eq!(call(session, "websocket", "address").await, bench.told["websocket"]);
    assert_eq!(call(session, "vnc", "get_default_encrypt").await, json!(true));

    // A bus lets in whoever says who it is: as in the D-Bus specification, "Authentication examples".
    let mut bus = session.open("bus", "connect").await.unwrap();
    let user = rustix::process::getuid().as_raw().to_string();
    // The code of a digit in hexadecimal is 3 and the digit.
    let hex: String = user.chars().flat_map(|digit| ['3', digit]).collect();
    bus.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 3];
    bus.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"OK ");
}

async fn servers(session: &Session) {
    let page = b"served to a device".repeat(1000);
    Storage::new(session, "http.storage").write("c.bin", page.as_slice(), Transfer::default()).await.unwrap();
    call(session, "http", "start").await;
    let url = call(session, "http", "get_url").await;
    assert_eq!(fetched(format!("{}/c.bin", url.as_str().unwrap())).await, page);
    call(session, "http", "stop").await;
    Storage::new(session, "tftp.storage").write("d.bin", page.as_slice(), Transfer::default()).await.unwrap();
    call(session, "tftp", "start").await;
    let port = call(session, "tftp", "get_port").await.as_f64().unwrap();
    assert_eq!(fetched(format!("tftp://127.0.0.1:{port}/d.bin")).await, page);
    call(session, "tftp", "stop").await;
}

async fn cloud(session: &Session) {
    let image = b"an image".repeat(100_000);
    let bucket = Storage::new(session, "bucket");
    let sent = bucket.write("mine.bin", image.as_slice(), Transfer { digest: true, ..Transfer::default() }).await;
    assert_eq!(bucket.hash("mine.bin", "sha256").await.unwrap(), sent.unwrap().sha256.unwrap().to_string());
    let mut back = Vec::new();
    bucket.read("mine.bin", &mut back, Transfer::default()).await.unwrap();
    assert!(back == image);
    let names: Vec<_> = bucket.list("/", false).await.unwrap().try_collect().await.unwrap();
    assert!(names.iter().any(|name| name == "mine.bin"), "{names:?}");
    assert!(bucket.exists("mine.bin").await.unwrap() && !bucket.exists("never").await.unwrap());
    // The exporter fetches the image from the cloud itself.
    let signed = bucket.presign("read", "mine.bin", 60).await.unwrap();
    let flasher = Flasher::new(session, "flasher");
    flasher.flash_url(signed["url"].as_str().unwrap(), Some("signed")).await.unwrap();
    let mut back = Vec::new();
    flasher.dump(&mut back, Some("signed"), Transfer::default()).await.unwrap();
    assert!(back == image);
    bucket.delete("mine.bin").await.unwrap();
}

async fn hosted(session: &Session) {
    assert_eq!(read(session, "bench").await, [json!({ "voltage": 7.0, "current": 1.0 })]);
    call(session, "bench.other", "on").await;
    let refused = session.call("bench", "on", &[]).await.unwrap_err();
    assert!(refused.to_string().contains("the bench stays off"), "{refused}");
    echoes(session, "wire", &[7; 1000]).await;
    let flasher = Flasher::new(session, "hostedflasher");
    let image = vec![9; 300_000];
    flasher.flash(image.as_slice(), None, Transfer::default()).await.unwrap();
    let mut back = Vec::new();
    flasher.dump(&mut back, None, Transfer::default()).await.unwrap();
    assert_eq!(back, image);
    let mut output = session.stream_call("tool", "call_method", &[json!("fails"), json!({})]).await.unwrap();
    let mut last = Value::Null;
    while let Some(item) = output.next().await {
        last = item.unwrap();
    }
    assert_eq!(last[2], json!(4.0));
}

/// The commands of our `j` in a shell of our `jmp`.
#[track_caller]
pub(super) fn use_with_j(alice: &Jmp, name: &str) {
    let alice = alice.with(Release::Rust);
    let script = "set -e; j plug on; j plug off; j webplug read; j websocket address; j tcp address --port; \
                  j tool hello dear; j bucket exists never || echo not there; j vnc call get_default_encrypt";
    let done = alice.run(&["shell", "-l", &format!("name={name}"), "--", "sh", "-c", script]).ok();
    for text in ["voltage=230.5 V", "127.0.0.1:", "/console", "hello dear", "not there", "true"] {
        done.clone().says(text);
    }
}

/// The Python process of hosted drivers ends in the middle of a session.
pub(super) fn survive_the_end_of_python(config: &Path) {
    let mine = Mine::start(config, "name=ours");
    mine.run(async {
        let session = &mine.session;
        session.call("bench", "die", &[]).await.unwrap_err();
        let told = loop {
            // The call may fail before the end of the process is known; then it is told.
            let text = session.call("bench", "read", &[]).await.unwrap_err().to_string();
            if text.contains("exit status: 3") {
                break text;
            }
            tokio::task::yield_now().await;
        };
        assert!(told.contains("'bench'") && told.contains("the next session starts a new one"), "{told}");
        call(session, "power", "on").await;
        echoes(session, "tcp", b"still there").await;
    });
    mine.end();
}
