//! What a router costs: bulk bytes through it, against a direct tonic stream, a router that decodes
//! and encodes every message, and a plain TCP copy, all in one run. Ratios count; machines differ.
//!
//! `cargo run --release -p jumpstarter-router --example throughput [MiB]`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops at the first trouble")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use jumpstarter_auth::{Side, TicketIssuer, TicketKey, TicketKeys, TicketVerifier};
use jumpstarter_protocol::v1::router_service_client::RouterServiceClient;
use jumpstarter_protocol::v1::router_service_server::{RouterService, RouterServiceServer};
use jumpstarter_protocol::v1::{StreamRequest, StreamResponse};
use jumpstarter_router::{Config, Router};
use jumpstarter_transport::Server;
use jumpstarter_transport::listen::{BindOptions, bind_tcp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

const ROUNDS: usize = 5;

type Responses = Pin<Box<dyn Stream<Item = Result<StreamResponse, Status>> + Send>>;

fn response(request: StreamRequest) -> StreamResponse {
    StreamResponse { payload: request.payload, frame_type: request.frame_type }
}

/// Swallows what it gets: the far end of a direct stream.
struct Sink;

#[tonic::async_trait]
impl RouterService for Sink {
    type StreamStream = Responses;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Result<Response<Responses>, Status> {
        let mut requests = request.into_inner();
        let end = futures::stream::once(async move {
            while requests.message().await?.is_some() {}
            Ok(StreamResponse::default())
        });
        Ok(Response::new(Box::pin(end)))
    }
}

/// A first half, and the way to give it the second.
type Half = (Streaming<StreamRequest>, oneshot::Sender<Streaming<StreamRequest>>);

/// The straightforward router: pairs any two calls and hands messages over.
#[derive(Default)]
struct Decoding {
    waiting: Mutex<Option<Half>>,
}

#[tonic::async_trait]
impl RouterService for Decoding {
    type StreamStream = Responses;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Result<Response<Responses>, Status> {
        let mine = request.into_inner();
        let mut waiting = self.waiting.lock().await;
        if let Some((theirs, partner)) = waiting.take() {
            drop(partner.send(mine));
            return Ok(Response::new(Box::pin(theirs.map(|request| request.map(response)))));
        }
        let (sender, receiver) = oneshot::channel();
        *waiting = Some((mine, sender));
        let joined = futures::stream::once(async move { receiver.await.map_err(|_| Status::aborted("gone")) })
            .map(|theirs| match theirs {
                Ok(theirs) => theirs.map(|request| request.map(response)).boxed(),
                Err(status) => futures::stream::once(async { Err(status) }).boxed(),
            })
            .flatten();
        Ok(Response::new(Box::pin(joined)))
    }
}

async fn serve(tasks: &mut JoinSet<()>, routes: axum::Router) -> SocketAddr {
    let listeners = bind_tcp("127.0.0.1:0", &BindOptions::default()).await.unwrap();
    let address = listeners[0].tcp_addr().unwrap();
    tasks.spawn(async move { Server::new(listeners, None).serve(routes, CancellationToken::new()).await.unwrap() });
    address
}

fn tonic_routes(service: impl RouterService) -> axum::Router {
    tonic::service::Routes::new(RouterServiceServer::new(service)).into_axum_router()
}

async fn client(address: SocketAddr) -> RouterServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(1 << 20).initial_connection_window_size(32 << 20);
    RouterServiceClient::new(endpoint.tcp_nodelay(true).connect().await.unwrap())
}

fn request<S>(messages: S, ticket: Option<String>) -> Request<S> {
    let mut request = Request::new(messages);
    if let Some(ticket) = ticket {
        request.metadata_mut().insert("authorization", format!("Bearer {ticket}").parse().unwrap());
    }
    request
}

fn messages(size: usize, total: usize) -> impl Stream<Item = StreamRequest> + Send + 'static {
    let payload = Bytes::from(vec![7; size]);
    futures::stream::iter(0..total / size).map(move |_| StreamRequest { payload: payload.clone(), frame_type: 0 })
}

