//! Storage, flashers and the files of clients, without a network between.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use jumpstarter_config::{Env, ExporterConfig};
use jumpstarter_drivers::{
    Driver, DriverError, DriverTree, LogSink, NoLog, Registry, Value,
    storage::{Outgoing, Resources},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const CLASS: &str = "jumpstarter_driver_opendal.driver";

struct One {
    tree: DriverTree,
    driver: Arc<dyn Driver>,
}

async fn one(class: &str, config: &str) -> One {
    let tree = build(class, config).await.unwrap();
    let driver = Arc::clone(tree.get(&tree.reports()[1].uuid).unwrap());
    One { tree, driver }
}

async fn build(class: &str, config: &str) -> Result<DriverTree, String> {
    let yaml =
        format!("metadata: {{namespace: lab, name: ex}}\nexport: {{d: {{type: {CLASS}.{class}, config: {config}}}}}\n");
    let config = ExporterConfig::from_yaml(&yaml, &Env::empty()).unwrap();
    let logs: Arc<dyn LogSink> = Arc::new(NoLog);
    DriverTree::build(&config, &Registry::builtin(), &logs).await.map_err(|err| err.to_string())
}

async fn fs(root: &Path) -> One {
    one("Opendal", &format!("{{scheme: fs, kwargs: {{root: {}}}}}", root.display())).await
}

impl One {
    async fn call(&self, method: &str, args: &[Value]) -> Result<Value, DriverError> {
        self.driver.call(method, args.to_vec()).await
    }

    fn resources(&self) -> &Resources {
        self.tree.resources()
    }

    /// Calls `method` with a file whose bytes are `parts`; the handle is the last argument.
    async fn send(&self, method: &str, args: &[Value], parts: Vec<io::Result<Bytes>>) -> Result<bool, DriverError> {
        let stream = self.resources().offer(stream::iter(parts).boxed()).unwrap();
        let handle = json!({ "kind": "client_stream", "uuid": stream.id(), "x_jmp_content_encoding": null });
        let (called, outgoing) =
            tokio::join!(self.driver.call(method, [args, &[handle]].concat()), stream.collect::<Vec<_>>());
        called.map(|_| outgoing == [Outgoing::End])
    }

    /// Calls `method` with a file to fill; none when the driver did not say that it is complete.
    async fn receive(&self, method: &str, args: &[Value]) -> Result<Option<Vec<u8>>, DriverError> {
        let stream = self.resources().offer(stream::pending().boxed()).unwrap();
        let handle = json!({ "kind": "client_stream", "uuid": stream.id() });
        let args = [args, &[handle]].concat();
        let (called, outgoing) = tokio::join!(self.call(method, &args), stream.collect::<Vec<_>>());
        called?;
        let complete = outgoing.last() == Some(&Outgoing::End);
        let data = outgoing.into_iter().filter_map(|item| match item {
            Outgoing::Data(bytes) => Some(bytes),
            Outgoing::End => None,
        });
        Ok(complete.then(|| data.flatten().collect()))
    }

    async fn write(&self, path: &str, parts: Vec<io::Result<Bytes>>) -> Result<bool, DriverError> {
        let fd = self.call("open", &[json!(path), json!("wb")]).await?;
        let sent = self.send("file_write", std::slice::from_ref(&fd), parts).await;
        // What could not be stored may be told by either.
        let closed = self.call("file_close", &[fd]).await;
        let complete = sent?;
        closed?;
        Ok(complete)
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, DriverError> {
        let fd = self.call("open", &[json!(path), json!("rb")]).await?;
        let got = self.receive("file_read", std::slice::from_ref(&fd)).await;
        self.call("file_close", &[fd]).await.unwrap();
        got
    }
}

fn parts(bytes: &[u8], size: usize) -> Vec<io::Result<Bytes>> {
    bytes.chunks(size).map(|part| Ok(Bytes::copy_from_slice(part))).collect()
}

fn cut() -> io::Result<Bytes> {
    Err(io::Error::from(io::ErrorKind::ConnectionReset))
}

#[tokio::test]
async fn files_are_stored_in_any_parts_and_read_back_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let storage = fs(dir.path()).await;
    let bytes: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    for size in [1_000_003, 65_536, 7_777_777] {
        assert!(storage.write("deep/file", parts(&bytes, size)).await.unwrap());
        assert_eq!(storage.read("deep/file").await.unwrap().unwrap(), bytes, "{size}");
    }
    assert!(storage.write("empty", Vec::new()).await.unwrap());
    assert_eq!(storage.read("empty").await.unwrap().unwrap(), b"");
    let fd = storage.call("open", &[json!("deep/file"), json!("rb")]).await.unwrap();
    for (offset, whence, position) in [(-4.0, 2, 2_799_996), (-6.0, 1, 2_799_990), (10.0, 0, 10)] {
        let at = storage.call("file_seek", &[fd.clone(), json!(offset), json!(whence)]).await.unwrap();
        assert_eq!(at, json!(position));
        assert_eq!(storage.call("file_tell", std::slice::from_ref(&fd)).await.unwrap(), json!(position));
    }
    let rest = storage.receive("file_read", std::slice::from_ref(&fd)).await.unwrap().unwrap();
    assert_eq!(rest, bytes[10..]);
    assert_eq!(storage.receive("file_read", std::slice::from_ref(&fd)).await.unwrap().unwrap(), b"", "at the end");
    assert!(storage.call("file_seek", &[fd.clone(), json!(-1.0), json!(0.0)]).await.is_err());
    assert!(storage.call("file_seek", &[fd, json!(0.0), json!(7.0)]).await.is_err());
    let hash = storage.call("hash", &[json!("empty"), json!("md5")]).await.unwrap();
    assert_eq!(hash, json!("d41d8cd98f00b204e9800998ecf8427e"));
    let listed = storage.driver.stream_call("scan", vec![json!("/")]).await.unwrap();
    let mut listed: Vec<Value> = listed.try_collect().await.unwrap();
    listed.sort_by_key(ToString::to_string);
    assert_eq!(listed, ["/", "deep/", "deep/file", "empty"]);
}

#[tokio::test]
async fn what_is_cut_or_does_not_fit_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let storage = fs(dir.path()).await;
    let mut half = parts(&vec![1; 3_000_000], 65_536);
    half.push(cut());
    let err = storage.write("file", half).await.unwrap_err();
    assert!(matches!(&err, DriverError::Connection { .. }), "{err}");
    std::os::unix::fs::symlink("/dev/full", dir.path().join("full")).unwrap();
    let err = storage.write("full", parts(&vec![1; 3_000_000], 65_536)).await.unwrap_err();
    assert!(matches!(&err, DriverError::Io { .. }) && err.to_string().contains("storage is full"), "{err}");
    // A client that does not wait for its file.
    let stream = storage.resources().offer(stream::empty().boxed()).unwrap();
    let handle = json!({ "kind": "client_stream", "uuid": stream.id() });
    storage.write("big", parts(&vec![1; 5_000_000], 1 << 20)).await.unwrap();
    let fd = storage.call("open", &[json!("big"), json!("rb")]).await.unwrap();
    drop(stream);
    let err = storage.call("file_read", &[fd, handle]).await.unwrap_err();
    assert!(err.to_string().contains("is not open"), "{err}");
    for (path, mode) in [("never", "rb"), ("file", "ab"), ("../outside", "wb"), ("/", "rb")] {
        let opened = storage.call("open", &[json!(path), json!(mode)]).await;
        let written = match opened {
            Ok(fd) => storage.send("file_write", &[fd], parts(b"x", 1)).await.map(|_| ()),
            Err(err) => Err(err),
        };
        assert!(written.is_err(), "{path} {mode}");
    }
}

