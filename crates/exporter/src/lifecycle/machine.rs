//! The machine itself.
use jumpstarter_config::OnFailure;
use jumpstarter_protocol::v1::ExporterStatus;

use super::{Action, Assignment, Event, ExitReason, HookKind, Plan, SessionId, StopWhen, words};

/// A session and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    id: SessionId,
    holder: Assignment,
    /// Its client has asked to end it.
    ended: bool,
}

/// What follows a session that is over while its lease is not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    /// The next client gets a session of its own.
    Another,
    /// The lease is given back.
    Release,
    /// The lease is given back and the exporter leaves.
    Leave(HookKind, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No session.
    Free,
    /// Drivers are being set up.
    Opening(Session),
    /// A hook runs before clients get in.
    Before(Session, HookKind),
    /// Clients work.
    Ready(Session),
    /// The afterLease hook runs.
    After(Session),
    /// The session is over; its clients get a moment to see how.
    Lingering(Session, Then, String),
    /// The session is over, and stays to be looked at until the lease is over or another one is wanted.
    Over(Session, Then, String),
    /// The drivers could not be set up, so there is no session; the lease is given back.
    Failed(Assignment),
    /// The session is being torn down; the text goes with the next AVAILABLE.
    Closing(Session, Then, String),
    /// Nothing more happens.
    Gone,
}

/// The life of one exporter.
#[derive(Debug)]
pub struct LeaseMachine {
    plan: Plan,
    phase: Phase,
    wanted: Option<Assignment>,
    stop: Option<StopWhen>,
    /// Clients of the wanted lease are listened for.
    listening: bool,
    /// A lease that was given back; if the controller names it again, it is given back again.
    spent: Option<String>,
    sessions: u64,
}

