//! The one live session: opening it, running its hooks, closing it. Nothing here decides, and nothing can hang: what
//! drivers and hooks do has limits.
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use jumpstarter_config::{ExporterConfig, Hook};
use jumpstarter_drivers::Registry;
use jumpstarter_protocol::v1::ExporterStatus;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{chain, listen::Dial};
use crate::{
    Assignment, Event, HookKind, Session, SessionId, SessionInfo,
    hook::{HookRunner, HookSocket, Run},
};

/// Limit for bringing all devices of an exporter to their default state.
const RESET_LIMIT: Duration = Duration::from_mins(2);
/// Limit for letting go of all devices, beyond the limits of each.
const CLOSE_LIMIT: Duration = Duration::from_mins(2);
/// How long a final status stays visible at least: clients look three times a second.
const LINGER: Duration = Duration::from_secs(1);
/// And beyond that, for clients that are still connected: they leave when they have seen it. One that finds its
/// session gone instead would ask a closed tunnel for minutes.
const LINGER_FOR_CLIENTS: Duration = Duration::from_secs(9);
/// News that may wait for the one who decides; senders wait beyond that.
const NEWS: usize = 16;

/// What reaches the one who decides.
pub(super) enum News {
    Event(Event),
    /// A message of the Status stream. `again`: it is the first of a stream that was opened anew.
    Told {
        wanted: Option<Assignment>,
        revision: String,
        again: bool,
    },
    /// A session exists; its devices are still to be reset.
    Built(SessionId, Built),
    /// The devices of a session could not be reset.
    Unusable(SessionId, String),
    /// A client wants in through a router.
    Dial(Dial),
    /// A client came in by itself.
    Accepted(TcpStream),
}

pub(super) struct Built {
    session: Session,
    socket: Option<HookSocket>,
}

/// The live session.
struct Live {
    id: SessionId,
    session: Session,
    socket: Option<HookSocket>,
}

/// What sessions are made of.
#[derive(Clone)]
pub(super) struct Material {
    pub(super) config: Arc<ExporterConfig>,
    pub(super) registry: Arc<Registry>,
    pub(super) info: SessionInfo,
    pub(super) passphrase: Option<String>,
    pub(super) programs: Arc<dyn HookRunner>,
}

/// Owns the live session and all that works on it.
pub(super) struct Host {
    material: Material,
    /// The session being opened or live, until it is to be closed.
    current: Option<(SessionId, CancellationToken)>,
    live: Option<Live>,
    hook: CancellationToken,
    news: mpsc::Sender<News>,
    tasks: JoinSet<()>,
}

impl Host {
    pub(super) fn new(material: Material) -> (Self, mpsc::Receiver<News>) {
        let (news, inbox) = mpsc::channel(NEWS);
        let hook = CancellationToken::new();
        (Self { material, current: None, live: None, hook, news, tasks: JoinSet::new() }, inbox)
    }

    pub(super) fn news(&self) -> mpsc::Sender<News> {
        self.news.clone()
    }

    /// Adds a task to those that end with the exporter.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits for the end of a task. A panic in one of them is a fault of ours that would leave the exporter waiting
    /// for news that never come, so it goes on here.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn task_ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Err(err)) if err.is_panic() => std::panic::resume_unwind(err.into_panic()),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Ends all tasks.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }

    /// The session that clients may connect to.
    pub(super) fn session(&self) -> Option<&Session> {
        self.live.as_ref().map(|live| &live.session)
    }

    /// Shows a status to the clients of a session.
    pub(super) fn show(&self, id: SessionId, status: ExporterStatus, message: &str) {
        if let Some(live) = self.live.as_ref().filter(|live| live.id == id) {
            live.session.set_status(status, message);
        }
    }

    /// Starts to open a session.
    pub(super) fn open(&mut self, id: SessionId, holder: &Assignment) {
        tracing::info!(lease = %holder.lease, client = %holder.client, "session starts");
        let over = CancellationToken::new();
        self.current = Some((id, over.clone()));
        self.tasks.spawn(open(id, self.material.clone(), holder.clone(), over, self.news.clone()));
    }

    /// Takes in what a task of ours found out; an event for the machine, if it is one.
    pub(super) fn built(&mut self, id: SessionId, built: Built) {
        let Built { session, socket } = built;
        let wanted = self.current.as_ref().is_some_and(|(current, over)| *current == id && !over.is_cancelled());
        if wanted {
            self.live = Some(Live { id, session, socket });
        } else {
            self.tear_down(session, socket, Event::Closed(id));
        }
    }

    /// The devices of a session could not be reset: it is closed, and then counts as never opened.
    pub(super) fn unusable(&mut self, id: SessionId, message: String) {
        if let Some(live) = self.live.take_if(|live| live.id == id) {
            self.tear_down(live.session, live.socket, Event::OpenFailed(id, message));
        }
    }

    /// Starts to close a session; [`Event::Closed`] follows.
    pub(super) fn close(&mut self, id: SessionId) {
        if let Some((current, over)) = &self.current
            && *current == id
        {
            over.cancel();
        }
        // A session that is still being built is closed as soon as it is there.
        if let Some(live) = self.live.take_if(|live| live.id == id) {
            self.tear_down(live.session, live.socket, Event::Closed(id));
        }
    }

