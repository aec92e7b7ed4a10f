//! Keeping in touch with the controller, and carrying out what the lease machine decides.
use std::{collections::HashMap, time::Duration};

use futures::StreamExt as _;
use jumpstarter_config::{ExporterConfig, Secret};
use jumpstarter_drivers::Registry;
use jumpstarter_protocol::v1::{ExporterStatus, RegisterRequest, StatusResponse};
use jumpstarter_tunnel::Connector;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

use crate::{
    Action, Assignment, ControllerLink, Event, ExporterError, LeaseMachine, Session, SessionInfo, StopWhen,
    backoff::Backoff,
    link::{Identity, OPEN},
    listen::listen,
};

/// Limit for saying goodbye: the OFFLINE report and Unregister together.
const GOODBYE: Duration = Duration::from_secs(10);
/// Events that may wait for the lease machine; senders wait beyond that.
const EVENTS: usize = 16;

/// Why an exporter returned without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// It was asked to stop.
    Stopped,
    /// It was to serve one lease only, and has.
    LeaseEnded,
}

/// How to ask a running exporter to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Stop now, ending the session of a running lease.
    pub now: CancellationToken,
    /// Stop once no lease is being served.
    pub after_lease: CancellationToken,
}

/// An exporter that registers with a controller. One of them costs a task or two, so thousands fit a process;
/// [`Connector::shared`] lets them share connections.
pub struct Exporter {
    config: ExporterConfig,
    identity: Identity,
    endpoint: String,
    connector: Connector,
    registry: Registry,
    reported: watch::Sender<Option<ExporterStatus>>,
}

impl Exporter {
    /// An exporter that reaches controller and routers as its configuration says.
    pub fn from_config(config: ExporterConfig) -> Result<Self, ExporterError> {
        let connector = Connector::from_config(&config.tls, config.grpc_options.as_ref());
        Self::new(config, connector.map_err(ExporterError::Config)?)
    }

    /// An exporter for `config`, reaching controller and routers through `connector`.
    pub fn new(config: ExporterConfig, connector: Connector) -> Result<Self, ExporterError> {
        if !config.hooks.is_empty() {
            return Err(ExporterError::Hooks);
        }
        let token: &Secret = config.token.as_ref().ok_or(ExporterError::NotConfigured)?;
        let identity = Identity::new(&config, token)?;
        let endpoint = config.endpoint.clone().ok_or(ExporterError::NotConfigured)?;
        let reported = watch::Sender::new(None);
        Ok(Self { config, identity, endpoint, connector, registry: Registry::builtin(), reported })
    }

    /// The same with other driver classes.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// The last status that the controller has taken in.
    pub fn reported(&self) -> watch::Receiver<Option<ExporterStatus>> {
        self.reported.subscribe()
    }

    /// Registers, serves leases one at a time, and unregisters when `stop` fires.
    ///
    /// Sessions outlive outages of the controller; connections to it are opened again for as long as it takes.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future cuts a running session and skips Unregister. Cancel `stop` instead.
    pub async fn run(self, stop: CancellationToken) -> Result<ExitReason, ExporterError> {
        self.run_with(Stop { now: stop, after_lease: CancellationToken::new() }).await
    }

    /// [`Exporter::run`] with a second way to stop that waits for the lease to end.
    pub async fn run_with(self, stop: Stop) -> Result<ExitReason, ExporterError> {
        let process = Uuid::new_v4();
        let info = SessionInfo {
            uuid: process,
            labels: HashMap::from([("jumpstarter.dev/name".to_owned(), self.config.metadata.name.clone())]),
            motd: self.config.motd.clone().unwrap_or_default(),
            leased: true,
        };
        // Built once only to tell the controller what there is; each lease gets drivers of its own.
        let probe = Session::new(&self.config, &self.registry, info.clone()).await.map_err(ExporterError::Drivers)?;
        let register = RegisterRequest { labels: info.labels.clone(), reports: probe.reports() };
        probe.close().await;
        drop(probe);
        let Some(channel) = self.register(register, &stop).await? else {
            return Ok(ExitReason::Stopped);
        };
        let link = ControllerLink::with_identity(channel, self.identity.clone());
        tracing::info!(exporter = %self.config.metadata.name, "Exporter registered and available");
        Ok(Running::new(&self, link, info).serve(stop).await)
    }

