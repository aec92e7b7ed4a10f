//! The network between peers and the service: messages take time, connections break, and each side learns of it in its
//! own time.
//!
//! A peer calls the service through its real codec. What was sent arrives even if the caller has given up meanwhile.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{future::BoxFuture, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jumpstarter_controller::Peer;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, body::Body, service::Routes};
use tower::Service;

use crate::{dice::Dice, plan::Faults};

/// Frames under way on one stream.
const IN_FLIGHT: usize = 16;
/// How long a side of a silent connection takes to notice: keepalive and its time limit.
const PEER_NOTICES: Duration = Duration::from_secs(20);
const SERVICE_NOTICES: Duration = Duration::from_secs(30);
/// What a peer waits for a service that does not answer at all.
const CONNECT: Duration = Duration::from_secs(5);
/// Latest arrival of a request that is late.
const LATE: u64 = 8_000;
/// Latest arrival of a request that comes a second time, after the first.
const TWICE: u64 = 2_000;

/// A service process as the network sees it.
struct Host {
    routes: Routes,
    dead: CancellationToken,
    tasks: TaskTracker,
}

/// A peer's way to the service.
#[derive(Default)]
struct Line {
    number: u16,
    dice: Option<Dice>,
    /// Fires when connections of this moment break.
    cut: CancellationToken,
    /// Nothing goes through before.
    apart_until: Option<Instant>,
    /// Rings when a message has reached either side.
    bell: Arc<Notify>,
}

struct State {
    hosts: BTreeMap<u64, Host>,
    lines: BTreeMap<String, Line>,
}

struct Inner {
    seed: u64,
    faults: Mutex<Faults>,
    state: Mutex<State>,
    tasks: TaskTracker,
    /// Messages that have arrived.
    messages: AtomicU64,
}

/// The network; clones are the same.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

/// One peer's end of it, to make stubs of.
#[derive(Clone)]
pub(crate) struct Wire {
    peer: Arc<str>,
    network: Network,
}

enum Part {
    Frame(Instant, Frame<Bytes>),
    End,
    Broken(Status),
}

fn unavailable(text: &str) -> Status {
    Status::unavailable(text.to_owned())
}

