//! One lease at a time, one session at a time within it: the decisions, without any I/O.
//!
//! Level-triggered: the machine holds what the controller wants now and steps towards it, so a message lost, repeated
//! or skipped (lease A straight to lease B) leads to the same place. What is under way is named by a [`SessionId`];
//! late news of another session change nothing.
//!
//! ```text
//!  Free ─► Opening ─► Before ─► Ready ─► After ─► Lingering ─► Over ─► Closing ─► Free
//!            │          │         │        └───── lease over ──────────────▲
//!            └──────────┴─────────┴─ each skips what is not configured ────┘
//! ```
//!
//! `Before` is one hook after the other: beforeLease, and the check where the service wants to know whether the exporter
//! works.
//!
//! Every session that was opened is closed exactly once. The afterLease hook runs exactly once in each session whose
//! set-up succeeded, whatever ended it: its client, the end of the lease, or a stop.
mod machine;
mod words;

use jumpstarter_config::{Hooks, OnFailure};
use jumpstarter_protocol::v1::{ExporterStatus, LogSource, StatusResponse};

pub use machine::LeaseMachine;

/// The client that the service's own leases belong to.
const MAINTENANCE_CLIENT: &str = "jumpstarter-maintenance";
/// Key in the context of such a lease: what it is for.
const MAINTENANCE: &str = "jumpstarter.dev/maintenance";
/// Value of [`MAINTENANCE`]: the lease shows whether the exporter works.
const CHECK: &str = "check";

/// Names one session in the life of an exporter: the first is 1, and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Who may use the exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the lease.
    pub lease: String,
    /// Name of its client; may be empty with old services.
    pub client: String,
    /// The service itself has it, to see whether the exporter works.
    pub check: bool,
}

impl Assignment {
    /// Who may use the exporter, as the controller tells it; `None` when nobody may.
    #[must_use]
    pub fn told(message: StatusResponse) -> Option<Self> {
        let StatusResponse { leased, lease_name, client_name, context, revision: _ } = message;
        let lease = lease_name.filter(|name| leased && !name.is_empty())?;
        let client = client_name.unwrap_or_default();
        // What a lease carries along is its owner's word, so both are asked for.
        let check = client == MAINTENANCE_CLIENT && context.get(MAINTENANCE).is_some_and(|purpose| purpose == CHECK);
        Some(Self { lease, client, check })
    }
}

/// When a stopping exporter leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopWhen {
    /// Once no lease is being served.
    AfterLease,
    /// Now, ending the session of a running lease.
    Now,
}

/// A program around the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// Before clients get in.
    BeforeLease,
    /// After that, when the service checks the exporter.
    Check,
    /// After the last client.
    AfterLease,
}

impl HookKind {
    /// The key in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeLease => "beforeLease",
            Self::Check => "check",
            Self::AfterLease => "afterLease",
        }
    }

    /// The source of its lines in the log of the session.
    #[must_use]
    pub fn source(self) -> LogSource {
        match self {
            Self::BeforeLease | Self::Check => LogSource::BeforeLeaseHook,
            Self::AfterLease => LogSource::AfterLeaseHook,
        }
    }
}

/// What the configuration asks for, as far as decisions depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// There is a beforeLease hook, and its failure means this.
    pub before: Option<OnFailure>,
    /// There is a check hook, and its failure means this.
    pub check: Option<OnFailure>,
    /// There is an afterLease hook, and its failure means this.
    pub after: Option<OnFailure>,
    /// Leave after the first lease.
    pub one_lease_only: bool,
}

impl Plan {
    /// The plan for these hooks. An empty script is no hook.
    #[must_use]
    pub fn new(hooks: &Hooks, one_lease_only: bool) -> Self {
        let failure = |hook: &Option<jumpstarter_config::Hook>| {
            hook.as_ref().filter(|hook| !hook.script.trim().is_empty()).map(|hook| hook.on_failure)
        };
        Self {
            before: failure(&hooks.before_lease),
            check: failure(&hooks.check),
            after: failure(&hooks.after_lease),
            one_lease_only,
        }
    }

    /// The hook to run before clients get in, `after` which one, if any, has run.
    fn preparation(self, holder: &Assignment, after: Option<HookKind>) -> Option<HookKind> {
        let before = self.before.filter(|_| after.is_none()).map(|_| HookKind::BeforeLease);
        let check = self.check.filter(|_| holder.check && after != Some(HookKind::Check)).map(|_| HookKind::Check);
        before.or(check)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The controller said who holds the exporter, or that nobody does.
    Assigned(Option<Assignment>),
    /// The drivers of a session are ready.
    Opened(SessionId),
    /// The drivers of a session could not be set up; what was built is closed again.
    OpenFailed(SessionId, String),
    /// A hook has ended, well or with the reason why not.
    HookEnded(SessionId, HookKind, Option<String>),
    /// A client asked to end its session.
    EndSession(SessionId),
    /// A client wants to connect.
    Dialled,
    /// Clients have had time to see the last status of a session.
    Lingered(SessionId),
    /// A session is gone and its drivers are closed.
    Closed(SessionId),
    /// Someone asked the exporter to stop.
    Stop(StopWhen),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Listen for the lease's clients and set up a session with fresh drivers; answered by [`Event::Opened`] or
    /// [`Event::OpenFailed`].
    Open(SessionId, Assignment),
    /// Run a hook; answered by [`Event::HookEnded`].
    RunHook(SessionId, HookKind, Assignment),
    /// End a running hook early; its end is still told.
    CancelHook(SessionId),
    /// Tell the clients of a session.
    Show(SessionId, ExporterStatus, String),
    /// Tell the controller, again and again until it has taken it in.
    Report(ExporterStatus, String),
    /// Give clients a moment to see the status; answered by [`Event::Lingered`].
    Linger(SessionId),
    /// The lease is over: no more clients.
    StopListening,
    /// Close the session; answered by [`Event::Closed`].
    Close(SessionId),
    /// Ask the controller to take the lease back, again and again until it has.
    Release(String),
    /// Say goodbye and return.
    Exit(ExitReason),
}

/// Why an exporter returned without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// It was asked to stop.
    Stopped,
    /// It was to serve one lease only, and has.
    LeaseEnded,
    /// A hook with `onFailure: exit` failed; the text says how.
    HookFailed(String),
}
