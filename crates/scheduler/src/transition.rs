//! What an action makes of the objects.
//!
//! Every function here checks that the action still fits the objects, since they may have moved on between the decision
//! and the write. The store's compare-and-swap covers what happens after that.

mod health;
mod reserve;
mod spot;

use jumpstarter_model::{
    Exporter, Lease, LocalObjectReference, Timestamp,
    condition::{self, lease as reason, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

pub use jumpstarter_model::annotations::{CHECK, LIFT_QUARANTINE, QUARANTINE, QUARANTINE_REASON};

use self::{
    reserve::reserve,
    spot::{announced_successor, give_notice, preempt, withdraw_notice},
};
pub use self::{
    reserve::{RESERVED_EXPORTER, RESERVED_TIME, reserved},
    spot::{REQUEUE, REQUEUED_AS, REQUEUED_FROM, is_successor, successor_name},
};

use crate::{Action, EndCause, RefusedAs};

/// Label of ended leases; list filters of existing clients depend on it.
pub const LEASE_ENDED: &str = "jumpstarter.dev/lease-ended";
/// Annotation, label and context of the service's own leases: what they are for.
pub const MAINTENANCE: &str = "jumpstarter.dev/maintenance";
/// Value of [`MAINTENANCE`]: the lease shows whether the exporter works.
pub const MAINTENANCE_CHECK: &str = "check";
/// The client that the service's own leases belong to. Policies and quotas are not about it.
pub const MAINTENANCE_CLIENT: &str = "jumpstarter-maintenance";

/// The objects to write, each complete. Where they cannot be written in one transaction, a lease that ends is written
/// before its exporter and everything else after its exporter, so that a crash in between leaves a state that
/// [`Lab`](crate::Lab) repairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transition {
    /// A lease to create before everything else.
    pub successor: Option<Lease>,
    /// The exporter with its new status (`leaseRef`). For claims this is the compare-and-swap.
    pub exporter_status: Option<Exporter>,
    /// The lease with its new status and its old metadata.
    pub lease_status: Option<Lease>,
    /// The lease with its new status *and* its new metadata (label, owner reference), to be written after
    /// `lease_status`. A store that writes status and metadata in one transaction writes this one alone.
    pub lease_metadata: Option<Lease>,
}

/// Turns an action and the current objects into the new ones.
///
/// `lease` is the object that [`Action::lease`] names and `exporter` the one that [`Action::exporter`] names or else
/// the one that the lease holds. `None` when the objects moved on and the action
/// no longer fits, or is already done: observe them again.
pub fn apply(
    action: &Action,
    lease: Option<&Lease>,
    exporter: Option<&Exporter>,
    now: Timestamp,
) -> Option<Transition> {
    match action {
        Action::Assign { priority, spot_access, ready, .. }
        | Action::CompleteClaim { priority, spot_access, ready, .. } => {
            let claimed = matches!(action, Action::CompleteClaim { .. });
            assign(lease?, exporter?, &Terms { priority: *priority, spot: *spot_access, ready: *ready, claimed }, now)
        }
        Action::Claim { .. } => claim_for_group(lease?, exporter?),
        Action::MakeReady { .. } => edit(lease?, |lease| make_ready(lease, now)),
        Action::Wait { reason, message, .. } => edit(lease?, |lease| wait(lease, reason, message, now)),
        Action::Refuse { condition, reason, message, .. } => {
            end(lease?, exporter, now, |lease| refuse(lease, *condition, reason, message, now))
        }
        Action::End { cause, message, .. } => end(lease?, exporter, now, |lease| close(lease, *cause, message, now)),
        Action::GiveNotice { exporter, ends, .. } => edit(lease?, |lease| give_notice(lease, exporter, *ends, now)),
        Action::WithdrawNotice { exporter, .. } => edit(lease?, |lease| withdraw_notice(lease, exporter, now)),
        Action::Preempt { exporter: name, successor, .. } => preempt(lease?, exporter, name, successor.as_deref(), now),
        Action::Reserve { reserved, message, .. } => reserve(lease?, reserved.as_ref(), message.as_deref(), now),
        Action::Adopt { .. } => adopt(lease?, exporter?, now),
        Action::Unclaim { lease: name, .. } => unclaim(name, lease, exporter?, now),
        Action::Label { .. } => label(lease?),
        Action::Quarantine { cause, until, times, .. } => health::quarantine(exporter?, cause, *until, *times, now),
        Action::LiftQuarantine { cause, score, heeded, .. } => {
            health::lift(exporter?, *cause, *score, heeded.as_deref(), now)
        }
        Action::HoldInService { .. } => health::hold_in_service(exporter?, now),
        Action::Check { lease: name, ends, heeded, .. } => health::check(exporter?, name, *ends, heeded.as_deref()),
    }
}

struct Terms {
    priority: i64,
    spot: bool,
    ready: bool,
    /// Whether the exporter must already name the lease.
    claimed: bool,
}

fn assign(lease: &Lease, exporter: &Exporter, terms: &Terms, now: Timestamp) -> Option<Transition> {
    if lease.is_ended() || lease.assigned_exporter().is_some() || lease.spec.release == Some(true) {
        return None;
    }
    let lease_name = lease.metadata.name.as_deref()?;
    let name = exporter.metadata.name.as_deref()?;
    match (claim(exporter), terms.claimed) {
        (None, false) => {}
        (Some(holder), true) if holder == lease_name => {}
        _ => return None,
    }
    let mut assigned = lease.clone();
    let status = assigned.status.get_or_insert_default();
    status.exporter_ref = Some(LocalObjectReference::new(name));
    status.begin_time = Some(Time(now));
    status.priority = Some(terms.priority);
    status.spot_access = Some(terms.spot);
    if terms.ready {
        make_ready(&mut assigned, now);
    } else {
        wait(&mut assigned, reason::PREPARING, &reason::preparing(name), now);
    }
    Some(Transition {
        successor: None,
        exporter_status: (!terms.claimed).then(|| with_claim(exporter, lease_name)),
        lease_metadata: owned(&assigned, exporter),
        lease_status: Some(assigned),
    })
}

/// The exporter's half of an assignment.
fn claim_for_group(lease: &Lease, exporter: &Exporter) -> Option<Transition> {
    let waits = !lease.is_ended() && lease.assigned_exporter().is_none() && lease.spec.release != Some(true);
    let lease_name = lease.metadata.name.as_deref().filter(|_| waits && claim(exporter).is_none())?;
    Some(Transition { exporter_status: Some(with_claim(exporter, lease_name)), ..Transition::default() })
}

fn adopt(lease: &Lease, exporter: &Exporter, now: Timestamp) -> Option<Transition> {
    let lease_name = lease.metadata.name.as_deref()?;
    let name = exporter.metadata.name.as_deref()?;
    if lease.is_ended() || lease.assigned_exporter() != Some(name) {
        return None;
    }
    let exporter_status = match claim(exporter) {
        None => Some(with_claim(exporter, lease_name)),
        Some(holder) if holder == lease_name => None,
        Some(_) => return None,
    };
    let mut begun = lease.clone();
    let status = begun.status.get_or_insert_default();
    let begins = status.begin_time.is_none();
    status.begin_time.get_or_insert(Time(now));
    let lease_status = begins.then(|| begun.clone());
    let lease_metadata = owned(&begun, exporter);
    let changes = exporter_status.is_some() || lease_status.is_some() || lease_metadata.is_some();
    changes.then_some(Transition { successor: None, exporter_status, lease_status, lease_metadata })
}

fn unclaim(name: &str, lease: Option<&Lease>, exporter: &Exporter, now: Timestamp) -> Option<Transition> {
    if claim(exporter) != Some(name) {
        return None;
    }
    let holds = lease.is_some_and(|lease| {
        !lease.is_ended()
            && lease.assigned_exporter().is_some()
            && lease.assigned_exporter() == exporter.metadata.name.as_deref()
    });
    let ended = lease.filter(|lease| lease.is_ended());
    (!holds).then(|| Transition {
        exporter_status: Some(ended.map_or_else(|| without_claim(exporter), |lease| after(exporter, lease, now))),
        ..Transition::default()
    })
}

fn label(lease: &Lease) -> Option<Transition> {
    let mut labelled = with_label(lease);
    if let Some(successor) = announced_successor(lease) {
        labelled.metadata.annotations.get_or_insert_default().insert(REQUEUED_AS.to_owned(), successor);
    }
    (lease.is_ended() && labelled != *lease)
        .then_some(Transition { lease_metadata: Some(labelled), ..Transition::default() })
}

/// Changes the status of a live lease.
fn edit(lease: &Lease, change: impl FnOnce(&mut Lease) -> bool) -> Option<Transition> {
    if lease.is_ended() {
        return None;
    }
    let mut edited = lease.clone();
    change(&mut edited).then_some(Transition { lease_status: Some(edited), ..Transition::default() })
}

/// Ends a live lease and frees the exporter that names it.
fn end(
    lease: &Lease,
    exporter: Option<&Exporter>,
    now: Timestamp,
    change: impl FnOnce(&mut Lease) -> bool,
) -> Option<Transition> {
    if lease.is_ended() {
        return None;
    }
    let mut ended = lease.clone();
    if !change(&mut ended) {
        return None;
    }
    let status = ended.status.get_or_insert_default();
    status.ended = true;
    status.end_time = Some(Time(now));
    let held =
        exporter.filter(|exporter| claim(exporter).is_some() && claim(exporter) == lease.metadata.name.as_deref());
    Some(Transition {
        successor: None,
        exporter_status: held.map(|exporter| after(exporter, lease, now)),
        lease_metadata: Some(with_label(&ended)),
        lease_status: Some(ended),
    })
}

fn close(lease: &mut Lease, cause: EndCause, message: &str, now: Timestamp) -> bool {
    if cause == EndCause::Released || still_due(lease, now) {
        set_last(lease, reason::READY, false, cause.reason(), message, now);
        return true;
    }
    false
}

/// Whether a lease that was found to have run its time was not extended since.
fn still_due(lease: &Lease, now: Timestamp) -> bool {
    let begin = lease.status.as_ref().and_then(|status| status.begin_time.as_ref()).map_or(now, |begin| begin.0);
    jumpstarter_model::lease_time::planned_end(&lease.spec, begin) <= now
}

fn refuse(lease: &mut Lease, as_: RefusedAs, reason: &str, message: &str, now: Timestamp) -> bool {
    if lease.assigned_exporter().is_some() {
        return false;
    }
    set_last(lease, as_.condition(), true, reason, message, now);
    true
}

/// Returns whether anything changed.
fn make_ready(lease: &mut Lease, now: Timestamp) -> bool {
    if lease.assigned_exporter().is_none() {
        return false;
    }
    set_last(lease, reason::READY, true, reason::READY, reason::ACQUIRED, now)
}

/// Returns whether anything changed.
fn wait(lease: &mut Lease, reason: &str, message: &str, now: Timestamp) -> bool {
    if lease.assigned_exporter().is_some() && reason != self::reason::PREPARING {
        return false;
    }
    let generation = lease.metadata.generation;
    let conditions = &mut lease.status.get_or_insert_default().conditions;
    set_condition(conditions, self::reason::PENDING, true, reason, message, generation, now)
}

/// Sets a condition that clients must see as the state of the lease: the last of the list.
fn set_last(lease: &mut Lease, type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) -> bool {
    let generation = lease.metadata.generation;
    let conditions = &mut lease.status.get_or_insert_default().conditions;
    let changed = set_condition(conditions, type_, status, reason, message, generation, now);
    // Only a foreign writer can have put something behind it.
    let moved = match conditions.iter().position(|found| found.type_ == type_) {
        Some(at) if at + 1 < conditions.len() => {
            conditions[at..].rotate_left(1);
            true
        }
        _ => false,
    };
    debug_assert!(condition::find(conditions, type_).is_some());
    changed || moved
}

fn claim(exporter: &Exporter) -> Option<&str> {
    let name = &exporter.status.as_ref()?.lease_ref.as_ref()?.name;
    (!name.is_empty()).then_some(name)
}

fn with_claim(exporter: &Exporter, lease: &str) -> Exporter {
    let mut claimed = exporter.clone();
    claimed.status.get_or_insert_default().lease_ref = Some(LocalObjectReference::new(lease));
    claimed
}

fn without_claim(exporter: &Exporter) -> Exporter {
    let mut free = exporter.clone();
    free.status.get_or_insert_default().lease_ref = None;
    free
}

/// The exporter after this lease, with a note of how that went.
fn after(exporter: &Exporter, lease: &Lease, now: Timestamp) -> Exporter {
    let mut free = exporter.clone();
    crate::health::lease_ended(&mut free, lease, now);
    free.status.get_or_insert_default().lease_ref = None;
    free
}

fn with_label(lease: &Lease) -> Lease {
    let mut labelled = lease.clone();
    labelled.metadata.labels.get_or_insert_default().insert(LEASE_ENDED.to_owned(), "true".to_owned());
    labelled
}

/// The lease with the exporter as its owner (kubernetes.md §2.3); `None` when nothing changes, when the exporter has no
/// identity yet, or when the lease has another controller: that must not fail the assignment.
fn owned(lease: &Lease, exporter: &Exporter) -> Option<Lease> {
    let (name, uid) = (exporter.metadata.name.as_deref()?, exporter.metadata.uid.as_deref()?);
    let owners = lease.metadata.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| owner.uid == uid || owner.controller == Some(true)) {
        return None;
    }
    let mut owned = lease.clone();
    owned.metadata.owner_references.get_or_insert_default().push(OwnerReference {
        api_version: jumpstarter_model::API_VERSION.to_owned(),
        kind: "Exporter".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    });
    Some(owned)
}