impl Network {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let state = State { hosts: BTreeMap::new(), lines: BTreeMap::new() };
        Self(Arc::new(Inner {
            seed,
            faults: Mutex::new(faults),
            state: Mutex::new(state),
            tasks: TaskTracker::new(),
            messages: AtomicU64::new(0),
        }))
    }

    /// How many messages have arrived.
    pub(crate) fn messages(&self) -> u64 {
        self.0.messages.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing goes wrong any more.
    pub(crate) fn mend(&self) {
        let mut faults = self.faults();
        faults.loss = 0.0;
        faults.late = 0.0;
        faults.twice = 0.0;
        drop(faults);
        self.state().lines.values_mut().for_each(|line| line.apart_until = None);
    }

    /// Lets peers reach a service process, which is the newest. Calls end when it is `dead`.
    pub(crate) fn open(&self, host: u64, routes: Routes, dead: CancellationToken) {
        self.state().hosts.insert(host, Host { routes, dead, tasks: TaskTracker::new() });
    }

    /// Lets nobody reach it any more.
    pub(crate) fn close(&self, host: u64) {
        self.state().hosts.remove(&host);
    }

    /// The end of a peer, which belongs to a line of this name.
    pub(crate) fn wire(&self, peer: &str) -> Wire {
        self.with_line(peer, |_| ());
        Wire { peer: Arc::from(peer), network: self.clone() }
    }

    fn with_line<T>(&self, peer: &str, then: impl FnOnce(&mut Line) -> T) -> T {
        let mut state = self.state();
        let count = u16::try_from(state.lines.len()).unwrap_or(u16::MAX);
        let line = state.lines.entry(peer.to_owned()).or_insert_with(|| Line {
            number: count,
            dice: Some(Dice::named(self.0.seed, &format!("line {peer}"))),
            ..Line::default()
        });
        then(line)
    }

    /// Breaks the connections that a peer has.
    pub(crate) fn cut(&self, peer: &str) {
        self.with_line(peer, |line| std::mem::take(&mut line.cut).cancel());
    }

    /// Keeps a peer and the service apart for a while: each side notices by silence.
    pub(crate) fn part(&self, peer: &str, until: Instant) {
        self.with_line(peer, |line| line.apart_until = Some(until));
    }

    /// Waits until a message has come to the peer, or from it to the service.
    pub(crate) async fn traffic(&self, peer: &str) {
        let bell = self.with_line(peer, |line| Arc::clone(&line.bell));
        bell.notified().await;
    }

    fn came(&self, peer: &str) {
        self.0.messages.fetch_add(1, Ordering::Relaxed);
        self.with_line(peer, |line| line.bell.notify_waiters());
    }

    fn apart(&self, peer: &str) -> bool {
        self.with_line(peer, |line| line.apart_until.is_some_and(|until| until > Instant::now()))
    }

    fn draw<T>(&self, peer: &str, draw: impl FnOnce(&mut Dice, &Faults) -> T) -> Option<T> {
        let faults = self.faults().clone();
        self.with_line(peer, |line| line.dice.as_mut().map(|dice| draw(dice, &faults)))
    }

    /// Time that a message takes on this line.
    fn delay(&self, peer: &str) -> Duration {
        let delay = self.draw(peer, |dice, faults| dice.millis(1..=faults.delay.max(1)));
        delay.unwrap_or_default()
    }

    /// The process that this peer's next call goes to: the newest, or with two leaders either.
    fn host(&self, peer: &str) -> Option<(Routes, CancellationToken, TaskTracker)> {
        let count = self.state().hosts.len();
        let pick = if count > 1 { self.draw(peer, |dice, _| dice.number(0..=(count as u64) - 1))? } else { 0 };
        let state = self.state();
        let host = state.hosts.values().nth(usize::try_from(pick).unwrap_or(0))?;
        Some((host.routes.clone(), host.dead.clone(), host.tasks.clone()))
    }

    /// Sends a request; the answer comes as the service gives it, unless something happens on the way.
    async fn send(self, peer: Arc<str>, mut request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let (cut, number) = self.with_line(&peer, |line| (line.cut.clone(), line.number));
        let [high, low] = number.to_be_bytes();
        let address = SocketAddr::from((IpAddr::from(Ipv4Addr::new(10, 0, high, low)), 4000));
        request.extensions_mut().insert(Peer(address));
        if self.apart(&peer) {
            sleep(CONNECT).await;
            return Err(unavailable("the service cannot be reached"));
        }
        let (lost, answer_lost, late, twice) = self
            .draw(&peer, |dice, faults| {
                let lost = dice.chance(faults.loss / 2.0);
                (lost, dice.chance(faults.loss / 2.0), dice.chance(faults.late), dice.chance(faults.twice))
            })
            .unwrap_or_default();
        let mut delay = self.delay(&peer);
        if late {
            delay += self.draw(&peer, |dice, _| dice.millis(1_000..=LATE)).unwrap_or_default();
        }
        if lost {
            sleep(delay).await;
            self.cut(&peer);
            return Err(unavailable("the connection was lost"));
        }
        if twice && is_one_answer(request.uri().path()) {
            let (first, second) = copied(request).await;
            request = first;
            let again = delay + self.draw(&peer, |dice, _| dice.millis(0..=TWICE)).unwrap_or_default();
            let courier = Courier { network: self.clone(), peer: Arc::clone(&peer), cut: cut.clone() };
            // Nobody waits for the second answer.
            self.0.tasks.spawn(courier.deliver(second, again, oneshot::channel().0));
        }
        let (reply, answer) = oneshot::channel();
        let courier = Courier { network: self.clone(), peer: Arc::clone(&peer), cut: cut.clone() };
        self.0.tasks.spawn(courier.deliver(request, delay, reply));
        let head = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(unavailable("the connection was cut")),
            head = answer => head.map_err(|_| unavailable("the connection was lost"))??,
        };
        sleep(self.delay(&peer)).await;
        if answer_lost {
            self.cut(&peer);
            return Err(unavailable("the connection was lost"));
        }
        if self.apart(&peer) {
            sleep(PEER_NOTICES).await;
            return Err(unavailable("the connection fell silent"));
        }
        let (parts, frames) = head.into_parts();
        let incoming = Incoming { network: self, peer, cut, frames: Some(frames) };
        let frames = stream::unfold(incoming, |mut incoming| async move { Some((incoming.next().await?, incoming)) });
        Ok(http::Response::from_parts(parts, Body::new(StreamBody::new(frames))))
    }
}

