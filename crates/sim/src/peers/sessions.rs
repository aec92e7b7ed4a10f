//! The sessions of an exporter's process: what the machine asks for, done in simulated time.

use std::{collections::BTreeMap, time::Duration};

use jumpstarter_protocol::v1::ExporterStatus;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    Backoff,
    lifecycle::{Action, Assignment, Event, ExitReason, LeaseMachine, SessionId},
    link::Link,
};
use crate::{dice::Dice, lab::Lab, plan::Flaw, router::Served};

/// Events that may wait for the machine.
const EVENTS: usize = 16;
/// Limit for the first message of a Status stream.
const OPEN: Duration = Duration::from_secs(30);
/// The moment that clients get to see a last status.
const LINGER: Duration = Duration::from_secs(1);

/// What comes in.
pub(super) enum News {
    Event(Event),
    /// A message of the Status stream with its revision; whether it is the first of a stream that was opened anew.
    Told(Option<Assignment>, String, bool),
    /// A dial of this lease, with its ticket.
    Dial(String, String),
}

/// How often and how slowly things happen in one exporter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Shares of sessions that cannot be set up, and of hooks that fail.
    pub(crate) fails: f64,
    /// Reports are this late.
    pub(crate) slow: bool,
    /// Old exporters do not tell what they have heard. They report before they open the Status stream, and not again
    /// when they have to open another.
    pub(crate) old: bool,
}

/// What an exporter says, and what it had heard then.
#[derive(Clone, Debug)]
struct Report {
    status: ExporterStatus,
    text: String,
    heard: String,
}

struct Open {
    lease: String,
    closed: CancellationToken,
}

/// One process of an exporter at work. Dropping it kills the process.
pub(super) struct Process {
    lab: Lab,
    name: String,
    number: u64,
    link: Link,
    machine: LeaseMachine,
    manners: Manners,
    dice: Dice,
    sessions: BTreeMap<SessionId, Open>,
    listening: Option<(String, CancellationToken)>,
    parked: Vec<(String, String)>,
    report: watch::Sender<Report>,
    heard: String,
    tell_again: bool,
    events: mpsc::Sender<News>,
    inbox: mpsc::Receiver<News>,
    tasks: JoinSet<()>,
}

impl Process {
    pub(super) fn new(lab: &Lab, name: &str, number: u64, link: Link, machine: LeaseMachine, manners: Manners) -> Self {
        let dice = Dice::named(lab.plan.seed, &format!("process {name} {number}"));
        let (events, inbox) = mpsc::channel(EVENTS);
        let first = Report { status: ExporterStatus::Available, text: "registered".to_owned(), heard: String::new() };
        let report = watch::Sender::new(first);
        let mut tasks = JoinSet::new();
        let speaker = Speaker { lab: lab.clone(), name: name.to_owned(), link: link.clone(), old: manners.old };
        let voice = |what: &str| Dice::named(lab.plan.seed, &format!("{what} {name} {number}"));
        let said = CancellationToken::new();
        if !manners.old {
            said.cancel();
        }
        tasks.spawn(speaker.clone().send_reports(report.subscribe(), voice("reports"), manners.slow, said.clone()));
        tasks.spawn(speaker.follow_status(events.clone(), said, voice("status")));
        Self {
            lab: lab.clone(),
            name: name.to_owned(),
            number,
            link,
            machine,
            manners,
            dice,
            sessions: BTreeMap::new(),
            listening: None,
            parked: Vec::new(),
            report,
            heard: String::new(),
            tell_again: false,
            events,
            inbox,
            tasks,
        }
    }

    /// Serves until the machine leaves.
    pub(super) async fn serve(&mut self, stop: &CancellationToken) -> ExitReason {
        let mut asked = false;
        loop {
            let news = tokio::select! {
                biased;
                () = stop.cancelled(), if !asked => {
                    asked = true;
                    Some(News::Event(Event::Stop(super::lifecycle::StopWhen::Now)))
                }
                Some(_) = self.tasks.join_next() => None,
                news = self.inbox.recv() => news,
            };
            let event = match news {
                None => None,
                Some(News::Event(event)) => Some(event),
                Some(News::Told(wanted, revision, again)) => {
                    self.heard = revision;
                    self.tell_again = again && !self.manners.old;
                    Some(Event::Assigned(wanted))
                }
                Some(News::Dial(lease, ticket)) => {
                    self.parked.push((lease, ticket));
                    Some(Event::Dialled)
                }
            };
            if let Some(reason) = event.and_then(|event| self.decide(event)) {
                self.tasks.shutdown().await;
                return reason;
            }
            self.report_again();
            self.connect_parked();
        }
    }