    /// The failure to open a session that was to be closed meanwhile is its end.
    pub(super) fn settle(&self, event: Event) -> Event {
        match event {
            Event::OpenFailed(id, _)
                if self.current.as_ref().is_some_and(|(current, over)| *current == id && over.is_cancelled()) =>
            {
                Event::Closed(id)
            }
            other => other,
        }
    }

    fn tear_down(&mut self, session: Session, socket: Option<HookSocket>, after: Event) {
        let news = self.news.clone();
        self.tasks.spawn(async move {
            close_session(&session).await;
            drop(socket);
            tracing::info!("session ended, devices released");
            let _ = news.send(News::Event(after)).await;
        });
    }

    pub(super) fn run_hook(&mut self, id: SessionId, kind: HookKind, holder: Assignment) {
        let hooks = &self.material.config.hooks;
        let hook: Option<Hook> = match kind {
            HookKind::BeforeLease => hooks.before_lease.clone(),
            HookKind::Check => hooks.check.clone(),
            HookKind::AfterLease => hooks.after_lease.clone(),
        };
        let live = self.live.as_ref().filter(|live| live.id == id);
        let place = live.and_then(|live| Some((live.session.clone(), live.socket.as_ref()?.path().to_owned())));
        let extra: Vec<_> = self.material.passphrase.iter().map(|word| ("JMP_GRPC_PASSPHRASE", word.clone())).collect();
        let cancel = CancellationToken::new();
        self.hook = cancel.clone();
        let news = self.news.clone();
        let runner = Arc::clone(&self.material.programs);
        self.tasks.spawn(async move {
            let failure = match (hook, place) {
                (Some(hook), Some((session, host))) => {
                    let (runner, extra) = (&*runner, &extra[..]);
                    let run = Run { runner, kind, hook: &hook, holder: &holder, host: &host, session: &session, extra };
                    run.run(&cancel).await.err()
                }
                (None, _) => None,
                (_, None) => Some("Error executing hook: the session is gone".to_owned()),
            };
            let _ = news.send(News::Event(Event::HookEnded(id, kind, failure))).await;
        });
    }

    pub(super) fn cancel_hook(&self) {
        self.hook.cancel();
    }

    pub(super) fn linger(&mut self, id: SessionId) {
        let news = self.news.clone();
        let session = self.live.as_ref().filter(|live| live.id == id).map(|live| live.session.clone());
        self.tasks.spawn(async move {
            sleep(LINGER).await;
            if let Some(session) = session
                && timeout(LINGER_FOR_CLIENTS, session.alone()).await.is_err()
            {
                tracing::debug!("a client stays connected after the end of its session");
            }
            let _ = news.send(News::Event(Event::Lingered(id))).await;
        });
    }
}

/// Builds a session, serves its local socket, and passes on its client's wish to end it.
async fn open(
    id: SessionId,
    material: Material,
    holder: Assignment,
    over: CancellationToken,
    news: mpsc::Sender<News>,
) {
    let Material { config, registry, info, passphrase, programs: _ } = material;
    let failed = |message| News::Event(Event::OpenFailed(id, message));
    let session = match Session::new(&config, &registry, info).await {
        Ok(session) => session,
        Err(err) => {
            let message = format!("the drivers could not be set up: {}", chain(&err));
            tracing::error!(lease = %holder.lease, "{message}");
            return drop(news.send(failed(message)).await);
        }
    };
    session.set_holder(&holder.lease, &holder.client);
    if let Some(passphrase) = &passphrase {
        session.require_passphrase(passphrase);
    }
    let (socket, listener) = if config.hooks.is_empty() {
        (None, None)
    } else {
        match HookSocket::bind() {
            Ok((socket, listener)) => (Some(socket), Some(listener)),
            Err(err) => {
                let message = format!("no socket for the hooks: {err}");
                tracing::error!(lease = %holder.lease, "{message}");
                close_session(&session).await;
                return drop(news.send(failed(message)).await);
            }
        }
    };
    if news.send(News::Built(id, Built { session: session.clone(), socket })).await.is_err() {
        return;
    }
    let reset = async {
        let outcome = timeout(RESET_LIMIT, AssertUnwindSafe(session.reset()).catch_unwind()).await;
        let event = match outcome {
            Ok(Ok(())) => News::Event(Event::Opened(id)),
            Ok(Err(_)) => News::Unusable(id, "a driver panicked while its device was reset".to_owned()),
            Err(_) => News::Unusable(id, format!("the devices were not reset within {} s", RESET_LIMIT.as_secs())),
        };
        let _ = news.send(event).await;
        session.ended().await;
        let _ = news.send(News::Event(Event::EndSession(id))).await;
        std::future::pending::<()>().await;
    };
    let local = async {
        if let Some(listener) = listener
            && let Err(err) = session.for_hooks().serve_unix(listener).await
        {
            tracing::error!(%err, "serve the hooks' socket");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // The session is closed by someone else: a reset under way is no longer wanted.
        () = over.cancelled() => {}
        () = reset => {}
        () = local => {}
    }
}

/// Closes a session, whatever its drivers do.
pub(super) async fn close_session(session: &Session) {
    match timeout(CLOSE_LIMIT, AssertUnwindSafe(session.close()).catch_unwind()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!("a driver panicked while it was closed"),
        Err(_) => tracing::error!(limit = ?CLOSE_LIMIT, "the drivers were not closed in time; going on without them"),
    }
}
