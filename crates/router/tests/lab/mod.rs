//! A router on a real socket, and peers that speak raw HTTP/2 to it, so that they can do what a good
//! library would not.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "each test file uses a part of it"
)]

mod peer;

use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};
use jumpstarter_auth::{Side, TicketIssuer, TicketKey, TicketKeys, TicketVerifier};
use jumpstarter_protocol::v1::StreamRequest;
use jumpstarter_router::{Config, Router, TicketCheck};
use jumpstarter_transport::listen::{BindOptions, bind_tcp};
use jumpstarter_transport::{ServeLimits, Server};
use prost::Message as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use peer::{End, Link, Peer, Reader, Writer};

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

/// What tickets of a lab are signed with.
pub const KEY: &str = "the key of this lab";

pub fn keys(key: &str) -> TicketKeys {
    TicketKeys::new(TicketKey::from_bytes(key).unwrap())
}

/// A ticket of any lab, from its key.
pub fn ticket(stream: Uuid, side: Side) -> String {
    let issuer = TicketIssuer::new(&keys(KEY));
    issuer.issue(stream, side, SignedDuration::from_mins(30), Timestamp::now()).unwrap()
}

pub struct Lab {
    pub router: Router,
    pub address: SocketAddr,
    issuer: TicketIssuer,
    _tasks: JoinSet<()>,
}

impl Lab {
    pub async fn start(config: Config) -> Self {
        Self::with_limits(config, ServeLimits::default()).await
    }

    pub async fn with_limits(config: Config, limits: ServeLimits) -> Self {
        let keys = keys(KEY);
        Self::with(config, limits, Arc::new(TicketVerifier::new(&keys)), &keys).await
    }

    pub async fn with_tickets(config: Config, tickets: Arc<dyn TicketCheck>, keys: &TicketKeys) -> Self {
        Self::with(config, ServeLimits::default(), tickets, keys).await
    }

    async fn with(config: Config, limits: ServeLimits, tickets: Arc<dyn TicketCheck>, keys: &TicketKeys) -> Self {
        let router = Router::new(config, tickets);
        let listeners = bind_tcp("127.0.0.1:0", &BindOptions::default()).await.unwrap();
        let address = listeners[0].tcp_addr().unwrap();
        let routes = router.clone().into_axum_router();
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let server = Server { limits, ..Server::new(listeners, None) };
        tasks.spawn(async move { server.serve(routes, stop).await.unwrap() });
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
        link.open(ticket).await.owning(link)
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
