//! A router on a real socket, and peers that speak raw HTTP/2 to it, so that they can do what a good
//! library would not.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "each test file uses a part of it"
)]

use std::future::poll_fn;
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use jiff::{SignedDuration, Timestamp};
use jumpstarter_auth::{Side, TicketIssuer, TicketKey, TicketKeys, TicketVerifier};
use jumpstarter_protocol::v1::StreamRequest;
use jumpstarter_router::{Config, Router, TicketCheck};
use jumpstarter_transport::Server;
use jumpstarter_transport::listen::{BindOptions, bind_tcp};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Far beyond what anything here takes.
const SOON: Duration = Duration::from_secs(30);

pub const GOAWAY: &[u8] = &[0, 0, 0, 0, 2, 0x10, 7];

/// Waits for `future`, but not for ever.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move { tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("nothing came of {caller}")) }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let end = tokio::time::Instant::now() + SOON;
        while !condition() {
            assert!(tokio::time::Instant::now() < end, "this never became true: {caller}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn keys(key: &str) -> TicketKeys {
    TicketKeys::new(TicketKey::from_bytes(key).unwrap())
}

pub struct Lab {
    pub router: Router,
    pub address: SocketAddr,
    issuer: TicketIssuer,
    _tasks: JoinSet<()>,
}

impl Lab {
    pub async fn start(config: Config) -> Self {
        let keys = keys("the key of this lab");
        Self::with_tickets(config, Arc::new(TicketVerifier::new(&keys)), &keys).await
    }

    pub async fn with_tickets(config: Config, tickets: Arc<dyn TicketCheck>, keys: &TicketKeys) -> Self {
        let router = Router::new(config, tickets);
        let listeners = bind_tcp("127.0.0.1:0", &BindOptions::default()).await.unwrap();
        let address = listeners[0].tcp_addr().unwrap();
        let routes = router.clone().into_axum_router();
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        tasks.spawn(async move { Server::new(listeners, None).serve(routes, stop).await.unwrap() });
        Self { router, address, issuer: TicketIssuer::new(keys), _tasks: tasks }
    }

    pub fn ticket(&self, stream: Uuid, side: Side) -> String {
        self.issuer.issue(stream, side, SignedDuration::from_mins(30), Timestamp::now()).unwrap()
    }

    pub fn tickets(&self) -> [String; 2] {
        let stream = Uuid::new_v4();
        [self.ticket(stream, Side::Client), self.ticket(stream, Side::Exporter)]
    }

    pub async fn link(&self) -> Link {
        Link::new(self.address).await
    }

    /// A half on a connection of its own.
    pub async fn open(&self, ticket: &str) -> Peer {
        let link = self.link().await;
        let mut peer = link.open(ticket).await;
        peer.link = Some(link);
        peer
    }

    /// Both halves of a new stream, client first.
    pub async fn pair(&self) -> (Peer, Peer) {
        let [client, exporter] = self.tickets();
        (self.open(&client).await, self.open(&exporter).await)
    }

    /// Waits until nothing is left of any stream.
    #[track_caller]
    pub fn quiet(&self) -> impl Future<Output = ()> {
        until(|| self.router.stats().open == 0 && self.router.stats().waiting == 0)
    }
}

/// A connection; dropped, it is cut.
pub struct Link {
    send: SendRequest<Bytes>,
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Link {
    pub async fn new(address: SocketAddr) -> Self {
        let socket = soon(TcpStream::connect(address)).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(32 << 20)
            .handshake::<_, Bytes>(socket)
            .await
            .unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move { drop(connection.await) });
        Self { send, address, _task: task }
    }

    pub async fn open(&self, ticket: &str) -> Peer {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {ticket}").parse().unwrap());
        self.open_with(headers).await
    }

    /// The HTTP status of a request without a body.
    pub async fn status(&self, method: http::Method, path: &str, content_type: &str) -> u16 {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let request = request.header("content-type", content_type).body(()).unwrap();
        let mut send = soon(self.send.clone().ready()).await.unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        soon(response).await.unwrap().status().as_u16()
    }

    /// A call with other headers than usual.
    pub async fn open_with(&self, headers: HeaderMap) -> Peer {
        let uri = format!("http://{}/jumpstarter.v1.RouterService/Stream", self.address);
        let mut request = Request::post(uri).version(http::Version::HTTP_2).body(()).unwrap();
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        request.headers_mut().extend(headers);
        let mut send = soon(self.send.clone().ready()).await.unwrap();
        let (response, out) = send.send_request(request, false).unwrap();
        Peer {
            out,
            response: Some(response),
            received: None,
            buffer: BytesMut::new(),
            headers: HeaderMap::new(),
            link: None,
        }
    }
}

/// How a call ended for its caller.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Status(i32, String),
    Reset(Option<Reason>),
}

