//! One connection, from `accept` to its end.

use std::future::{Future, poll_fn};
use std::io as std_io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tower::util::{Oneshot, ServiceExt};

use super::activity::{Activity, Counted, Counting};
use super::counters::ServeCounters;
use super::io::{Flush, PromptIo, ServerIo};
use super::lifetime::{Lifetime, Verdict};
use super::records::Records;
use super::windows::FarWindows;
use super::{BoxError, PeerAddr, ServeLimits};
use crate::listen::Listener;
use crate::tls::ServingTls;

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that nothing has been read from.
pub(super) struct Accepted {
    socket: Socket,
    pub(super) peer: PeerAddr,
}

impl Accepted {
    /// # Cancel safety
    /// As `accept` of the listener: cancel safe.
    pub(super) async fn from_listener(listener: &Listener) -> std_io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Small frames must not wait for acknowledgements. Fails only on a dead socket, which reading reports.
                let _ = stream.set_nodelay(true);
                crate::keep_unsent_small(&stream);
                crate::give_up_the_gone(&stream);
                Ok(Self { socket: Socket::Tcp(stream), peer: PeerAddr::Tcp(peer) })
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok(Self { socket: Socket::Unix(stream), peer: PeerAddr::Unix { uid } })
            }
        }
    }
}

/// What the connections of one listener share.
pub(super) struct Connections {
    tls: Option<TlsAcceptor>,
    limits: ServeLimits,
    pub(super) counters: Arc<ServeCounters>,
    far: Arc<FarWindows>,
    running: TaskTracker,
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        tls: Option<&ServingTls>,
        limits: &ServeLimits,
        counters: Arc<ServeCounters>,
        far: Arc<FarWindows>,
        running: TaskTracker,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        Self {
            tls: tls.map(|tls| TlsAcceptor::from(tls.server_config())),
            limits: limits.clone(),
            counters,
            far,
            running,
            stop,
            abort,
        }
    }

    /// Runs the connection as a task of its own, until its end or `abort`.
    pub(super) fn spawn<S, B>(&self, accepted: Accepted, service: S, slot: OwnedSemaphorePermit)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<BoxError>,
    {
        let Accepted { socket, peer } = accepted;
        let open = self.counters.open();
        let securing = Securing {
            tls: self.tls.clone(),
            limit: self.limits.handshake_timeout,
            counters: Arc::clone(&self.counters),
        };
        let prompt = self.limits.request_timeout;
        let limits = self.limits.clone();
        let far = Arc::clone(&self.far);
        // Children, since every poll of a task looks at its token, which has a lock: connections shall not meet there.
        let (stop, abort) = (self.stop.child_token(), self.abort.child_token());
        let executor = TrackedExecutor { running: self.running.clone(), abort: abort.clone() };
        self.running.spawn(async move {
            let connection = async {
                // A handshake under way when the server stops has no request to lose.
                let secured = stop.run_until_cancelled(Box::pin(securing.secure(socket))).await.flatten()?;
                let Secured { io, round_trip } = secured;
                let (io, flush) = PromptIo::new(io, prompt);
                let now = Instant::now();
                let activity = Activity::new(now);
                let mut lifetime = Lifetime::new(&limits, Arc::clone(&activity), now);
                let window = far.take(round_trip);
                let builder = limits.builder(executor, window.bytes);
                let connection = builder.serve_connection(TokioIo::new(io), Calls { service, peer, activity });
                // On the heap: only while it runs, and not twice in this task's frame.
                let mut connection = Box::pin(connection);
                let mut stopping = false;
                let ended = loop {
                    // Losing the `select!` only means to go on with the same connection; the other two are cancel safe.
                    tokio::select! {
                        ended = poll_fn(|cx| polled(connection.as_mut(), &flush, cx)) => break ended,
                        () = stop.cancelled(), if !stopping => {
                            stopping = true;
                            connection.as_mut().graceful_shutdown();
                        }
                        verdict = lifetime.next() => match verdict {
                            Verdict::Drain => connection.as_mut().graceful_shutdown(),
                            Verdict::Cut => return None,
                        },
                    }
                };
                // The last bytes, if hyper did not close the stream itself.
                let _ = timeout(limits.request_timeout, poll_fn(|cx| flush.poll(cx))).await;
                ended.inspect_err(|error| tracing::debug!(?peer, %error, "connection ended")).ok()
            };
            abort.run_until_cancelled(connection).await;
            drop((open, slot));
        });
    }
}

/// Polls a connection, then sends off what that has written.
fn polled<C: Future>(connection: Pin<&mut C>, flush: &Flush, cx: &mut Context<'_>) -> Poll<C::Output> {
    let ended = connection.poll(cx);
    // A failure is met again by the connection when it reads or writes next; while the socket is full it wakes us.
    let _ = flush.poll(cx);
    ended
}

/// See [`serve_stream`](super::serve_stream).
pub(super) async fn over<I, S, B>(io: I, peer: PeerAddr, limits: &ServeLimits, service: S) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError>,
{
    let running = TaskTracker::new();
    let executor = TrackedExecutor { running: running.clone(), abort: CancellationToken::new() };
    let calls = Calls { service, peer, activity: Activity::new(Instant::now()) };
    let ended = limits.builder(executor, 0).serve_connection(TokioIo::new(io), calls).await;
    running.close();
    running.wait().await;
    ended
}

struct Securing {
    tls: Option<TlsAcceptor>,
    limit: Duration,
    counters: Arc<ServeCounters>,
}

/// A connection that HTTP can be spoken on.
struct Secured {
    io: ServerIo,
    /// How long the peer takes to answer, at most. Nought where nothing was asked.
    round_trip: Duration,
}

impl Securing {
    /// Does the handshake if there is one to do. Failures are everyday (probes, scanners) and logged quietly.
    async fn secure(self, socket: Socket) -> Option<Secured> {
        let plain = |io| Some(Secured { io, round_trip: Duration::ZERO });
        let (tls, stream) = match (self.tls, socket) {
            (_, Socket::Unix(stream)) => return plain(ServerIo::Unix(stream)),
            (None, Socket::Tcp(stream)) => return plain(ServerIo::Tcp(stream)),
            (Some(tls), Socket::Tcp(stream)) => (tls, stream),
        };
        let started = Instant::now();
        match timeout(self.limit, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let round_trip = started.elapsed();
                self.counters.handshake_ok(round_trip);
                Some(Secured { io: ServerIo::Tls(Box::new(Records::new(stream))), round_trip })
            }
            Ok(Err(error)) => {
                self.counters.handshake_failed();
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
            Err(_) => {
                self.counters.handshake_failed();
                tracing::debug!("TLS handshake took too long");
                None
            }
        }
    }
}

/// Gives every request its peer's address, and counts it while it is in flight.
struct Calls<S> {
    service: S,
    peer: PeerAddr,
    activity: Arc<Activity>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Calls<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone,
{
    type Response = Response<Counted<B>>;
    type Error = S::Error;
    type Future = Counting<Oneshot<S, Request<Incoming>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        Counting::new(self.service.clone().oneshot(request), self.activity.call())
    }
}

/// Runs hyper's tasks (one per HTTP/2 request) among the server's own, so that they end with it.
#[derive(Clone)]
pub(super) struct TrackedExecutor {
    running: TaskTracker,
    abort: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.running.spawn(self.abort.clone().run_until_cancelled_owned(task));
    }
}
