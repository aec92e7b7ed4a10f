//! One tower service behind many listeners.

mod activity;
mod connection;
mod counters;
mod io;
mod lifetime;
mod limits;
mod records;
mod windows;

use std::io as std_io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

pub use counters::{ServeCounters, ServeTotals};
pub use limits::ServeLimits;

use crate::listen::Listener;
use crate::tls::ServingTls;
use connection::{Accepted, Connections};
use windows::FarWindows;

/// Any error, as hyper and tower pass it on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// First and longest pause after `accept` failed, usually because no file descriptor is left.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Where a request came from; every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddr {
    /// Over TCP.
    Tcp(std::net::SocketAddr),
    /// Over a Unix socket, with the peer's user id if the kernel says.
    Unix {
        /// Effective user id of the connecting process.
        uid: Option<u32>,
    },
}

/// A server, ready to run.
#[derive(Debug)]
pub struct Server {
    /// Where to accept connections.
    pub listeners: Vec<Listener>,
    /// The certificate; `None` serves TCP in the clear. Unix sockets never have TLS.
    pub tls: Option<Arc<ServingTls>>,
    /// Sizes and times.
    pub limits: ServeLimits,
    /// Where to count.
    pub counters: Arc<ServeCounters>,
}

impl Server {
    /// A server with the usual limits and its own counters.
    #[must_use]
    pub fn new(listeners: Vec<Listener>, tls: Option<Arc<ServingTls>>) -> Self {
        Self { listeners, tls, limits: ServeLimits::default(), counters: Arc::default() }
    }

    /// Serves until `stop` fires, then stops accepting, tells every peer (GOAWAY), gives requests in flight
    /// [`ServeLimits::drain_grace`] and cuts what is left. Also keeps the certificate fresh meanwhile.
    ///
    /// # Errors
    /// When there is no listener. Errors of single connections and of `accept` are logged and survived.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future leaves connections running. Cancel `stop` instead.
    pub async fn serve<S, B>(self, service: S, stop: CancellationToken) -> std_io::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<BoxError>,
    {
        let Self { listeners, tls, limits, counters } = self;
        if listeners.is_empty() {
            return Err(std_io::Error::new(std_io::ErrorKind::InvalidInput, "there is nothing to listen on"));
        }
        let grace = limits.drain_grace;
        let slots = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
        let accepting = TaskTracker::new();
        let running = TaskTracker::new();
        let abort = CancellationToken::new();
        let far = FarWindows::new();
        if let Some(tls) = &tls {
            let (tls, stop) = (Arc::clone(tls), stop.clone());
            accepting.spawn(async move { tls.maintain(stop).await });
        }
        for listener in listeners {
            let connections = Connections::new(
                tls.as_deref(),
                &limits,
                Arc::clone(&counters),
                Arc::clone(&far),
                running.clone(),
                stop.clone(),
                abort.clone(),
            );
            let accept = accept(listener, connections, service.clone(), Arc::clone(&slots), stop.clone());
            accepting.spawn(accept);
        }
        accepting.close();
        accepting.wait().await;
        running.close();
        if timeout(grace, running.wait()).await.is_err() {
            tracing::info!(left = running.len(), "drain time is over, cutting what is left");
            abort.cancel();
            running.wait().await;
        }
        Ok(())
    }
}

/// Serves one connection over any byte stream until its end, with the limits that a [`Server`] has for it after the
/// handshake: for tests that want no sockets. Every task of the connection has ended when this returns.
///
/// # Errors
/// What hyper says of a connection that did not end in good order.
///
/// # Cancel safety
/// Not cancel safe: dropping the future leaves requests running.
pub async fn serve_stream<I, S, B>(io: I, peer: PeerAddr, limits: &ServeLimits, service: S) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    connection::over(io, peer, limits, service).await
}

/// Accepts until `stop` fires. The listener is closed when this returns.
async fn accept<S, B>(
    listener: Listener,
    connections: Connections,
    service: S,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    let mut pause = ACCEPT_PAUSE.0;
    let mut full = false;
    loop {
        // `accept` and `cancelled` are cancel safe by their docs.
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = Accepted::from_listener(&listener) => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) if belongs_to_one_peer(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                // `sleep` and `cancelled` keep nothing.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
                continue;
            }
        };
        pause = ACCEPT_PAUSE.0;
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            connections.counters.refused();
            if !std::mem::replace(&mut full, true) {
                tracing::warn!(peer = ?accepted.peer, "the limit of connections is reached, refusing new ones");
            }
            continue;
        };
        full = false;
        connections.spawn(accepted, service.clone(), slot);
    }
}

/// Errors of `accept` that concern a peer which is already gone.
fn belongs_to_one_peer(error: &std_io::Error) -> bool {
    use std_io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