#[tokio::test]
async fn a_stream_is_used_once_and_forgotten_when_its_client_leaves() {
    let mock = one("MockFlasher", "{}").await;
    let stream = mock.resources().offer(stream::iter(parts(b"image", 2)).boxed()).unwrap();
    assert_eq!(mock.resources().waiting(), 1);
    let handle = json!({ "kind": "client_stream", "uuid": stream.id() });
    mock.call("flash", std::slice::from_ref(&handle)).await.unwrap();
    let err = mock.call("flash", &[handle]).await.unwrap_err();
    assert!(matches!(&err, DriverError::Other(text) if text.contains("used before")), "{err}");
    assert_eq!(mock.receive("dump", &[]).await.unwrap().unwrap(), b"image");
    for handle in [Value::Null, json!("x"), json!({ "kind": "client_stream" }), json!({ "kind": "other", "uuid": "x" })]
    {
        let err = mock.call("flash", std::slice::from_ref(&handle)).await.unwrap_err();
        assert!(matches!(err, DriverError::InvalidArgument(_)), "{handle}: {err}");
    }
    drop(stream);
    let streams: Vec<_> = (0..64).map(|_| mock.resources().offer(stream::pending().boxed()).unwrap()).collect();
    assert!(mock.resources().offer(stream::pending().boxed()).is_err(), "a session keeps so many and no more");
    drop(streams);
    assert_eq!(mock.resources().waiting(), 0);
}