    fn decide(&mut self, event: Event) -> Option<ExitReason> {
        let event = self.settle(event);
        for action in self.machine.handle(event) {
            match action {
                Action::Open(id, holder) => self.open(id, &holder),
                Action::RunHook(id, kind, _) => {
                    self.lab.check().hook(&self.name, self.number, id.0, kind.name());
                    let failed = self.dice.chance(self.manners.fails).then(|| "no".to_owned());
                    self.later(100..=20_000, Event::HookEnded(id, kind, failed));
                }
                Action::CancelHook(_) | Action::Show(..) => {}
                Action::Report(status, text) => self.say(status, text),
                Action::Linger(id) => {
                    let events = self.events.clone();
                    self.tasks.spawn(async move {
                        sleep(LINGER).await;
                        _ = events.send(News::Event(Event::Lingered(id))).await;
                    });
                }
                Action::StopListening => {
                    if let Some((_, stop)) = self.listening.take() {
                        stop.cancel();
                    }
                    self.parked.clear();
                }
                Action::Close(id) => self.close(id),
                Action::Release(lease) => self.give_back(lease),
                Action::Exit(reason) => return Some(reason),
            }
        }
        None
    }

    fn say(&mut self, status: ExporterStatus, text: String) {
        if status == ExporterStatus::Offline {
            self.lab.check().exporter_leaves(&self.name);
        }
        self.report.send_replace(Report { status, text, heard: self.heard.clone() });
    }

    /// As the exporter does when it has to open its Status stream again.
    fn report_again(&mut self) {
        if std::mem::take(&mut self.tell_again) {
            let idle = self.machine.is_free();
            self.report.send_modify(|report| {
                if idle {
                    report.heard.clone_from(&self.heard);
                }
            });
        }
    }

    /// What is told of a session changes what is open here.
    fn settle(&mut self, event: Event) -> Event {
        if let Event::OpenFailed(id, _) | Event::Closed(id) = &event
            && let Some(open) = self.sessions.remove(id)
        {
            // Whoever came early, to a session that then could not be set up, is sent away.
            open.closed.cancel();
            self.lab.check().session_closed(&self.name, self.number, id.0, &open.lease);
            if self.lab.plan.flaw == Flaw::TwofoldTearDown && matches!(event, Event::Closed(_)) {
                self.lab.check().session_closed(&self.name, self.number, id.0, &open.lease);
            }
        }
        event
    }

    fn later(&mut self, millis: std::ops::RangeInclusive<u64>, event: Event) {
        let (pause, events) = (self.dice.millis(millis), self.events.clone());
        self.tasks.spawn(async move {
            sleep(pause).await;
            _ = events.send(News::Event(event)).await;
        });
    }

    fn open(&mut self, id: SessionId, holder: &Assignment) {
        let lease = holder.lease.clone();
        self.lab.check().session_opened(&self.name, self.number, id.0, &lease);
        self.sessions.insert(id, Open { lease: lease.clone(), closed: CancellationToken::new() });
        if self.listening.as_ref().is_none_or(|(listened, _)| *listened != lease) {
            let stop = CancellationToken::new();
            let dice = Dice::named(self.lab.plan.seed, &format!("listen {} {} {}", self.name, self.number, id.0));
            let events = self.events.clone();
            self.tasks.spawn(listen(self.link.clone(), lease.clone(), events, stop.clone(), dice));
            self.listening = Some((lease, stop));
        }
        let fails = self.dice.chance(self.manners.fails);
        let event = if fails { Event::OpenFailed(id, "no driver".to_owned()) } else { Event::Opened(id) };
        self.later(50..=2_500, event);
    }

    fn close(&mut self, id: SessionId) {
        let Some(open) = self.sessions.get(&id) else {
            return self.lab.violation("tear-down", format!("{} closes session {} twice", self.name, id.0));
        };
        open.closed.cancel();
        match self.lab.plan.flaw {
            Flaw::EarlyAvailable => {
                // The word is out, the work is not done.
                self.say(ExporterStatus::Available, "early".to_owned());
                self.later(20_000..=60_000, Event::Closed(id));
            }
            Flaw::OverlappingSessions => {
                let todo = self.machine.handle(Event::Closed(id));
                for action in todo {
                    match action {
                        Action::Open(id, holder) => self.open(id, &holder),
                        Action::Report(status, text) => self.say(status, text),
                        _ => {}
                    }
                }
                self.later(60_000..=120_000, Event::Closed(id));
            }
            _ => self.later(20..=2_000, Event::Closed(id)),
        }
    }

