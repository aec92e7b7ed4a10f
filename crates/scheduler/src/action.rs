//! What the lab asks the runtime to write.

use jumpstarter_model::Timestamp;

/// The outcome of one [`Lab::decide`](crate::Lab::decide).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Writes to make, in this order.
    pub actions: Vec<Action>,
    /// Next instant at which time alone changes something; `None` when only observations can.
    pub wake_at: Option<Timestamp>,
}

/// One write, or one pair of writes that belong together. [`transition::apply`](crate::transition::apply) says what
/// becomes of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Claim `exporter` for `lease`: first `exporter.status.leaseRef`, by compare-and-swap, then the lease's status.
    Assign {
        /// Name of the waiting lease.
        lease: String,
        /// Name of the free exporter.
        exporter: String,
        /// Priority of the granting rule.
        priority: i64,
        /// Spot flag of the granting rule.
        spot_access: bool,
        /// Whether the lease is ready with the assignment; otherwise it is `Preparing` until [`Action::MakeReady`].
        ready: bool,
    },
    /// Claim `exporter` for `lease`, a member of a group: `exporter.status.leaseRef` alone, by compare-and-swap. When the
    /// exporters of all members are claimed, each is completed ([`Action::CompleteClaim`]); nobody is told before.
    Claim {
        /// Name of the waiting lease.
        lease: String,
        /// Name of the free exporter.
        exporter: String,
    },
    /// Tell the client of an assigned lease that it may dial.
    MakeReady {
        /// Name of the lease.
        lease: String,
    },
    /// Say why a lease waits. Emitted only when the reason differs from what the object says.
    Wait {
        /// Name of the lease.
        lease: String,
        /// Reason of `Pending=True`.
        reason: String,
        /// Message of `Pending=True`.
        message: String,
    },
    /// End a lease that cannot be granted.
    Refuse {
        /// Name of the lease.
        lease: String,
        /// The condition that says so.
        condition: RefusedAs,
        /// Reason of that condition.
        reason: String,
        /// Message of that condition.
        message: String,
    },
    /// End a lease that was released or has run its time.
    End {
        /// Name of the lease.
        lease: String,
        /// Name of the exporter that it holds, if any.
        exporter: Option<String>,
        /// Reason of `Ready=False`.
        cause: EndCause,
        /// Message of `Ready=False`.
        message: String,
    },
    /// Tell the owner of a spot lease that it is to end.
    GiveNotice {
        /// Name of the lease.
        lease: String,
        /// Name of the exporter that it holds.
        exporter: String,
        /// When it ends, unless the notice is withdrawn.
        ends: Timestamp,
    },
    /// Take a notice of preemption back: the lease goes on.
    WithdrawNotice {
        /// Name of the lease.
        lease: String,
        /// Name of the exporter that it holds.
        exporter: String,
    },
    /// End a spot lease, since others need its exporter; where its owner asked for it, another lease is created first
    /// that waits in its stead.
    Preempt {
        /// Name of the lease.
        lease: String,
        /// Name of the exporter that it holds.
        exporter: String,
        /// Name of the lease to create, see [`transition::successor_name`](crate::transition::successor_name).
        successor: Option<String>,
    },
    /// Write down which exporter a scheduled lease has reserved, and for what time, or that it has none any more.
    Reserve {
        /// Name of the lease.
        lease: String,
        /// The exporter, the first instant and the first one after it.
        reserved: Option<(String, Timestamp, Timestamp)>,
        /// Message of `Pending=True`, reason `Scheduled`; `None` leaves the condition alone.
        message: Option<String>,
    },
    /// Repair: the lease says that it holds the exporter, the exporter does not say so yet.
    Adopt {
        /// Name of the lease.
        lease: String,
        /// Name of the exporter.
        exporter: String,
    },
    /// Repair: the exporter is claimed for a lease that ended, is gone or holds another exporter.
    Unclaim {
        /// Name of the exporter.
        exporter: String,
        /// Name of the lease in its `leaseRef`.
        lease: String,
    },
    /// Repair: the exporter is claimed for a waiting lease that does not say so yet; finish as [`Action::Assign`].
    CompleteClaim {
        /// Name of the exporter.
        exporter: String,
        /// Name of the lease in its `leaseRef`.
        lease: String,
        /// Priority of the granting rule.
        priority: i64,
        /// Spot flag of the granting rule.
        spot_access: bool,
        /// As in [`Action::Assign`].
        ready: bool,
    },
    /// Repair: the lease ended, its `jumpstarter.dev/lease-ended` label is missing.
    Label {
        /// Name of the lease.
        lease: String,
    },
    /// Keep an exporter back for a while, and say so.
    Quarantine {
        /// Name of the exporter.
        exporter: String,
        /// Why.
        cause: QuarantineCause,
        /// When it is checked or given out again; `None` only by hand: when somebody says so.
        until: Option<Timestamp>,
        /// Which automatic quarantine in a row it is.
        times: i32,
    },
    /// Give an exporter out again, or no longer say that it should not be.
    LiftQuarantine {
        /// Name of the exporter.
        exporter: String,
        /// Why.
        cause: LiftCause,
        /// The score from which it starts anew; as it is where there is none.
        score: Option<i32>,
        /// The request of an operator that is heeded with this.
        heeded: Option<String>,
    },
    /// Say that an exporter stays in service although its leases fail, since enough others are quarantined.
    HoldInService {
        /// Name of the exporter.
        exporter: String,
    },
    /// Create a lease that shows whether an exporter works, and note that.
    Check {
        /// Name of the exporter.
        exporter: String,
        /// Name of the lease to create.
        lease: String,
        /// When the check is given up.
        ends: Timestamp,
        /// The request of an operator that is heeded with this.
        heeded: Option<String>,
    },
}

