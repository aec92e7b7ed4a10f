//! Servers that devices fetch files from.
use std::{net::SocketAddr, path::Path, sync::Arc};

use jumpstarter_drivers::{Driver, DriverError, DriverTree};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::{build, fault};

const HTTP: &str = "jumpstarter_driver_http.driver.HttpServer";
const TFTP: &str = "jumpstarter_driver_tftp.driver.Tftp";

/// A server of `class` for `root` on a free loopback port, and its tree.
async fn server(class: &str, root: &Path, port: u16) -> (DriverTree, Arc<dyn Driver>) {
    let config = format!("{{root_dir: {}, host: 127.0.0.1, port: {port}}}", root.display());
    let tree = build(&format!("{{d: {{type: {class}, config: {config}}}}}")).await;
    let driver = Arc::clone(tree.get(&tree.reports()[1].uuid).unwrap());
    (tree, driver)
}

/// The whole answer to a request for `path`.
async fn get(address: &str, method: &str, path: &str) -> String {
    let mut io = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn http_serves_files_between_start_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("made/for/it");
    let (tree, http) = server(HTTP, &root, 0).await;
    let names: Vec<_> = tree.reports().iter().filter_map(|r| r.labels.get("jumpstarter.dev/name")).collect();
    assert_eq!(names, ["d", "storage"]);
    std::fs::write(root.join("a.txt"), "the file").unwrap();
    assert_eq!(http.call("get_port", vec![]).await.unwrap(), json!(0));
    assert_eq!(http.call("get_host", vec![]).await.unwrap(), json!("127.0.0.1"));
    for _ in 0..2 {
        http.call("start", vec![]).await.unwrap();
        // Once more changes nothing.
        http.call("start", vec![]).await.unwrap();
        let url = http.call("get_url", vec![]).await.unwrap();
        let address = url.as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        let answer = get(&address, "GET", "/a.txt").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nthe file"), "{answer}");
        let answer = get(&address, "HEAD", "/a.txt").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
        for (method, path, status) in
            [("GET", "/", "404"), ("GET", "/none", "404"), ("GET", "/../../etc/passwd", "40"), ("PUT", "/a.txt", "405")]
        {
            let answer = get(&address, method, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
        }
        http.call("stop", vec![]).await.unwrap();
        http.call("stop", vec![]).await.unwrap();
        assert!(TcpStream::connect(&address).await.is_err());
    }
    http.call("start", vec![]).await.unwrap();
    let port = http.call("get_port", vec![]).await.unwrap();
    tree.close().await;
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).await.is_err());
}

#[tokio::test]
async fn ports_in_use_and_bad_directories_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let (_tree, http) = server(HTTP, dir.path(), port).await;
    let err = http.call("start", vec![]).await.unwrap_err();
    assert!(matches!(&err, DriverError::Io { .. }) && err.to_string().contains(&format!("127.0.0.1:{port}")), "{err}");
    drop(taken);
    http.call("start", vec![]).await.unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for class in [HTTP, TFTP] {
        let text = fault(class, &format!("{{root_dir: {}/x, host: 127.0.0.1}}", file.display())).await;
        assert!(text.contains("'root_dir'") && text.contains("file/x"), "{text}");
        assert!(fault(class, "{port: 70000, hots: x}").await.contains("'port' (a number)"));
    }
}

/// A transfer as a boot loader does it: the options of the answer, and the file or the error.
async fn fetch(server: SocketAddr, request: &[u8], block: usize) -> (String, Result<Vec<u8>, (u8, String)>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(request, server).await.unwrap();
    let (mut options, mut file, mut next) = (String::new(), Vec::new(), 1_u16);
    let mut packet = vec![0; 70_000];
    loop {
        let (n, peer) = socket.recv_from(&mut packet).await.unwrap();
        assert_ne!(peer, server, "each transfer has a port of its own");
        let number = u16::from_be_bytes([packet[2], packet[3]]);
        match packet[1] {
            6 => {
                options = String::from_utf8(packet[2..n].to_vec()).unwrap();
                socket.send_to(&[0, 4, 0, 0], peer).await.unwrap();
            }
            3 if number == next => {
                file.extend_from_slice(&packet[4..n]);
                let [high, low] = number.to_be_bytes();
                // A late duplicate must not double what follows.
                for _ in 0..2 {
                    socket.send_to(&[0, 4, high, low], peer).await.unwrap();
                }
                if n - 4 < block {
                    return (options, Ok(file));
                }
                next = next.wrapping_add(1);
            }
            3 => panic!("block {number} in place of {next}"),
            5 => return (options, Err((packet[3], String::from_utf8(packet[4..n - 1].to_vec()).unwrap()))),
            other => panic!("opcode {other}"),
        }
    }
}

#[tokio::test]
async fn tftp_serves_one_flat_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, tftp) = server(TFTP, dir.path(), 0).await;
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let files = [("empty", 0), ("block", 512), ("odd", 1300), ("large", 100_000)];
    let content = |size: usize| (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>();
    for (name, size) in files {
        std::fs::write(dir.path().join(name), content(size)).unwrap();
    }
    tftp.call("start", vec![]).await.unwrap();
    let port = tftp.call("get_port", vec![]).await.unwrap();
    let server: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    for (name, size) in files {
        let (options, file) = fetch(server, format!("\0\x01{name}\0octet\0").as_bytes(), 512).await;
        assert!(options.is_empty() && file == Ok(content(size)), "{name}");
        let request = format!("\0\x01{name}\0octet\0blksize\x001468\0tsize\x000\0");
        let (options, file) = fetch(server, request.as_bytes(), 1468).await;
        assert_eq!(options, format!("blksize\x001468\0tsize\0{size}\0"));
        assert!(file == Ok(content(size)), "{name}");
    }
    for (request, code) in [
        (&b"\0\x01none\0octet\0"[..], 1),
        (b"\0\x01sub\0octet\0", 1),
        (b"\0\x01../odd\0octet\0", 2),
        (b"\0\x01/etc/passwd\0octet\0", 2),
        (b"\0\x02odd\0octet\0", 4),
        (b"\0\x01odd\0mail\0", 4),
        (b"\0\x01odd", 4),
    ] {
        let (_, refused) = fetch(server, request, 512).await;
        assert_eq!(refused.map_err(|(code, _)| code), Err(code), "{request:?}");
    }
    tftp.call("stop", vec![]).await.unwrap();
    // The port is free again.
    drop(UdpSocket::bind(server).await.unwrap());
    tree.close().await;
}
