//! Binding, handing over, inheriting.

use std::os::unix::fs::PermissionsExt;

use jumpstarter_transport::listen::{BindOptions, bind_tcp, bind_unix, inherited};
use jumpstarter_transport::{ListenError, Listener};
use tokio::net::{TcpStream, UnixStream};

#[tokio::test]
async fn a_port_in_use_is_named() {
    let options = BindOptions::default();
    let held = bind_tcp("127.0.0.1:0", &options).await.unwrap();
    let addr = held[0].tcp_addr().unwrap().to_string();
    let error = bind_tcp(&addr, &options).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse(_)) && error.to_string().contains(&addr), "{error}");
    drop(held);
    assert!(bind_tcp(&addr, &options).await.is_ok());
}

#[tokio::test]
async fn addresses_are_read() {
    let options = BindOptions::default();
    for address in ["127.0.0.1:0", "localhost:0", ":0", "0.0.0.0:0"] {
        let bound = bind_tcp(address, &options).await.unwrap();
        assert_eq!(bound.len(), 1, "{address}");
        let port = bound[0].tcp_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok() || address == "localhost:0", "{address}");
    }
    for address in ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536"] {
        assert!(matches!(bind_tcp(address, &options).await, Err(ListenError::Address(_))), "{address}");
    }
    let error = bind_tcp("no-such-host.invalid:1", &options).await.unwrap_err();
    assert!(matches!(error, ListenError::Resolve { .. }), "{error}");
    let error = bind_tcp("192.0.2.1:0", &options).await.unwrap_err();
    assert!(matches!(error, ListenError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn a_new_process_may_bind_while_the_old_one_drains() {
    let options = BindOptions { reuse_port: true, ..BindOptions::default() };
    let old = bind_tcp("127.0.0.1:0", &options).await.unwrap();
    let addr = old[0].tcp_addr().unwrap();
    let new = bind_tcp(&addr.to_string(), &options).await.unwrap();
    drop(old);
    let Listener::Tcp(listener) = &new[0] else { panic!("not TCP") };
    for _ in 0..20 {
        let (client, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
        assert!(client.is_ok() && accepted.is_ok());
    }
}

#[tokio::test]
async fn unix_sockets_replace_the_dead_and_respect_the_living() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = bind_unix(&path, 0o600).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(UnixStream::connect(&path).await.is_ok());
    assert!(matches!(bind_unix(&path, 0o600).await, Err(ListenError::InUse(_))));
    drop(listener);
    assert!(path.exists(), "the file outlives its process");
    let _listener = bind_unix(&path, 0o660).await.unwrap();
    assert!(UnixStream::connect(&path).await.is_ok());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary name is left");

    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(bind_unix(&file, 0o600).await, Err(ListenError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let long = directory.path().join("x".repeat(120));
    assert!(matches!(bind_unix(&long, 0o600).await, Err(ListenError::Bind { .. })));
}

#[tokio::test]
async fn sockets_of_the_service_manager_are_taken_over() {
    assert!(inherited().unwrap().is_empty(), "without LISTEN_FDS there is nothing");
    // Python plays systemd: it binds, moves the sockets to 3 and 4 and becomes this test program.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handed.sock");
    let script = r#"
import os, socket, sys
tcp = socket.create_server(("127.0.0.1", 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind(sys.argv[2])
unix.listen()
os.dup2(unix.fileno(), 14)
os.dup2(tcp.fileno(), 3)
os.dup2(14, 4)
os.set_inheritable(3, True)
os.set_inheritable(4, True)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="grpc:admin", HANDED_PORT=str(tcp.getsockname()[1]))
os.execv(sys.argv[1], [sys.argv[1], "--exact", "listen::handed_over", "--ignored", "--nocapture"])
"#;
    let output = tokio::process::Command::new("python3")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(&path)
        .output();
    let output = tokio::time::timeout(crate::kit::LONG, output).await.expect("in time").expect("python3 is installed");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}

#[tokio::test]
#[ignore = "runs inside `sockets_of_the_service_manager_are_taken_over`"]
async fn handed_over() {
    let sockets = inherited().unwrap();
    let names: Vec<_> = sockets.iter().map(|socket| socket.name.clone().unwrap()).collect();
    assert_eq!(names, ["grpc", "admin"]);
    let port: u16 = std::env::var("HANDED_PORT").unwrap().parse().unwrap();
    assert_eq!(sockets[0].listener.tcp_addr().unwrap().port(), port);
    let Listener::Tcp(listener) = &sockets[0].listener else { panic!("not TCP") };
    let (client, accepted) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
    assert!(client.is_ok() && accepted.is_ok());
    assert!(std::env::var_os("LISTEN_FDS").is_none(), "children of ours must not take them as well");
    assert!(matches!(sockets[1].listener, Listener::Unix(_)));
}
