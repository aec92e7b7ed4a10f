//! Conditions as existing clients read them (kubernetes.md §0, §3).

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::Timestamp;

mod lease_message;
#[cfg(test)]
mod tests;

/// Sets the condition of one type in place: `lastTransitionTime` moves only when `status` changes, a new type goes
/// to the end, and the order of the list never changes. Returns whether anything changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let status = if status { "True" } else { "False" };
    let generation = Some(generation.unwrap_or(0));
    if let Some(found) = conditions.iter_mut().find(|condition| condition.type_ == type_) {
        let changed = found.status != status
            || found.reason != reason
            || found.message != message
            || found.observed_generation != generation;
        if found.status != status {
            found.last_transition_time = Time(now);
        }
        status.clone_into(&mut found.status);
        reason.clone_into(&mut found.reason);
        message.clone_into(&mut found.message);
        found.observed_generation = generation;
        return changed;
    }
    conditions.push(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: generation,
    });
    true
}

/// Whether the condition of this type is present and `True`.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// The condition of one type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Conditions of a client (kubernetes.md §3.1).
pub mod client {
    /// Whether the token runs out soon.
    pub const TOKEN_EXPIRING: &str = "TokenExpiring";
    /// Reason: the token's time is over.
    pub const EXPIRED: &str = "Expired";
    /// Reason: at most seven days are left.
    pub const EXPIRES_WITHIN_7_DAYS: &str = "ExpiresWithin7Days";
    /// Reason: at most thirty days are left.
    pub const EXPIRES_WITHIN_30_DAYS: &str = "ExpiresWithin30Days";
    /// Reason: more than thirty days are left.
    pub const VALID: &str = "Valid";
}

/// Conditions of a maintenance window.
pub mod window {
    /// Whether it makes no sense, and so blocks nothing. The reason says what is wrong.
    pub const INVALID: &str = "Invalid";
    /// Reason of `Invalid` false: it was mended.
    pub const VALID: &str = "Valid";
}

/// Conditions of an exporter (kubernetes.md §3.2).
pub mod exporter {
    /// Whether the exporter is connected.
    pub const ONLINE: &str = "Online";
    /// Whether the exporter has reported its drivers.
    pub const REGISTERED: &str = "Registered";
    /// Reason of `Online`, true or false: judged by the last sign of life.
    pub const SEEN: &str = "Seen";
    /// Reason of `Online` false: the exporter said good-bye.
    pub const OFFLINE: &str = "Offline";
    /// Reason of `Online` true: the exporter reported a status.
    pub const STATUS_REPORTED: &str = "StatusReported";
    /// Reason of `Registered` true.
    pub const REGISTER: &str = "Register";
    /// Reason of `Registered` false.
    pub const UNREGISTER: &str = "Unregister";

    /// Ours: whether the exporter is kept back since its leases fail, or because an operator said so.
    pub const QUARANTINED: &str = "Quarantined";
    /// Reason of `Quarantined` true: hooks failed.
    pub const HOOK_FAILURES: &str = "HookFailures";
    /// Reason of `Quarantined` true: leases failed in other ways, or in several.
    pub const LEASE_FAILURES: &str = "LeaseFailures";
    /// Reason of `Quarantined` true: a check did not pass.
    pub const CHECK_FAILED: &str = "CheckFailed";
    /// Reason of `Quarantined` true: an operator said so; false: an operator lifted it.
    pub const BY_HAND: &str = "ByHand";
    /// Reason of `Quarantined` false: leases fail, but so many others are quarantined that this one stays in service.
    pub const QUARANTINE_LIMITED: &str = "QuarantineLimited";
    /// Reason of `Quarantined` false: a check has passed.
    pub const CHECK_PASSED: &str = "CheckPassed";
    /// Reason of `Quarantined` false: its time is over.
    pub const QUARANTINE_OVER: &str = "QuarantineOver";
    /// Reason of `Quarantined` false: leases went well again.
    pub const RECOVERED: &str = "Recovered";
}

/// Conditions of a lease (kubernetes.md §3.3). Messages never say "expired": clients take that for a token.
pub mod lease {
    pub use super::lease_message::*;

