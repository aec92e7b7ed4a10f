//! What a Kubernetes Service is to its pods: one address in front of several that come and go.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};

use crate::wait::MINUTE;

/// An address that leads to one of several others. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Balancer {
    _runtime: Runtime,
}

impl Balancer {
    /// Listens on `address`; each connection goes to the next of `backends` that takes it, and is closed when none does.
    #[track_caller]
    pub fn start(address: &str, backends: &[String]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("build a runtime");
        let listener = runtime.block_on(TcpListener::bind(address)).expect("bind the balancer's address");
        let backends: Vec<SocketAddr> = backends.iter().map(|backend| backend.parse().expect("an address")).collect();
        // The runtime that it runs on is its owner.
        runtime.spawn(serve(listener, backends));
        Self { _runtime: runtime }
    }
}

async fn serve(listener: TcpListener, backends: Vec<SocketAddr>) {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let turn = TURN.fetch_add(1, Ordering::Relaxed) % backends.len();
        let mut order = backends.clone();
        order.rotate_left(turn);
        connections.spawn(async move {
            let Some(mut server) = connect(&order).await else {
                return;
            };
            // Either side may reset the connection, which is then the other's news too.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

async fn connect(order: &[SocketAddr]) -> Option<TcpStream> {
    let attempts = async {
        loop {
            for backend in order {
                if let Ok(stream) = TcpStream::connect(backend).await {
                    return stream;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(MINUTE, attempts).await.ok()
}
