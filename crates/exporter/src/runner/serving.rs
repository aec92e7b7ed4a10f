//! A registered exporter at work.
use std::collections::VecDeque;

use jumpstarter_protocol::v1::ExporterStatus;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Exporter, Stop,
    goodbye::goodbye,
    host::{Host, Material, News},
    listen::{Dial, listen, tunnel},
    release::{Release, give_back},
    reports::{Report, send_reports},
    status::follow_status,
};
use crate::{Action, Assignment, ControllerLink, Event, ExitReason, LeaseMachine, Plan, SessionInfo, StopWhen};

/// Dials that wait for their session to exist; the clients of older ones have given up.
const MAX_PARKED: usize = 64;

pub(super) struct Serving<'a> {
    exporter: &'a Exporter,
    link: ControllerLink,
    machine: LeaseMachine,
    host: Host,
    inbox: mpsc::Receiver<News>,
    report: watch::Sender<Report>,
    /// The revision of the last message of the Status stream.
    heard: String,
    /// That was the first of a stream that was opened anew.
    tell_again: bool,
    /// The lease whose clients are listened for.
    listening: Option<(String, CancellationToken)>,
    parked: VecDeque<Dial>,
    tunnels: JoinSet<()>,
    release: Option<Release>,
}

impl<'a> Serving<'a> {
    pub(super) fn new(exporter: &'a Exporter, link: ControllerLink, info: SessionInfo) -> Self {
        let config = &exporter.config;
        let (registry, programs) = (exporter.registry.clone(), exporter.programs.clone());
        let material = Material { config: config.clone(), registry, info, passphrase: None, programs };
        let (mut host, inbox) = Host::new(material);
        let report = watch::Sender::new(Report {
            status: ExporterStatus::Available,
            message: "Exporter registered and available".to_owned(),
            revision: String::new(),
        });
        host.spawn(send_reports(link.clone(), report.subscribe(), exporter.reported.clone()));
        host.spawn(follow_status(link.clone(), host.news()));
        let machine = LeaseMachine::new(Plan::new(&config.hooks, config.exit_on_lease_end));
        Self {
            exporter,
            link,
            machine,
            host,
            inbox,
            report,
            heard: String::new(),
            tell_again: false,
            listening: None,
            parked: VecDeque::new(),
            tunnels: JoinSet::new(),
            release: None,
        }
    }

    pub(super) async fn run(mut self, stop: Stop) -> ExitReason {
        let (mut now, mut later) = (false, false);
        loop {
            let event = tokio::select! {
                () = stop.now.cancelled(), if !now => {
                    now = true;
                    Some(Event::Stop(StopWhen::Now))
                }
                () = stop.after_lease.cancelled(), if !later => {
                    later = true;
                    Some(Event::Stop(StopWhen::AfterLease))
                }
                // `recv` and `join_next` are cancel safe by their docs; the host holds a sender, so `recv` never ends.
                Some(news) = self.inbox.recv() => self.take_in(news),
                () = self.host.task_ended() => None,
                Some(ended) = self.tunnels.join_next() => {
                    if ended.is_err_and(|err| err.is_panic()) {
                        tracing::error!("a tunnel panicked; its client has lost the connection");
                    }
                    None
                }
            };
            let reason = event.and_then(|event| self.decide(event));
            self.report_again();
            // The machine is asked first: it may want a session of its own for a new client.
            self.connect_parked();
            if let Some(reason) = reason {
                let text = match &reason {
                    ExitReason::Stopped | ExitReason::LeaseEnded => "Exporter shutting down",
                    ExitReason::HookFailed(failure) => failure,
                };
                self.tunnels.shutdown().await;
                self.host.shutdown().await;
                goodbye(&self.link, self.release.take(), text).await;
                self.exporter.reported.send_replace(Some(ExporterStatus::Offline));
                return reason;
            }
        }
    }

