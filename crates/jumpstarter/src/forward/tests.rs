use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use super::*;

const LONG: Duration = Duration::from_secs(20);

struct Standby {
    forwarder: Forwarder,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

async fn standby(hold: Duration) -> Standby {
    let forwarder = Forwarder { hold, ..Forwarder::new(ForwardMetrics::default()) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let accepting = forwarder.clone();
    tasks.spawn(async move { accepting.accept(vec![Listener::Tcp(listener)], CancellationToken::new()).await });
    Standby { forwarder, address, tasks }
}

/// A leader that says its name, then repeats what it hears until the end, then says `bye`.
async fn leader(tasks: &mut JoinSet<()>, name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                stream.write_all(name.as_bytes()).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.write_all(b"bye").await
            });
        }
    });
    address
}

async fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    timeout(stream.read_exact(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn timeout<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("in time")
}

#[tokio::test]
async fn bytes_go_to_the_leader_and_a_half_close_with_them() {
    let mut standby = standby(LONG).await;
    let address = leader(&mut standby.tasks, "one").await;
    standby.forwarder.aim(Some(address));
    let mut stream = TcpStream::connect(standby.address).await.unwrap();
    assert_eq!(read(&mut stream, 3).await, "one");
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "hellobye");
}

#[tokio::test]
async fn a_connection_waits_for_a_leader() {
    let mut standby = standby(LONG).await;
    let mut stream = TcpStream::connect(standby.address).await.unwrap();
    stream.write_all(b"early").await.unwrap();
    // A leader that is gone, then one that is there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    standby.forwarder.aim(Some(gone));
    while standby.forwarder.metrics.held.get() == 0 {
        tokio::task::yield_now().await;
    }
    let address = leader(&mut standby.tasks, "two").await;
    standby.forwarder.aim(Some(address));
    assert_eq!(read(&mut stream, 8).await, "twoearly");
    assert_eq!(standby.forwarder.metrics.held.get(), 0);
    assert_eq!(standby.forwarder.metrics.forwarded.get(), 1);
}

#[tokio::test]
async fn without_a_leader_a_connection_is_closed_in_the_end() {
    let standby = standby(Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(standby.address).await.unwrap();
    assert_eq!(timeout(stream.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(standby.forwarder.metrics.given_up.get(), 1);
}

#[tokio::test]
async fn another_leader_ends_what_went_to_the_one_before() {
    let mut standby = standby(LONG).await;
    let first = leader(&mut standby.tasks, "one").await;
    let second = leader(&mut standby.tasks, "two").await;
    standby.forwarder.aim(Some(first));
    let mut stream = TcpStream::connect(standby.address).await.unwrap();
    assert_eq!(read(&mut stream, 3).await, "one");
    standby.forwarder.aim(Some(second));
    assert!(matches!(timeout(stream.read(&mut [0])).await, Ok(0) | Err(_)));
    let mut again = TcpStream::connect(standby.address).await.unwrap();
    assert_eq!(read(&mut again, 3).await, "two");
}

#[tokio::test]
async fn too_many_connections_are_refused() {
    let standby = standby(LONG).await;
    let all = standby.forwarder.slots.clone().acquire_many_owned(u32::try_from(MAX_CONNECTIONS).unwrap()).await;
    let mut stream = TcpStream::connect(standby.address).await.unwrap();
    assert!(matches!(timeout(stream.read(&mut [0])).await, Ok(0) | Err(_)));
    assert_eq!(standby.forwarder.metrics.refused.get(), 1);
    drop(all);
}

#[tokio::test]
async fn the_end_cuts_everything() {
    let mut standby = standby(LONG).await;
    let address = leader(&mut standby.tasks, "one").await;
    standby.forwarder.aim(Some(address));
    let mut stream = TcpStream::connect(standby.address).await.unwrap();
    assert_eq!(read(&mut stream, 3).await, "one");
    timeout(standby.forwarder.shut_down()).await;
    assert!(matches!(timeout(stream.read(&mut [0])).await, Ok(0) | Err(_)));
}