    /// The lease waits.
    pub const PENDING: &str = "Pending";
    /// The lease holds its exporter; false once it is over.
    pub const READY: &str = "Ready";
    /// The lease can never be served.
    pub const UNSATISFIABLE: &str = "Unsatisfiable";
    /// The lease asks for nothing that could be served.
    pub const INVALID: &str = "Invalid";
    /// Ours, of spot leases: whether a notice of preemption holds. The last transition to true is the moment of the
    /// notice.
    pub const PREEMPTING: &str = "Preempting";

    /// Pending: approved exporters exist, none is online.
    pub const OFFLINE: &str = "Offline";
    /// Pending: all online exporters are leased.
    pub const NOT_AVAILABLE: &str = "NotAvailable";
    /// Pending: free exporters exist, none is ready.
    pub const NOT_READY: &str = "NotReady";
    /// Pending, ours: all exporters that could serve it otherwise are quarantined.
    pub const QUARANTINED: &str = "Quarantined";
    /// Pending, ours: the requested begin is still ahead.
    pub const SCHEDULED: &str = "Scheduled";
    /// Pending, ours: another lease is ahead in the queue.
    pub const QUEUED: &str = "Queued";
    /// Pending, ours: free exporters are reserved for others, or for maintenance, before the lease would end.
    pub const RESERVED: &str = "Reserved";
    /// Pending, ours: an exporter is assigned and gets ready.
    pub const PREPARING: &str = "Preparing";
    /// Pending, ours: the account of the client is at a cap of a quota. Unsatisfiable: the lease can never keep within it.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// Unsatisfiable, ours: as many leases as may wait do so already.
    pub const TOO_MANY_WAITING: &str = "TooManyWaiting";
    /// Pending, ours: no exporter matches at present.
    pub const NOT_FOUND: &str = "NotFound";
    /// Unsatisfiable, and Pending in ours: all matching exporters are disabled.
    pub const ALL_DISABLED: &str = "AllDisabled";
    /// Unsatisfiable, and Pending in ours: no policy lets the client use a matching exporter.
    pub const NO_ACCESS: &str = "NoAccess";

    /// Unsatisfiable, ours: all exporters that a scheduled lease could have are spoken for at its time.
    pub const RESERVATION_CONFLICT: &str = "ReservationConflict";

    /// Pending, ours: not all leases of the group exist yet. Invalid: they did not come, or are no longer there.
    pub const GROUP_INCOMPLETE: &str = "GroupIncomplete";
    /// Pending, ours: the group waits until there is a free device for each of its leases.
    pub const GROUP_NOT_AVAILABLE: &str = "GroupNotAvailable";
    /// Unsatisfiable, and Pending, ours: the lab has not enough devices for all leases of the group.
    pub const GROUP_TOO_LARGE: &str = "GroupTooLarge";
    /// Invalid, ours: what the lease says of its group makes no sense, or is not what the first of the group says.
    pub const GROUP_MISMATCH: &str = "GroupMismatch";

    /// Unsatisfiable: the pinned exporter does not exist.
    pub const EXPORTER_NOT_FOUND: &str = "ExporterNotFound";
    /// Unsatisfiable: the pinned exporter does not match the selector.
    pub const SELECTOR_MISMATCH: &str = "SelectorMismatch";
    /// Unsatisfiable: the pinned exporter is disabled.
    pub const EXPORTER_DISABLED: &str = "ExporterDisabled";
    /// Unsatisfiable, of old controllers only: the best candidate is open for spot access alone. Ours grants that.
    pub const SPOT_ACCESS: &str = "SpotAccess";

    /// Invalid: neither selector nor exporter.
    pub const INVALID_SELECTOR: &str = "InvalidSelector";

    /// Ready false: released by its owner or its exporter.
    pub const RELEASED: &str = "Released";
    /// Ready false: its time is over.
    pub const EXPIRED: &str = "Expired";
    /// Ready false, ours: a spot lease had to make way.
    pub const PREEMPTED: &str = "Preempted";
    /// Preempting true: the lease ends after the grace.
    pub const PREEMPTION_NOTICE: &str = "PreemptionNotice";
    /// Preempting false: the lease goes on, its exporter is not needed after all.
    pub const WITHDRAWN: &str = "Withdrawn";

    /// Since when a notice of preemption holds, if one does.
    pub fn noticed_at(conditions: &[super::Condition]) -> Option<crate::Timestamp> {
        let notice = super::find(conditions, PREEMPTING).filter(|notice| notice.status == "True")?;
        Some(notice.last_transition_time.0)
    }
}