    /// What news mean to the machine, if anything.
    fn take_in(&mut self, news: News) -> Option<Event> {
        match news {
            News::Event(event) => Some(self.host.settle(event)),
            News::Told { wanted, revision, again } => {
                self.heard = revision;
                self.tell_again |= again;
                if let Some(release) = &self.release
                    && wanted.as_ref().map(|wanted| &wanted.lease) != Some(&release.lease)
                {
                    release.done.cancel();
                    self.release = None;
                }
                Some(self.host.settle(Event::Assigned(wanted)))
            }
            News::Built(id, built) => {
                self.host.built(id, built);
                None
            }
            News::Unusable(id, message) => {
                self.host.unusable(id, message);
                None
            }
            News::Dial(dial) => {
                if self.parked.len() == MAX_PARKED {
                    tracing::warn!("too many clients wait for the session; the one that came first is left out");
                    self.parked.pop_front();
                }
                self.parked.push_back(dial);
                Some(Event::Dialled)
            }
            News::Accepted(_) => None,
        }
    }

    fn connect_parked(&mut self) {
        let Some(session) = self.host.session() else { return };
        for dial in self.parked.drain(..) {
            let tunnel = tunnel(self.exporter.connector.clone(), session.clone(), dial);
            self.tunnels.spawn(tunnel.instrument(tracing::info_span!("tunnel")));
        }
    }

    /// Asks the machine and carries out what it says; the reason to leave, if there is one.
    fn decide(&mut self, event: Event) -> Option<ExitReason> {
        let shown = format!("{event:?}");
        let actions = self.machine.handle(event);
        tracing::debug!(event = %shown, phase = self.machine.phase(), ?actions);
        for action in actions {
            match action {
                Action::Open(id, holder) => {
                    self.listen(&holder);
                    self.host.open(id, &holder);
                }
                Action::RunHook(id, kind, holder) => self.host.run_hook(id, kind, holder),
                Action::CancelHook(_) => self.host.cancel_hook(),
                Action::Show(id, status, message) => self.host.show(id, status, &message),
                Action::Report(status, message) => {
                    tracing::info!(status = status.as_str_name(), "{message}");
                    self.report.send_replace(Report { status, message, revision: self.heard.clone() });
                }
                Action::Linger(id) => self.host.linger(id),
                Action::StopListening => {
                    if let Some((_, stop)) = self.listening.take() {
                        stop.cancel();
                    }
                    self.parked.clear();
                }
                Action::Close(id) => self.host.close(id),
                Action::Release(lease) => self.give_back(lease),
                Action::Exit(reason) => return Some(reason),
            }
        }
        None
    }

    /// Tells a controller that may have forgotten it what is so since the last report. Where that was followed by a
    /// session, what was known then is all that it says.
    fn report_again(&mut self) {
        if std::mem::take(&mut self.tell_again) {
            let idle = self.machine.is_free();
            self.report.send_modify(|report| {
                if idle {
                    report.revision.clone_from(&self.heard);
                }
            });
        }
    }

    fn listen(&mut self, holder: &Assignment) {
        if self.listening.as_ref().is_some_and(|(lease, _)| *lease == holder.lease) {
            return;
        }
        let stop = CancellationToken::new();
        let door = self.exporter.door.clone().map(|door| (door, self.exporter.endpoint.clone()));
        let link = self.link.clone();
        self.host.spawn(listen(link, holder.lease.clone(), door, self.host.news(), stop.clone()));
        self.listening = Some((holder.lease.clone(), stop));
    }

    fn give_back(&mut self, lease: String) {
        if self.release.as_ref().is_some_and(|release| release.lease == lease && !release.done.is_cancelled()) {
            return;
        }
        let release = Release::new(lease.clone());
        let report = self.report.borrow().clone();
        self.host.spawn(give_back(self.link.clone(), lease, report, release.done.clone()));
        self.release = Some(release);
    }
}