    /// Connects and registers, trying again while the controller cannot be reached. None when stopped meanwhile.
    async fn register(&self, request: RegisterRequest, stop: &Stop) -> Result<Option<Channel>, ExporterError> {
        let endpoint = &self.endpoint;
        tracing::info!(%endpoint, exporter = %self.config.metadata.name, "Registering exporter with controller");
        let mut backoff = Backoff::default();
        loop {
            let attempt = async {
                let channel = self.connector.connect(endpoint).await.map_err(|err| Err(chain(&*err)))?;
                let link = ControllerLink::with_identity(channel.clone(), self.identity.clone());
                link.register(request.clone()).await.map_err(Ok)?;
                Ok::<_, Result<Status, String>>(channel)
            };
            let failure = tokio::select! {
                // Registering is idempotent, so an attempt may be dropped.
                () = stop.now.cancelled() => return Ok(None),
                () = stop.after_lease.cancelled() => return Ok(None),
                outcome = attempt => match outcome {
                    Ok(channel) => return Ok(Some(channel)),
                    Err(Ok(status)) if refused(&status) => {
                        return Err(ExporterError::Refused { endpoint: endpoint.clone(), status: Box::new(status) });
                    }
                    Err(Ok(status)) => format!("{}: {}", status.code(), status.message()),
                    Err(Err(error)) => error,
                },
            };
            let pause = backoff.next();
            tracing::warn!(%endpoint, error = %failure, ?pause, "the controller is not reachable; trying again");
            tokio::select! {
                () = stop.now.cancelled() => return Ok(None),
                () = stop.after_lease.cancelled() => return Ok(None),
                () = sleep(pause) => {}
            }
        }
    }
}

/// An error and its causes in one line.
fn chain(err: &(dyn std::error::Error + 'static)) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// An answer that trying again would not change.
fn refused(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::InvalidArgument
            | Code::Unimplemented
            | Code::FailedPrecondition
            | Code::AlreadyExists
    )
}

/// A registered exporter.
struct Running<'a> {
    exporter: &'a Exporter,
    link: ControllerLink,
    info: SessionInfo,
    machine: LeaseMachine,
    /// The session of the current lease, and what stops its Listen stream.
    session: Option<(Session, CancellationToken)>,
    report: watch::Sender<(ExporterStatus, String)>,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    tasks: JoinSet<()>,
}

