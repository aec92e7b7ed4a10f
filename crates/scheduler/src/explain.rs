//! Answers for people and programs: why a lease waits, and who may have what.

use jumpstarter_model::{GoDuration, Timestamp};

/// Where a live lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Waiting, scheduled, preparing or ready.
    pub standing: LeaseStanding,
    /// Place in the queue, 1 being next: one more than the number of leases that come before this one at any exporter
    /// it may have. `None` unless it waits.
    pub position: Option<usize>,
    /// Reason as in the `Pending` condition; empty when the lease is ready.
    pub reason: String,
    /// The same for people, with counts of this moment.
    pub message: String,
    /// Every exporter that matches the request, by name; empty unless the lease waits.
    pub candidates: Vec<Candidate>,
}

/// Where a live lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseStanding {
    /// Its begin lies ahead.
    Scheduled,
    /// It stands in the queue.
    Waiting,
    /// It has an exporter that gets ready.
    Preparing,
    /// It may be dialled.
    Ready,
}

/// What one exporter means for a waiting lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the exporter.
    pub exporter: String,
    /// Why it is not given out, or [`CandidateReason::Free`].
    pub reason: CandidateReason,
    /// The same for people.
    pub message: String,
}

/// Why an exporter is not given to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidateReason {
    /// Pinned, and the lease's selector does not match its labels.
    SelectorMismatch,
    /// Taken out of service.
    Disabled,
    /// No policy rule admits the client.
    NoAccess,
    /// Rules admit the client, but only for this long at most.
    DurationTooLong(GoDuration),
    /// This quota keeps the client from having one more such exporter, or one for so long.
    OverQuota(String),
    /// Not registered or not connected.
    Offline,
    /// Kept back, since leases there fail or an operator said so.
    Quarantined {
        /// The reason of the condition; empty while that is still to be written.
        reason: String,
        /// When it is checked or given out again; `None` when somebody has to lift it.
        until: Option<Timestamp>,
    },
    /// Held by this lease.
    Leased(String),
    /// Connected and not held, but not back to a known state.
    NotReady,
    /// Free, and kept back for this group, which is ahead in line.
    Kept(String),
    /// Free, but reserved for another lease before this one would end.
    Reserved {
        /// That lease.
        lease: String,
        /// When its time begins.
        from: Timestamp,
        /// When its time ends.
        until: Timestamp,
    },
    /// Free, but in maintenance before the lease would end.
    Maintenance {
        /// Why; may be empty.
        reason: String,
        /// When the maintenance begins.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
    /// Nothing is in the way but the queue.
    Free,
}

/// What the policies allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Priority of the granting rule.
    pub priority: i64,
    /// Whether the rule is for spot access.
    pub spot: bool,
}

/// A limit of waiting leases that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingLimit {
    /// How many may wait.
    pub most: usize,
    /// Whose they are and who says so, for people.
    pub message: String,
}

/// Why a client may not have an exporter for so long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No such exporter.
    #[error("exporter `{0}` does not exist")]
    ExporterNotFound(String),
    /// There are policies, and no such client.
    #[error("client `{0}` does not exist")]
    ClientNotFound(String),
    /// No rule admits the client.
    #[error("no access policy lets client `{client}` use exporter `{exporter}`")]
    NoAccess {
        /// Name of the client.
        client: String,
        /// Name of the exporter.
        exporter: String,
    },
    /// Rules admit the client, but not for so long.
    #[error("client `{client}` may use exporter `{exporter}` for at most {limit}, not {requested}")]
    DurationTooLong {
        /// Name of the client.
        client: String,
        /// Name of the exporter.
        exporter: String,
        /// Longest duration that a rule admits.
        limit: GoDuration,
        /// What was asked for.
        requested: GoDuration,
    },
}