/// From a writer through the router at `address` to a reader.
async fn through(address: SocketAddr, tickets: [Option<String>; 2], size: usize, total: usize) -> Duration {
    let [writer_ticket, reader_ticket] = tickets;
    let (mut writer, mut reader) = (client(address).await, client(address).await);
    let (stay, until) = oneshot::channel::<()>();
    let silence = futures::stream::once(async move { drop(until.await) }).filter_map(async |()| None::<StreamRequest>);
    let mut received = reader.stream(request(silence, reader_ticket)).await.unwrap().into_inner();
    let started = Instant::now();
    let sending = writer.stream(request(messages(size, total), writer_ticket)).await.unwrap().into_inner();
    let mut left = total / size * size;
    while left > 0 {
        left -= received.message().await.unwrap().expect("a message").payload.len();
    }
    let took = started.elapsed();
    drop((stay, sending));
    took
}

/// From a writer straight to a reader.
async fn direct(address: SocketAddr, size: usize, total: usize) -> Duration {
    let mut writer = client(address).await;
    let started = Instant::now();
    let mut end = writer.stream(request(messages(size, total), None)).await.unwrap().into_inner();
    end.message().await.unwrap().expect("the end");
    started.elapsed()
}

/// From a writer through `copy_bidirectional` to a reader, without any protocol.
async fn tcp_copy(size: usize, total: usize) -> Duration {
    let (front, back) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (front_address, back_address) = (front.local_addr().unwrap(), back.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut one = front.accept().await.unwrap().0;
        let mut other = TcpStream::connect(back_address).await.unwrap();
        drop(copy_bidirectional(&mut one, &mut other).await);
    });
    let started = Instant::now();
    tasks.spawn(async move {
        let mut writer = TcpStream::connect(front_address).await.unwrap();
        let chunk = vec![7; size];
        for _ in 0..total / size {
            writer.write_all(&chunk).await.unwrap();
        }
    });
    let mut reader = back.accept().await.unwrap().0;
    let mut buffer = vec![0; 256 * 1024];
    while reader.read(&mut buffer).await.unwrap() > 0 {}
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::main]
async fn main() {
    let mebibytes: usize = std::env::args().nth(1).map_or(256, |text| text.parse().unwrap());
    let keys = TicketKeys::new(TicketKey::generate().unwrap());
    let issuer = TicketIssuer::new(&keys);
    let tickets = || {
        let stream = uuid::Uuid::new_v4();
        [Side::Client, Side::Exporter].map(|side| {
            let (lifetime, now) = (SignedDuration::from_mins(30), Timestamp::now());
            Some(issuer.issue(stream, side, lifetime, now).unwrap())
        })
    };
    let mut tasks = JoinSet::new();
    let router = Router::new(Config::default(), Arc::new(TicketVerifier::new(&keys)));
    let router = serve(&mut tasks, router.into_axum_router()).await;
    let decoding = serve(&mut tasks, tonic_routes(Decoding::default())).await;
    let sink = serve(&mut tasks, tonic_routes(Sink)).await;

    println!("{:>8} {:>12} {:>16} {:>16} {:>16}", "message", "router GB/s", "/ decoding", "/ direct", "/ TCP copy");
    for (size, total) in [(64 * 1024, mebibytes << 20), (1024, mebibytes << 18), (64, mebibytes << 14)] {
        let mut times = [const { Vec::new() }; 4];
        // In turns, so that a change of the machine's mood meets all of them.
        for _ in 0..ROUNDS {
            times[0].push(through(router, tickets(), size, total).await);
            times[1].push(through(decoding, [None, None], size, total).await);
            times[2].push(direct(sink, size, total).await);
            times[3].push(tcp_copy(size, total).await);
        }
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let [router, decoding, direct, tcp] = times.map(|times| total as f64 / median(times).as_secs_f64() / 1e9);
        println!(
            "{size:>8} {router:>12.3} {:>8.2} ({decoding:.2}) {:>8.2} ({direct:.2}) {:>8.2} ({tcp:.2})",
            router / decoding,
            router / direct,
            router / tcp
        );
    }
}