#[tokio::test]
async fn an_image_is_replaced_by_a_whole_one_only() {
    let mock = one("MockFlasher", "{}").await;
    let flash = |partition: Value, bytes: Vec<io::Result<Bytes>>| {
        let mock = &mock;
        async move {
            let stream = mock.resources().offer(stream::iter(bytes).boxed()).unwrap();
            let handle = json!({ "kind": "client_stream", "uuid": stream.id() });
            // A call that fails may leave the stream untouched.
            let called = mock.driver.call("flash", vec![handle, partition]);
            let (_, outgoing) = tokio::try_join!(called, stream.collect::<Vec<_>>().map(Ok))?;
            Ok::<_, DriverError>(outgoing)
        }
    };
    assert_eq!(flash(json!("root"), parts(b"first", 1)).await.unwrap(), [Outgoing::End]);
    let mut half = parts(b"second", 1);
    half.push(cut());
    assert!(flash(json!("root"), half).await.is_err());
    for name in ["../x", "/etc/x", ".", "..", "", ".x"] {
        assert!(flash(json!(name), parts(b"x", 1)).await.is_err(), "{name}");
    }
    let stream = mock.resources().offer(stream::pending().boxed()).unwrap();
    let handle = json!({ "kind": "client_stream", "uuid": stream.id() });
    let (dumped, outgoing) =
        tokio::join!(mock.driver.call("dump", vec![handle, json!("root")]), stream.collect::<Vec<_>>());
    dumped.unwrap();
    assert_eq!(outgoing, [Outgoing::Data(Bytes::from_static(b"first")), Outgoing::End]);
    assert!(matches!(mock.call("write", &[Value::Null]).await, Err(DriverError::MethodNotFound(_))));

    let mux = one("MockStorageMux", "{}").await;
    assert_eq!(mux.receive("read", &[]).await.unwrap().unwrap(), b"", "the medium is blank at first");
    assert!(mux.send("write", &[], parts(b"medium", 3)).await.unwrap());
    assert_eq!(mux.receive("read", &[]).await.unwrap().unwrap(), b"medium");
    for method in ["host", "dut", "off"] {
        assert_eq!(mux.call(method, &[]).await.unwrap(), Value::Null);
    }
}

/// Answers one request with `answer`, and returns what it got.
async fn server(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let got = tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut got = vec![0; 65_536];
        let mut have = 0;
        // An upload ends with an empty chunk, a download with its headers.
        loop {
            let n = io.read(&mut got[have..]).await.unwrap();
            have += n;
            let text = String::from_utf8_lossy(&got[..have]);
            if n == 0 || text.ends_with("0\r\n\r\n") || (text.starts_with("GET") && text.ends_with("\r\n\r\n")) {
                break;
            }
        }
        got.truncate(have);
        let _ = io.write_all(&answer).await;
        got
    });
    (url, got)
}