/// Whether a call has one answer; streams that are opened twice are what cut connections lead to anyway.
fn is_one_answer(path: &str) -> bool {
    !["/Status", "/Listen", "/WatchLease"].iter().any(|stream| path.ends_with(stream))
}

async fn copied(request: http::Request<Body>) -> (http::Request<Body>, http::Request<Body>) {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let copy = |parts| http::Request::from_parts(parts, Body::new(http_body_util::Full::new(bytes.clone())));
    (copy(parts.clone()), copy(parts))
}

/// Takes a request to the service and its answer on the way back.
struct Courier {
    network: Network,
    peer: Arc<str>,
    cut: CancellationToken,
}

type Head = http::Response<mpsc::Receiver<Part>>;

impl Courier {
    async fn deliver(
        self,
        request: http::Request<Body>,
        delay: Duration,
        reply: oneshot::Sender<Result<Head, Status>>,
    ) {
        sleep(delay).await;
        self.network.came(&self.peer);
        let Some((mut routes, dead, tasks)) = self.network.host(&self.peer) else {
            _ = reply.send(Err(unavailable("nobody listens at the address of the service")));
            return;
        };
        // The process at the other end does the rest; when it dies, the answer stops where it is.
        tasks.spawn(async move {
            let serve = async {
                let answer: Result<http::Response<Body>, Infallible> = routes.call(request).await;
                let Ok(answer) = answer;
                let (parts, body) = answer.into_parts();
                let (sender, frames) = mpsc::channel(IN_FLIGHT);
                if reply.send(Ok(http::Response::from_parts(parts, frames))).is_ok() {
                    self.pump(body, sender).await;
                }
            };
            dead.run_until_cancelled(serve).await;
        });
    }

    /// Sends the frames of an answer as they come, until the service notices that nobody is there.
    async fn pump(self, mut body: Body, sender: mpsc::Sender<Part>) {
        loop {
            let frame = tokio::select! {
                biased;
                () = sender.closed() => {
                    if self.network.apart(&self.peer) {
                        sleep(SERVICE_NOTICES).await;
                    } else {
                        sleep(self.network.delay(&self.peer)).await;
                    }
                    return;
                }
                () = self.cut.cancelled() => {
                    sleep(self.network.delay(&self.peer)).await;
                    return;
                }
                frame = body.frame() => frame,
            };
            let at = Instant::now() + self.network.delay(&self.peer);
            let part = match frame {
                Some(Ok(frame)) => Part::Frame(at, frame),
                Some(Err(status)) => Part::Broken(status),
                None => Part::End,
            };
            if sender.send(part).await.is_err() {
                return;
            }
        }
    }
}

/// The answer as it reaches the peer.
struct Incoming {
    network: Network,
    peer: Arc<str>,
    cut: CancellationToken,
    frames: Option<mpsc::Receiver<Part>>,
}

impl Incoming {
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        let frames = self.frames.as_mut()?;
        let part = tokio::select! {
            biased;
            () = self.cut.cancelled() => None,
            part = frames.recv() => part,
        };
        if self.network.apart(&self.peer) {
            sleep(PEER_NOTICES).await;
            self.frames = None;
            return Some(Err(unavailable("the connection fell silent")));
        }
        match part {
            Some(Part::Frame(at, frame)) => {
                sleep_until(at).await;
                self.network.came(&self.peer);
                Some(Ok(frame))
            }
            Some(Part::End) => None,
            Some(Part::Broken(status)) => {
                self.frames = None;
                Some(Err(status))
            }
            None => {
                self.frames = None;
                sleep(self.network.delay(&self.peer)).await;
                Some(Err(unavailable("the connection was lost")))
            }
        }
    }
}

impl Service<http::Request<Body>> for Wire {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.network.clone().send(Arc::clone(&self.peer), request))
    }
}