impl LeaseMachine {
    /// A machine without a lease.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, phase: Phase::Free, wanted: None, stop: None, listening: false, spent: None, sessions: 0 }
    }

    /// Whether there is no session, nor one on its way.
    #[must_use]
    pub fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Free)
    }

    /// One word for what it is doing, for logs.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match &self.phase {
            Phase::Free => "free",
            Phase::Opening(_) => "opening",
            Phase::Before(..) => "before",
            Phase::Ready(_) => "ready",
            Phase::After(_) => "after",
            Phase::Lingering(..) => "lingering",
            Phase::Over(..) => "over",
            Phase::Failed(_) => "failed",
            Phase::Closing(..) => "closing",
            Phase::Gone => "gone",
        }
    }

    /// Takes in what happened and says what to do, in order.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut todo = Vec::new();
        if self.phase == Phase::Gone {
            return todo;
        }
        match event {
            Event::Assigned(wanted) => self.assigned(wanted, &mut todo),
            Event::Stop(when) => self.stopped(when, &mut todo),
            Event::Opened(id) => self.opened(id, &mut todo),
            Event::OpenFailed(id, message) => self.open_failed(id, message, &mut todo),
            Event::HookEnded(id, hook, failure) => self.hook_ended(id, hook, failure, &mut todo),
            Event::EndSession(id) => self.end_session(id),
            Event::Lingered(id) => self.lingered(id, &mut todo),
            Event::Dialled => self.dialled(&mut todo),
            Event::Closed(id) => self.closed(id, &mut todo),
        }
        self.advance(&mut todo);
        todo
    }

    fn assigned(&mut self, wanted: Option<Assignment>, todo: &mut Vec<Action>) {
        if wanted.as_ref().map(|a| &a.lease) != self.spent.as_ref() {
            self.spent = None;
        } else if let Some(lease) = &self.spent {
            todo.push(Action::Release(lease.clone()));
        }
        self.wanted = wanted;
        // A lease can change hands; its hooks are told of the last one.
        if let (Some(wanted), Some(session)) = (&self.wanted, session_of(&mut self.phase))
            && session.holder.lease == wanted.lease
            && !wanted.client.is_empty()
        {
            session.holder.client.clone_from(&wanted.client);
        }
    }

    fn stopped(&mut self, when: StopWhen, todo: &mut Vec<Action>) {
        self.stop = self.stop.max(Some(when));
        if let Phase::Before(session, _) = &self.phase
            && when == StopWhen::Now
        {
            todo.push(Action::CancelHook(session.id));
        }
    }

    fn opened(&mut self, id: SessionId, todo: &mut Vec<Action>) {
        let Phase::Opening(session) = &self.phase else { return };
        if session.id != id {
            return;
        }
        let session = session.clone();
        if let Some(hook) = self.plan.preparation(&session.holder, None) {
            self.prepare(session, hook, todo);
        } else {
            tell(id, ExporterStatus::LeaseReady, words::READY, todo);
            self.phase = Phase::Ready(session);
        }
    }

    fn prepare(&mut self, session: Session, hook: HookKind, todo: &mut Vec<Action>) {
        tell(session.id, ExporterStatus::BeforeLeaseHook, words::running(hook), todo);
        todo.push(Action::RunHook(session.id, hook, session.holder.clone()));
        self.phase = Phase::Before(session, hook);
    }

    fn open_failed(&mut self, id: SessionId, message: String, todo: &mut Vec<Action>) {
        let Phase::Opening(session) = &self.phase else { return };
        if session.id == id {
            let holder = session.holder.clone();
            todo.push(Action::Report(ExporterStatus::BeforeLeaseHookFailed, message));
            self.phase = Phase::Failed(holder.clone());
            self.release(&holder, todo);
        }
    }

    fn hook_ended(&mut self, id: SessionId, hook: HookKind, failure: Option<String>, todo: &mut Vec<Action>) {
        let (session, on_failure) = match (&self.phase, hook) {
            (Phase::Before(session, running), _) if *running == hook => {
                let plan = if hook == HookKind::Check { self.plan.check } else { self.plan.before };
                (session.clone(), plan)
            }
            (Phase::After(session), HookKind::AfterLease) => (session.clone(), self.plan.after),
            _ => return,
        };
        if session.id != id {
            return;
        }
        let on_failure = on_failure.unwrap_or_default();
        let cut_short = hook != HookKind::AfterLease && self.stop == Some(StopWhen::Now);
        let warning = match failure {
            Some(failure) if on_failure != OnFailure::Warn && !cut_short => {
                return self.hook_failed(session, hook, on_failure, &failure, todo);
            }
            Some(failure) => Some(words::warning(hook, &failure)),
            None => None,
        };
        match hook {
            HookKind::BeforeLease | HookKind::Check => {
                if !session.ended && !self.must_end(&session) {
                    if let Some(next) = self.plan.preparation(&session.holder, Some(hook)) {
                        return self.prepare(session, next, todo);
                    }
                    let text = warning.as_deref().unwrap_or(words::READY);
                    tell(id, ExporterStatus::LeaseReady, text, todo);
                }
                self.phase = Phase::Ready(session);
            }
            HookKind::AfterLease => {
                let text = warning.unwrap_or_else(|| words::AVAILABLE.to_owned());
                self.over(session, text, todo);
            }
        }
    }

    fn hook_failed(
        &mut self,
        session: Session,
        hook: HookKind,
        on_failure: OnFailure,
        failure: &str,
        todo: &mut Vec<Action>,
    ) {
        let status = match hook {
            HookKind::BeforeLease | HookKind::Check => ExporterStatus::BeforeLeaseHookFailed,
            HookKind::AfterLease => ExporterStatus::AfterLeaseHookFailed,
        };
        let text = words::failed(hook, on_failure, failure);
        tell(session.id, status, &text, todo);
        todo.push(Action::Linger(session.id));
        let then = if on_failure == OnFailure::Exit { Then::Leave(hook, text) } else { Then::Release };
        self.phase = Phase::Lingering(session, then, words::AVAILABLE.to_owned());
    }

    fn end_session(&mut self, id: SessionId) {
        if let Phase::Opening(session) | Phase::Before(session, _) | Phase::Ready(session) = &mut self.phase
            && session.id == id
        {
            session.ended = true;
        }
    }

    /// The work of a session is done, and so is its tear-down hook.
    fn over(&mut self, session: Session, text: String, todo: &mut Vec<Action>) {
        if self.must_end(&session) {
            // Nobody is left to look at it.
            return self.close(session, Then::Another, text, todo);
        }
        // The controller is told once the drivers are closed, too. Until then it keeps sending clients.
        todo.push(Action::Show(session.id, ExporterStatus::Available, text.clone()));
        self.phase = if self.plan.after.is_some() {
            todo.push(Action::Linger(session.id));
            Phase::Lingering(session, Then::Release, text)
        } else {
            Phase::Over(session, Then::Another, text)
        };
    }

    fn lingered(&mut self, id: SessionId, todo: &mut Vec<Action>) {
        let Phase::Lingering(session, then, text) = &self.phase else { return };
        if session.id != id {
            return;
        }
        let (session, then, text) = (session.clone(), then.clone(), text.clone());
        match &then {
            Then::Leave(hook, _) => {
                todo.push(Action::Report(ExporterStatus::Offline, words::shutting_down(*hook)));
                if self.holds(&session) {
                    self.release(&session.holder, todo);
                }
                self.close(session, then, text, todo);
            }
            Then::Release | Then::Another => {
                if then == Then::Release && self.holds(&session) && self.stop != Some(StopWhen::Now) {
                    self.release(&session.holder, todo);
                }
                self.phase = Phase::Over(session, then, text);
            }
        }
    }

    fn dialled(&mut self, todo: &mut Vec<Action>) {
        if let Phase::Over(session, Then::Another, text) = &self.phase {
            let (session, text) = (session.clone(), text.clone());
            self.close(session, Then::Another, text, todo);
        }
    }

    fn closed(&mut self, id: SessionId, todo: &mut Vec<Action>) {
        let Phase::Closing(session, then, text) = &self.phase else { return };
        if session.id != id {
            return;
        }
        let (session, then, text) = (session.clone(), then.clone(), text.clone());
        self.phase = Phase::Free;
        if let Then::Leave(_, failure) = then {
            self.exit(ExitReason::HookFailed(failure), todo);
        } else {
            self.freed(&session.holder, text, todo);
        }
    }

    /// The devices are back in their default state.
    fn freed(&mut self, holder: &Assignment, text: String, todo: &mut Vec<Action>) {
        self.phase = Phase::Free;
        let lease_is_over = self.wanted.as_ref().is_none_or(|wanted| wanted.lease != holder.lease);
        if self.plan.one_lease_only && (lease_is_over || self.spent.is_some()) && self.stop.is_none() {
            return self.exit(ExitReason::LeaseEnded, todo);
        }
        if self.stop.is_none() && self.next().is_none() {
            todo.push(Action::Report(ExporterStatus::Available, text));
        }
    }

    fn exit(&mut self, reason: ExitReason, todo: &mut Vec<Action>) {
        self.phase = Phase::Gone;
        self.hear(todo);
        todo.push(Action::Exit(reason));
    }

    /// Moves on as far as what is wanted asks for.
    fn advance(&mut self, todo: &mut Vec<Action>) {
        self.step(todo);
        self.hear(todo);
    }

    /// Stops listening for clients that will not be served.
    fn hear(&mut self, todo: &mut Vec<Action>) {
        if self.listening && !self.keeps_listening() {
            self.listening = false;
            todo.push(Action::StopListening);
        }
    }

    fn step(&mut self, todo: &mut Vec<Action>) {
        match self.phase.clone() {
            Phase::Free if self.stop.is_some() => self.exit(ExitReason::Stopped, todo),
            Phase::Free => {
                if let Some(holder) = self.next().cloned() {
                    self.sessions += 1;
                    let session = Session { id: SessionId(self.sessions), holder: holder.clone(), ended: false };
                    todo.push(Action::Open(session.id, holder));
                    self.listening = true;
                    self.phase = Phase::Opening(session);
                }
            }
            // Nothing was set up for a client yet, so nothing is to be undone by a hook.
            Phase::Opening(session) if self.must_end(&session) => {
                self.close(session, Then::Another, words::AVAILABLE.to_owned(), todo);
            }
            Phase::Ready(session) if session.ended || self.must_end(&session) => {
                if self.plan.after.is_some() {
                    let id = session.id;
                    tell(id, ExporterStatus::AfterLeaseHook, words::running(HookKind::AfterLease), todo);
                    todo.push(Action::RunHook(id, HookKind::AfterLease, session.holder.clone()));
                    self.phase = Phase::After(session);
                } else {
                    self.over(session, words::AVAILABLE.to_owned(), todo);
                }
            }
            Phase::Over(session, then, text) if self.must_end(&session) => self.close(session, then, text, todo),
            Phase::Failed(holder) if self.must_end_for(&holder) => {
                self.freed(&holder, words::AVAILABLE.to_owned(), todo);
                self.step(todo);
            }
            Phase::Opening(_)
            | Phase::Before(..)
            | Phase::Ready(_)
            | Phase::After(_)
            | Phase::Lingering(..)
            | Phase::Over(..)
            | Phase::Failed(_)
            | Phase::Closing(..)
            | Phase::Gone => {}
        }
    }

    fn close(&mut self, session: Session, then: Then, text: String, todo: &mut Vec<Action>) {
        let id = session.id;
        self.phase = Phase::Closing(session, then, text);
        self.hear(todo);
        todo.push(Action::Close(id));
    }

    fn release(&mut self, holder: &Assignment, todo: &mut Vec<Action>) {
        self.spent = Some(holder.lease.clone());
        todo.push(Action::Release(holder.lease.clone()));
    }

    /// The lease to serve next: one that was given back is not served again.
    fn next(&self) -> Option<&Assignment> {
        self.wanted.as_ref().filter(|wanted| self.spent.as_ref() != Some(&wanted.lease))
    }

    fn holds(&self, session: &Session) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.lease == session.holder.lease)
    }

    /// The session cannot go on: its lease is over, or the exporter is to stop now.
    fn must_end(&self, session: &Session) -> bool {
        self.must_end_for(&session.holder)
    }

    fn must_end_for(&self, holder: &Assignment) -> bool {
        self.stop == Some(StopWhen::Now) || self.wanted.as_ref().is_none_or(|wanted| wanted.lease != holder.lease)
    }

    fn keeps_listening(&self) -> bool {
        match &self.phase {
            Phase::Opening(s)
            | Phase::Before(s, _)
            | Phase::Ready(s)
            | Phase::After(s)
            | Phase::Lingering(s, ..)
            | Phase::Over(s, ..)
            | Phase::Closing(s, Then::Another, _) => !self.must_end(s),
            Phase::Closing(_, Then::Release | Then::Leave(..), _) | Phase::Failed(_) | Phase::Free | Phase::Gone => {
                false
            }
        }
    }
}

/// Tells both the clients of a session and the controller.
fn tell(session: SessionId, status: ExporterStatus, text: &str, todo: &mut Vec<Action>) {
    todo.push(Action::Show(session, status, text.to_owned()));
    todo.push(Action::Report(status, text.to_owned()));
}

/// The session whose hooks are still to run.
fn session_of(phase: &mut Phase) -> Option<&mut Session> {
    match phase {
        Phase::Opening(session) | Phase::Before(session, _) | Phase::Ready(session) => Some(session),
        Phase::Free
        | Phase::After(_)
        | Phase::Lingering(..)
        | Phase::Over(..)
        | Phase::Failed(_)
        | Phase::Closing(..)
        | Phase::Gone => None,
    }
}