    fn give_back(&mut self, lease: String) {
        let dice = Dice::named(self.lab.plan.seed, &format!("release {} {lease}", self.name));
        let (lab, link, name) = (self.lab.clone(), self.link.clone(), self.name.clone());
        self.tasks.spawn(async move {
            let (mut dice, mut backoff) = (dice, Backoff::default());
            lab.check().release_asked(&lease, &name);
            loop {
                match link.give_back(&lease).await {
                    Ok(()) => return lab.check().release_acknowledged(&lease, &name),
                    Err(status) if refused(&status) => return,
                    Err(_) => sleep(backoff.next(&mut dice)).await,
                }
            }
        });
    }

    fn connect_parked(&mut self) {
        let newest = self.sessions.iter().next_back().filter(|(_, open)| !open.closed.is_cancelled());
        let Some((_, open)) = newest else { return };
        for (lease, ticket) in self.parked.drain(..) {
            if lease == open.lease {
                let served = Served { exporter: self.name.clone(), lease, closed: open.closed.clone() };
                self.lab.router.serve(&ticket, served, self.lab.time.now());
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for (id, open) in std::mem::take(&mut self.sessions) {
            open.closed.cancel();
            self.lab.check().session_killed(&self.name, self.number, id.0, &open.lease);
        }
    }
}

/// An answer that trying again would not change.
pub(super) fn refused(status: &tonic::Status) -> bool {
    use tonic::Code;
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

/// Speaks with the service for a process.
#[derive(Clone)]
struct Speaker {
    lab: Lab,
    name: String,
    link: Link,
    old: bool,
}

impl Speaker {
    /// Sends the newest report, again and again until the service took it.
    async fn send_reports(
        self,
        mut latest: watch::Receiver<Report>,
        mut dice: Dice,
        slow: bool,
        said: CancellationToken,
    ) {
        let mut backoff = Backoff::default();
        latest.mark_changed();
        while latest.changed().await.is_ok() {
            if slow {
                sleep(dice.millis(0..=20_000)).await;
            }
            loop {
                let Report { status, text, heard } = latest.borrow_and_update().clone();
                let ask = self.lab.check().report_sent(&self.name);
                match self.link.report(status, &text, (!self.old).then_some(&*heard)).await {
                    Ok(()) => {
                        self.lab.check().report_acknowledged(&self.name, status, ask);
                        backoff.reset();
                        break;
                    }
                    Err(error) if refused(&error) => break,
                    Err(_) => sleep(backoff.next(&mut dice)).await,
                }
            }
            said.cancel();
        }
    }

    /// Follows the Status stream for ever. A lost stream changes nothing by itself.
    async fn follow_status(self, events: mpsc::Sender<News>, said: CancellationToken, mut dice: Dice) {
        let (mut backoff, mut first) = (Backoff::default(), true);
        said.cancelled().await;
        loop {
            if let Ok(mut stream) = self.link.status().await {
                let mut opened = false;
                loop {
                    let next = if opened { Ok(stream.next().await) } else { timeout(OPEN, stream.next()).await };
                    let Ok(Some(Ok(message))) = next else { break };
                    let again = !opened && !first;
                    (opened, first) = (true, false);
                    backoff.reset();
                    let revision = message.revision.clone();
                    let wanted = Assignment::told(message);
                    self.lab.check().told(&self.name, wanted.as_ref().map(|wanted| wanted.lease.as_str()));
                    if events.send(News::Told(wanted, revision, again)).await.is_err() {
                        return;
                    }
                }
            }
            sleep(backoff.next(&mut dice)).await;
        }
    }
}

/// Listens for the dials of a lease until told to stop.
async fn listen(link: Link, lease: String, events: mpsc::Sender<News>, stop: CancellationToken, mut dice: Dice) {
    let mut backoff = Backoff::default();
    let accept = async {
        loop {
            if let Ok(mut dials) = link.listen(&lease).await {
                while let Some(Ok(dial)) = dials.next().await {
                    backoff.reset();
                    if events.send(News::Dial(lease.clone(), dial.router_token)).await.is_err() {
                        return;
                    }
                }
            }
            sleep(backoff.next(&mut dice)).await;
        }
    };
    stop.run_until_cancelled(accept).await;
}