impl<'a> Running<'a> {
    fn new(exporter: &'a Exporter, link: ControllerLink, info: SessionInfo) -> Self {
        let (events, inbox) = mpsc::channel(EVENTS);
        let report = watch::Sender::new((ExporterStatus::Available, String::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(send_reports(link.clone(), report.subscribe(), exporter.reported.clone()));
        tasks.spawn(follow_status(link.clone(), events.clone(), report.clone()));
        let machine = LeaseMachine::new(exporter.config.exit_on_lease_end);
        Self { exporter, link, info, machine, session: None, report, events, inbox, tasks }
    }

    async fn serve(mut self, stop: Stop) -> ExitReason {
        let asked = stop.clone();
        let (mut now, mut later) = (false, false);
        loop {
            let event = tokio::select! {
                () = stop.now.cancelled(), if !now => {
                    now = true;
                    Event::Stop(StopWhen::Now)
                }
                () = stop.after_lease.cancelled(), if !later => {
                    later = true;
                    Event::Stop(StopWhen::AfterLease)
                }
                // `recv` and `join_next` are cancel safe by their docs; `self` holds a sender, so `recv` never ends.
                Some(event) = self.inbox.recv() => event,
                Some(_) = self.tasks.join_next() => continue,
            };
            for action in self.machine.handle(event) {
                if self.carry_out(action).await {
                    self.goodbye().await;
                    let was_asked = asked.now.is_cancelled() || asked.after_lease.is_cancelled();
                    return if was_asked { ExitReason::Stopped } else { ExitReason::LeaseEnded };
                }
            }
        }
    }

    /// Starts what `action` asks for; true when the exporter is to leave.
    async fn carry_out(&mut self, action: Action) -> bool {
        match action {
            Action::Start(assignment) => self.start(&assignment).await,
            Action::Close => self.close(),
            Action::Report(status, message) => {
                if let Some((session, _)) = &self.session {
                    session.set_status(status, &message);
                }
                self.report.send_replace((status, message));
            }
            Action::Release(lease) => {
                let link = self.link.clone();
                let (status, message) = self.report.borrow().clone();
                self.tasks.spawn(async move {
                    if let Err(status) = link.release(&lease, status, &message).await {
                        tracing::warn!(%lease, %status, "give the lease back");
                    }
                });
            }
            Action::Exit => return true,
        }
        false
    }

    async fn start(&mut self, assignment: &Assignment) {
        let Assignment { lease, client } = assignment;
        tracing::info!(%lease, %client, "lease starts");
        let events = self.events.clone();
        let session = match Session::new(&self.exporter.config, &self.exporter.registry, self.info.clone()).await {
            Ok(session) => session,
            Err(err) => {
                tracing::error!(%lease, %err, "set up the drivers");
                let event =
                    Event::Failed { lease: lease.clone(), message: format!("the drivers could not be set up: {err}") };
                self.tasks.spawn(async move { drop(events.send(event).await) });
                return;
            }
        };
        let (stop, lease) = (CancellationToken::new(), lease.clone());
        self.session = Some((session.clone(), stop.clone()));
        let dials = listen(self.link.clone(), self.exporter.connector.clone(), session.clone(), lease.clone(), stop);
        self.tasks.spawn(async move {
            // Clients may dial while the devices are being reset: their calls simply come later.
            let ready = async {
                session.reset().await;
                let _ = events.send(Event::Ready(lease)).await;
            };
            tokio::join!(dials, ready);
        });
    }

    fn close(&mut self) {
        let events = self.events.clone();
        let session = self.session.take();
        self.tasks.spawn(async move {
            if let Some((session, listening)) = session {
                listening.cancel();
                session.close().await;
            }
            tracing::info!("lease ended, devices released");
            let _ = events.send(Event::Closed).await;
        });
    }

    /// Reports OFFLINE and unregisters.
    async fn goodbye(mut self) {
        self.tasks.shutdown().await;
        let link = self.link;
        let bye = async {
            if let Err(status) = link.report(ExporterStatus::Offline, "exporter stopped").await {
                tracing::warn!(%status, "report OFFLINE");
            }
            link.unregister("exporter stopped").await
        };
        match timeout(GOODBYE, bye).await {
            Ok(Ok(())) => tracing::info!("exporter unregistered"),
            Ok(Err(status)) => tracing::warn!(%status, "unregister"),
            Err(_) => tracing::warn!("unregister: no answer from the controller; it will notice by silence"),
        }
        self.exporter.reported.send_replace(Some(ExporterStatus::Offline));
    }
}

/// Follows the Status stream for ever and passes on what it says. A lost stream changes nothing by itself.
async fn follow_status(
    link: ControllerLink,
    events: mpsc::Sender<Event>,
    report: watch::Sender<(ExporterStatus, String)>,
) {
    let mut backoff = Backoff::default();
    let mut first = true;
    loop {
        let error = match link.status().await {
            Err(status) => format!("{}: {}", status.code(), status.message()),
            Ok(mut stream) => {
                if !first {
                    // The controller may have been restarted: tell it again what we are doing.
                    report.send_modify(|_| ());
                }
                first = false;
                let mut opened = false;
                loop {
                    let next = if opened { Ok(stream.next().await) } else { timeout(OPEN, stream.next()).await };
                    match next {
                        Ok(Some(Ok(message))) => {
                            opened = true;
                            backoff.reset();
                            if events.send(Event::Assigned(assignment(message))).await.is_err() {
                                return;
                            }
                        }
                        Ok(Some(Err(status))) => {
                            break format!("{}: {}", status.code(), status.message());
                        }
                        Ok(None) => break "the controller ended it".to_owned(),
                        Err(_) => break "no first message".to_owned(),
                    }
                }
            }
        };
        let pause = backoff.next();
        tracing::warn!(%error, ?pause, "the Status stream ended; opening it again");
        sleep(pause).await;
    }
}

fn assignment(message: StatusResponse) -> Option<Assignment> {
    let StatusResponse { leased, lease_name, client_name, context: _ } = message;
    let lease = lease_name.filter(|name| leased && !name.is_empty())?;
    Some(Assignment { lease, client: client_name.unwrap_or_default() })
}

/// Sends the newest status, again and again until the controller took it. Older ones may be skipped.
async fn send_reports(
    link: ControllerLink,
    mut latest: watch::Receiver<(ExporterStatus, String)>,
    reported: watch::Sender<Option<ExporterStatus>>,
) {
    let mut backoff = Backoff::default();
    latest.mark_changed();
    while latest.changed().await.is_ok() {
        loop {
            let (status, message) = latest.borrow_and_update().clone();
            match link.report(status, &message).await {
                Ok(()) => {
                    backoff.reset();
                    reported.send_replace(Some(status));
                    break;
                }
                Err(err) if refused(&err) => {
                    tracing::warn!(%err, ?status, "the controller refuses a status report");
                    break;
                }
                Err(err) => {
                    let pause = backoff.next();
                    tracing::debug!(%err, ?status, ?pause, "report status; trying again");
                    sleep(pause).await;
                }
            }
        }
    }
}