impl Action {
    /// Name of the lease that the action is about, if any.
    pub fn lease(&self) -> Option<&str> {
        match self {
            Self::Assign { lease, .. }
            | Self::Claim { lease, .. }
            | Self::MakeReady { lease }
            | Self::Wait { lease, .. }
            | Self::Refuse { lease, .. }
            | Self::End { lease, .. }
            | Self::GiveNotice { lease, .. }
            | Self::WithdrawNotice { lease, .. }
            | Self::Preempt { lease, .. }
            | Self::Reserve { lease, .. }
            | Self::Adopt { lease, .. }
            | Self::Unclaim { lease, .. }
            | Self::CompleteClaim { lease, .. }
            | Self::Check { lease, .. }
            | Self::Label { lease } => Some(lease),
            Self::Quarantine { .. } | Self::LiftQuarantine { .. } | Self::HoldInService { .. } => None,
        }
    }

    /// Name of the exporter that the action is about, if any.
    pub fn exporter(&self) -> Option<&str> {
        match self {
            Self::Assign { exporter, .. }
            | Self::Claim { exporter, .. }
            | Self::Preempt { exporter, .. }
            | Self::Adopt { exporter, .. }
            | Self::Unclaim { exporter, .. }
            | Self::CompleteClaim { exporter, .. }
            | Self::Quarantine { exporter, .. }
            | Self::LiftQuarantine { exporter, .. }
            | Self::HoldInService { exporter }
            | Self::Check { exporter, .. } => Some(exporter),
            Self::End { exporter, .. } => exporter.as_deref(),
            // These leave the exporter alone.
            Self::MakeReady { .. }
            | Self::GiveNotice { .. }
            | Self::WithdrawNotice { .. }
            | Self::Wait { .. }
            | Self::Reserve { .. }
            | Self::Refuse { .. }
            | Self::Label { .. } => None,
        }
    }

    /// Name of the lease that the action creates, if any.
    pub fn successor(&self) -> Option<&str> {
        match self {
            Self::Preempt { successor, .. } => successor.as_deref(),
            Self::Check { lease, .. } => Some(lease),
            _ => None,
        }
    }
}

/// The condition under which a lease is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedAs {
    /// Nothing in this lab can satisfy the request.
    Unsatisfiable,
    /// The request itself makes no sense.
    Invalid,
}

impl RefusedAs {
    /// The condition's type.
    pub const fn condition(self) -> &'static str {
        match self {
            Self::Unsatisfiable => "Unsatisfiable",
            Self::Invalid => "Invalid",
        }
    }
}

/// Why a lease that was not refused is over: the reason of `Ready=False`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// Somebody asked for its end, or its exporter is gone.
    Released,
    /// Its time is over.
    Expired,
}

impl EndCause {
    /// The condition's reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Released => "Released",
            Self::Expired => "Expired",
        }
    }
}

/// Why an exporter is quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuarantineCause {
    /// Its leases failed.
    Failures,
    /// A check did not pass.
    Check,
    /// An operator said so.
    ByHand {
        /// What the operator said.
        why: String,
    },
}

/// Why an exporter is not quarantined any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LiftCause {
    /// An operator said so.
    ByHand,
    /// A check has passed.
    CheckPassed,
    /// Its time is over.
    Over,
    /// Leases went well, so that there is no reason for one any more.
    Recovered,
}
