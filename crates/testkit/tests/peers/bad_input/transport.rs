//! Bytes that are no calls, and more of them than anyone should send.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use jumpstarter_testkit::Lab;
use tonic::Code;

use super::still_serving;

#[test]
fn garbage_and_idle_connections_disturb_nobody() {
    let lab = Lab::start();
    let alice = lab.grpc_client("alice");
    let connect = || TcpStream::connect(lab.service.address()).unwrap();

    for garbage in [
        b"\0\0\0\0".as_slice(),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &vec![0x16; 70_000],
    ] {
        let mut connection = connect();
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // The service may hang up while we are still sending.
        let _ = connection.write_all(garbage);
        let _ = connection.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        match connection.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "hung on {} bytes", garbage.len()),
        }
    }
    still_serving(&alice);

    // Connections that say nothing, as many as a port scan or a broken lab may leave.
    let idle: Vec<TcpStream> = (0..2000).map_while(|_| TcpStream::connect(lab.service.address()).ok()).collect();
    assert!(idle.len() > 500, "only {} connections", idle.len());
    still_serving(&alice);
    still_serving(&lab.grpc_client("bob"));
    drop(idle);

    // Metadata larger than any honest peer's.
    let mut metadata = alice.metadata();
    metadata.insert("jumpstarter-name", "x".repeat(512 * 1024).parse().unwrap());
    let request = jumpstarter_protocol::client::v1::GetLeaseRequest { name: alice.path("leases", "any") };
    let answer = alice.call(alice.clients().get_lease(jumpstarter_testkit::grpc::with(request, metadata)));
    let code = answer.unwrap_err().code();
    assert_ne!(code, Code::NotFound, "half a megabyte of metadata was read");
    still_serving(&lab.grpc_client("carol"));
}

#[test]
fn metadata_without_end_is_cut_off() {
    let mut lab = Lab::start();
    let alice = lab.grpc_client("alice");
    // Each call carries what one connection may; a hundred of them must not add up in the service.
    for _ in 0..100 {
        let mut metadata = alice.metadata();
        for _ in 0..64 {
            metadata.append("x-padding", "x".repeat(16 * 1024).parse().unwrap());
        }
        let request = jumpstarter_protocol::client::v1::GetLeaseRequest { name: alice.path("leases", "any") };
        let _ = alice.call(alice.clients().get_lease(jumpstarter_testkit::grpc::with(request, metadata)));
    }
    still_serving(&lab.grpc_client("bob"));
    let pid = lab.service.process().pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 512 * 1024, "the service grew to {kib} KiB");
}
