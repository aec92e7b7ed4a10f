//! Spot leases that make way, and the leases that wait in their stead.

use std::fmt::Write as _;

use jumpstarter_model::{
    Exporter, Lease, LeaseGroup, Timestamp,
    condition::{self, lease as reason},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{LEASE_ENDED, RESERVED_EXPORTER, RESERVED_TIME, Transition, end, set_last};

/// Annotation of a lease: `"true"` asks for another one in its stead should it be preempted.
pub const REQUEUE: &str = "jumpstarter.dev/requeue";
/// Annotation of a preempted lease: the name of the one that waits in its stead.
pub const REQUEUED_AS: &str = "jumpstarter.dev/requeued-as";
/// Annotation of that one: the name of the lease that was preempted.
pub const REQUEUED_FROM: &str = "jumpstarter.dev/requeued-from";

/// Most characters of a lease's name that goes on in its successor's; with the rest it is a label.
const MAX_STEM: usize = 50;

/// Ends a spot lease for the sake of others.
pub(super) fn preempt(
    lease: &Lease,
    exporter: Option<&Exporter>,
    name: &str,
    successor: Option<&str>,
    now: Timestamp,
) -> Option<Transition> {
    if !holds_as_spot(lease, name) {
        return None;
    }
    let mut ended = end(lease, exporter, now, |lease| {
        set_last(lease, reason::READY, false, reason::PREEMPTED, &reason::preempted(name, successor), now);
        true
    })?;
    if let Some(successor) = successor {
        ended.successor = Some(lease_in_stead_of(lease, successor));
        let metadata = &mut ended.lease_metadata.get_or_insert_with(|| lease.clone()).metadata;
        metadata.annotations.get_or_insert_default().insert(REQUEUED_AS.to_owned(), successor.to_owned());
    }
    Some(ended)
}

fn holds_as_spot(lease: &Lease, exporter: &str) -> bool {
    let spot = lease.status.as_ref().and_then(|status| status.spot_access) == Some(true);
    spot && !lease.is_ended() && lease.assigned_exporter() == Some(exporter)
}

/// Returns whether anything changed.
pub(super) fn give_notice(lease: &mut Lease, exporter: &str, ends: Timestamp, now: Timestamp) -> bool {
    let conditions = lease.status.as_ref().map_or(&[][..], |status| &status.conditions);
    if !holds_as_spot(lease, exporter) || reason::noticed_at(conditions).is_some() {
        return false;
    }
    let text = reason::preemption_notice(exporter, ends);
    set_last(lease, reason::PREEMPTING, true, reason::PREEMPTION_NOTICE, &text, now)
}

/// Returns whether anything changed.
pub(super) fn withdraw_notice(lease: &mut Lease, exporter: &str, now: Timestamp) -> bool {
    let conditions = lease.status.as_ref().map_or(&[][..], |status| &status.conditions);
    if reason::noticed_at(conditions).is_none() {
        return false;
    }
    let ready = condition::is_true(conditions, reason::READY);
    let text = reason::preemption_withdrawn(exporter);
    set_last(lease, reason::PREEMPTING, false, reason::WITHDRAWN, &text, now);
    if ready {
        // Clients show the last one.
        set_last(lease, reason::READY, true, reason::READY, reason::ACQUIRED, now);
    }
    true
}

/// The name of the lease that waits in the stead of this one should it be preempted: the same for ever, and another for
/// every lease that ever was. It begins like the first of the line.
pub fn successor_name(lease: &Lease) -> String {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let again = lease.metadata.annotations.iter().flatten().any(|(key, _)| key == REQUEUED_FROM);
    let stem = if again { name.rsplit_once("-r").map_or(name, |(stem, _)| stem) } else { name };
    let stem = stem[..stem.floor_char_boundary(MAX_STEM)].trim_end_matches(['-', '.']);
    // FNV-1a; forty bits of it tell a line's few leases apart.
    let uid = lease.metadata.uid.as_deref().unwrap_or_default();
    let hash = name
        .bytes()
        .chain([0])
        .chain(uid.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut successor = format!("{stem}-r");
    _ = write!(successor, "{:010x}", hash >> 24);
    successor
}

/// Whether `found` is the lease that waits in the stead of `lease`.
pub fn is_successor(found: &Lease, lease: &str) -> bool {
    found.metadata.annotations.iter().flatten().any(|(key, value)| key == REQUEUED_FROM && value == lease)
}

/// What is asked for is the same; it goes to the end of the queue.
fn lease_in_stead_of(lease: &Lease, name: &str) -> Lease {
    let mut labels = lease.metadata.labels.clone().unwrap_or_default();
    labels.remove(LEASE_ENDED);
    let mut annotations = lease.metadata.annotations.clone().unwrap_or_default();
    // A group goes on without its member, and the new one waits for itself.
    LeaseGroup::erase(&mut labels, &mut annotations);
    annotations.retain(|key, _| key != RESERVED_EXPORTER && key != RESERVED_TIME);
    annotations.insert(REQUEUED_FROM.to_owned(), lease.metadata.name.clone().unwrap_or_default());
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: lease.metadata.namespace.clone(),
        labels: (!labels.is_empty()).then_some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    let mut spec = lease.spec.clone();
    spec.release = None;
    Lease { metadata, spec, status: None }
}

/// The lease in the stead of a preempted one, as its status tells; the annotation is a write of its own.
pub(super) fn announced_successor(lease: &Lease) -> Option<String> {
    let ready = condition::find(&lease.status.as_ref()?.conditions, reason::READY)?;
    let successor = successor_name(lease);
    let exporter = lease.assigned_exporter()?;
    let announced = ready.message == reason::preempted(exporter, Some(&successor));
    (ready.reason == reason::PREEMPTED && announced).then_some(successor)
}
