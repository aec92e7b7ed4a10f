//! The process of a router under test: serves on a port of its own until it is killed or its parent goes.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;

use jumpstarter_auth::{TicketKey, TicketKeys, TicketVerifier};
use jumpstarter_router::{Config, Router};
use jumpstarter_transport::listen::{BindOptions, bind_tcp};
use jumpstarter_transport::{Server, ServingTls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::subject::KEY;
use crate::{decoding, splice};

pub fn main(role: &str, arguments: &[String]) {
    let threads: usize = arguments.first().map_or(1, |threads| threads.parse().unwrap());
    std::thread::spawn(|| {
        drop(std::io::stdin().read(&mut [0]));
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    // Among the workers, not on this thread: as the service runs its server.
    let role = role.to_owned();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn_on(async move { run(&role).await }, runtime.handle());
    runtime.block_on(tasks.join_next()).unwrap().unwrap();
}

async fn run(role: &str) {
    let tls = Arc::new(ServingTls::self_signed(&["localhost".to_owned()]).unwrap());
    let keys = TicketKeys::new(TicketKey::from_bytes(KEY).unwrap());
    let verifier = TicketVerifier::new(&keys);
    match role {
        "tcp" => splice::serve(listen().await, None).await,
        "tls" => splice::serve(listen().await, Some(tls.server_config())).await,
        "decoding" => decoding::serve(verifier, listen().await, tls.server_config()).await,
        "router" => {
            // The limits are not what is measured.
            let config = Config { max_waiting_per_connection: 4_096, max_waiting: 16_384, ..Config::default() };
            serve(Router::new(config, Arc::new(verifier)).into_axum_router(), tls).await;
        }
        other => panic!("no such role: {other}"),
    }
}

/// Any address of this machine: peers come from several, since one has not ports enough.
const ANY: &str = "0.0.0.0:0";

async fn listen() -> TcpListener {
    let listener = TcpListener::bind(ANY).await.unwrap();
    announce(listener.local_addr().unwrap());
    listener
}

async fn serve(routes: axum::Router, tls: Arc<ServingTls>) {
    let listeners = bind_tcp(ANY, &BindOptions::default()).await.unwrap();
    announce(listeners[0].tcp_addr().unwrap());
    let mut server = Server::new(listeners, Some(tls));
    server.limits.max_connections = 64 * 1024;
    server.serve(routes, CancellationToken::new()).await.unwrap();
}

fn announce(address: SocketAddr) {
    println!("127.0.0.1:{}", address.port());
}
