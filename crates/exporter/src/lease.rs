//! One lease at a time: the decisions, without any I/O.
//!
//! Level-triggered: the machine holds what the controller wants now and steps towards it, so a message
//! lost, repeated or skipped (lease A straight to lease B) leads to the same place.

use jumpstarter_protocol::v1::ExporterStatus;

/// Who may use the exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the lease.
    pub lease: String,
    /// Name of its client; may be empty with old services.
    pub client: String,
}

/// When a stopping exporter leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopWhen {
    /// Once no lease is being served.
    AfterLease,
    /// Now, ending the session of a running lease.
    Now,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The controller said who holds the exporter, or that nobody does.
    Assigned(Option<Assignment>),
    /// The session of the named lease serves clients.
    Ready(String),
    /// The session of the named lease could not be set up.
    Failed {
        /// Name of the lease.
        lease: String,
        /// Why, for people.
        message: String,
    },
    /// The session is gone and its drivers are closed.
    Closed,
    /// Someone asked the exporter to stop.
    Stop(StopWhen),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Set up a session with fresh drivers; answered by [`Event::Ready`] or [`Event::Failed`].
    Start(Assignment),
    /// End the session; answered by [`Event::Closed`].
    Close,
    /// Tell the controller.
    Report(ExporterStatus, String),
    /// Ask the controller to take the lease back.
    Release(String),
    /// Say goodbye and return.
    Exit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No session.
    Free,
    /// A session is being set up.
    Starting(Assignment),
    /// A session is up.
    Serving(Assignment),
    /// The session failed; the lease is to be taken back.
    Failed(Assignment),
    /// The session is being torn down.
    Closing,
    /// Nothing more happens.
    Gone,
}

/// The life of one exporter.
#[derive(Debug)]
pub struct LeaseMachine {
    phase: Phase,
    wanted: Option<Assignment>,
    stop: Option<StopWhen>,
    one_lease_only: bool,
}

impl LeaseMachine {
    /// A machine without a lease; with `one_lease_only` it leaves after the first one.
    #[must_use]
    pub fn new(one_lease_only: bool) -> Self {
        Self { phase: Phase::Free, wanted: None, stop: None, one_lease_only }
    }

    /// The lease whose session is up or being set up.
    #[must_use]
    pub fn current(&self) -> Option<&Assignment> {
        match &self.phase {
            Phase::Starting(a) | Phase::Serving(a) => Some(a),
            Phase::Free | Phase::Failed(_) | Phase::Closing | Phase::Gone => None,
        }
    }

    /// Takes in what happened and says what to do, in order.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut todo = Vec::new();
        match event {
            Event::Assigned(wanted) => self.wanted = wanted,
            Event::Stop(when) => self.stop = self.stop.max(Some(when)),
            // Late news of a session that is being torn down, or is gone, are not about the current one.
            Event::Ready(lease) => {
                if let Phase::Starting(a) = &self.phase
                    && a.lease == lease
                {
                    self.phase = Phase::Serving(a.clone());
                    todo.push(Action::Report(ExporterStatus::LeaseReady, String::new()));
                }
            }
            Event::Failed { lease, message } => {
                if let Phase::Starting(a) = &self.phase
                    && a.lease == lease
                {
                    todo.push(Action::Report(ExporterStatus::BeforeLeaseHookFailed, message));
                    todo.push(Action::Release(lease));
                    self.phase = Phase::Failed(a.clone());
                }
            }
            Event::Closed => {
                if self.phase == Phase::Closing {
                    self.freed(&mut todo);
                }
            }
        }
        self.advance(&mut todo);
        todo
    }

    /// Moves on as far as what is wanted asks for.
    fn advance(&mut self, todo: &mut Vec<Action>) {
        match &self.phase {
            Phase::Free => match (&self.wanted, self.stop) {
                (_, Some(_)) => {
                    self.phase = Phase::Gone;
                    todo.push(Action::Exit);
                }
                (Some(assignment), None) => {
                    todo.push(Action::Start(assignment.clone()));
                    self.phase = Phase::Starting(assignment.clone());
                }
                (None, None) => {}
            },
            Phase::Starting(a) | Phase::Serving(a) => {
                if self.stop == Some(StopWhen::Now) || !self.still_wants(a) {
                    todo.push(Action::Close);
                    self.phase = Phase::Closing;
                }
            }
            Phase::Failed(a) => {
                if self.stop.is_some() || !self.still_wants(a) {
                    self.freed(todo);
                    self.advance(todo);
                }
            }
            Phase::Closing | Phase::Gone => {}
        }
    }

    fn still_wants(&self, serving: &Assignment) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.lease == serving.lease)
    }

    /// The devices are back in their default state.
    fn freed(&mut self, todo: &mut Vec<Action>) {
        self.phase = Phase::Free;
        if self.one_lease_only {
            self.stop = Some(StopWhen::Now);
        }
        if self.stop.is_none() && self.wanted.is_none() {
            todo.push(Action::Report(ExporterStatus::Available, String::new()));
        }
    }
}