impl End {
    pub fn ok() -> Self {
        Self::Status(0, String::new())
    }

    pub fn code(&self) -> i32 {
        match self {
            Self::Status(code, _) => *code,
            Self::Reset(_) => -1,
        }
    }
}

/// One half, from its caller's side.
pub struct Peer {
    out: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    received: Option<RecvStream>,
    buffer: BytesMut,
    pub headers: HeaderMap,
    link: Option<Link>,
}

impl Peer {
    /// Sends bytes as flow control allows.
    pub async fn send(&mut self, mut bytes: Bytes) {
        if bytes.is_empty() {
            self.out.send_data(bytes, false).unwrap();
            return;
        }
        while !bytes.is_empty() {
            self.out.reserve_capacity(bytes.len());
            let capacity = poll_fn(|cx| self.out.poll_capacity(cx)).await.expect("open").unwrap();
            let part = bytes.split_to(capacity.min(bytes.len()));
            self.out.send_data(part, false).unwrap();
        }
    }

    /// Sends bytes as soon as flow control allows, without waiting for it.
    pub fn queue(&mut self, bytes: Bytes) {
        self.out.send_data(bytes, false).unwrap();
    }

    pub async fn send_data(&mut self, payload: &[u8]) {
        soon(self.send(data(payload))).await;
    }

    pub fn finish(&mut self) {
        self.out.send_data(Bytes::new(), true).unwrap();
    }

    pub fn reset(&mut self, reason: Reason) {
        self.out.send_reset(reason);
    }

    /// Cuts the connection.
    pub fn cut(self) {
        drop(self);
    }

    async fn received(&mut self) -> Result<&mut RecvStream, End> {
        if let Some(response) = &mut self.response {
            let response = response.await;
            self.response = None;
            let response = response.map_err(|error| End::Reset(error.reason()))?;
            assert_eq!(response.status(), 200);
            self.headers = response.headers().clone();
            self.received = Some(response.into_body());
        }
        Ok(self.received.as_mut().expect("present after the response"))
    }

    /// Waits for the response headers.
    pub async fn accepted(&mut self) {
        soon(self.received()).await.unwrap();
        assert!(!self.headers.contains_key("grpc-status"), "refused: {:?}", self.headers);
    }

    /// The next bytes, or the end.
    pub async fn chunk(&mut self) -> Result<Bytes, End> {
        let received = self.received().await?;
        match received.data().await {
            Some(Ok(chunk)) => {
                received.flow_control().release_capacity(chunk.len()).unwrap();
                Ok(chunk)
            }
            Some(Err(error)) => Err(End::Reset(error.reason())),
            None => {
                let trailers = received.trailers().await.map_err(|error| End::Reset(error.reason()))?;
                let trailers = trailers.unwrap_or_else(|| self.headers.clone());
                let text = |name| trailers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
                Err(End::Status(text("grpc-status").parse().expect("a status"), text("grpc-message")))
            }
        }
    }

    /// Reads exactly as many bytes as `expected` and compares them.
    #[track_caller]
    pub fn expect<'a>(&'a mut self, expected: &'a [u8]) -> impl Future<Output = ()> + 'a {
        soon(async move {
            while self.buffer.len() < expected.len() {
                let chunk = self.chunk().await.expect("bytes, not an end");
                self.buffer.extend_from_slice(&chunk);
            }
            assert_eq!(self.buffer.split_to(expected.len()), expected);
        })
    }

    /// Reads to the end; the bytes that came, and how it ended.
    #[track_caller]
    pub fn end(&mut self) -> impl Future<Output = (Bytes, End)> {
        soon(async move {
            loop {
                match self.chunk().await {
                    Ok(chunk) => self.buffer.extend_from_slice(&chunk),
                    Err(end) => return (self.buffer.split().freeze(), end),
                }
            }
        })
    }

    /// Reads to the end; the length and hash of the bytes that came, and how it ended.
    pub async fn digest(&mut self) -> (u64, u64, End) {
        let mut digest = Digest::default();
        loop {
            match self.chunk().await {
                Ok(chunk) => digest.add(&chunk),
                Err(end) => return (digest.length, digest.value(), end),
            }
        }
    }
}

/// A running hash of bytes, whatever pieces they come in.
#[derive(Default, Clone)]
pub struct Digest {
    pub length: u64,
    hasher: std::hash::DefaultHasher,
}

impl Digest {
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hasher.write(bytes);
    }

    pub fn value(&self) -> u64 {
        self.hasher.finish()
    }
}

/// A message with its prefix.
pub fn message(body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + body.len());
    bytes.extend_from_slice(&[0]);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes.freeze()
}

/// A DATA frame of the tunnel.
pub fn data(payload: &[u8]) -> Bytes {
    message(&StreamRequest { payload: payload.to_vec().into(), frame_type: 0 }.encode_to_vec())
}