fn presigned(url: &str, method: &str) -> Value {
    json!({ "kind": "presigned_request", "url": url, "method": method, "headers": { "authorization": "Bearer secret" } })
}

#[tokio::test]
async fn urls_are_fetched_and_filled_by_the_exporter_itself() {
    rustls_provider();
    let mock = one("MockFlasher", "{}").await;
    let (there, got_there) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage".to_vec()).await;
    let (here, got_here) =
        server(format!("HTTP/1.1 307 Go\r\nLocation: {there}/a%40b?s=1%2F2\r\n\r\n").into_bytes()).await;
    mock.call("flash", &[presigned(&format!("{here}/start?x=%2F"), "GET")]).await.unwrap();
    let (first, second) = (got_here.await.unwrap(), got_there.await.unwrap());
    let (first, second) = (String::from_utf8(first).unwrap(), String::from_utf8(second).unwrap());
    assert!(first.starts_with("GET /start?x=%2F ") && first.contains("Bearer secret"), "{first}");
    assert!(second.starts_with("GET /a%40b?s=1%2F2 ") && !second.contains("secret"), "{second}");

    let (url, got) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    mock.call("dump", &[presigned(&url, "PUT")]).await.unwrap();
    let put = String::from_utf8(got.await.unwrap()).unwrap();
    assert!(put.starts_with("PUT / ") && put.contains("image"), "{put}");
}

#[tokio::test]
async fn a_server_that_refuses_or_breaks_off_is_an_error_without_secrets() {
    rustls_provider();
    let mock = one("MockFlasher", "{}").await;
    for (answer, method) in [
        (&b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\npage"[..], "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "GET"),
        (b"HTTP/1.1 302 Go\r\n\r\n", "GET"),
        (b"HTTP/1.1 302 Go\r\nLocation: ftp://elsewhere/\r\n\r\n", "GET"),
        (b"", "GET"),
        (b"HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n", "PUT"),
    ] {
        if method == "PUT" {
            assert!(mock.send("flash", &[], parts(b"image", 5)).await.unwrap());
        }
        let (url, _got) = server(answer.to_vec()).await;
        let called = match method {
            "GET" => mock.call("flash", &[presigned(&format!("{url}/x?Signature=hidden"), method)]).await,
            _ => mock.call("dump", &[presigned(&format!("{url}/x?Signature=hidden"), method)]).await,
        };
        let err = called.unwrap_err().to_string();
        assert!(!err.contains("hidden") && !err.contains("secret"), "{err}");
    }
    for url in ["ftp://host/x", "no url", "file:///etc/passwd"] {
        let err = mock.call("flash", &[presigned(url, "GET")]).await.unwrap_err();
        assert!(matches!(err, DriverError::InvalidArgument(_)), "{url}: {err}");
    }
}

#[tokio::test]
async fn configurations_are_checked() {
    for (config, said) in [
        ("{scheme: fs, kwargs: {}}", "root"),
        ("{scheme: gopher, kwargs: {}}", "fs, http, memory and s3"),
        ("{scheme: fs, kwargs: {root: [1]}}", "kwargs.root must be a string"),
        ("{scheme: fs}", "kwargs"),
    ] {
        let err = build("Opendal", config).await.err().unwrap();
        assert!(err.contains(said), "{config}: {err}");
    }
    let memory = one("Opendal", "{scheme: memory, kwargs: {}}").await;
    assert!(memory.write("file", parts(b"in memory", 4)).await.unwrap());
    assert_eq!(memory.read("file").await.unwrap().unwrap(), b"in memory");
    let http = one("Opendal", "{scheme: http, kwargs: {endpoint: 'http://invalid.invalid'}}").await;
    let request = http.call("presign_read", &[json!("test"), json!(100.0)]).await.unwrap();
    assert_eq!(request, json!({ "url": "http://invalid.invalid/test", "method": "GET", "headers": {} }));
    assert_eq!(http.call("capability", &[]).await.unwrap()["presign_read"], json!(true));
}

fn rustls_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
