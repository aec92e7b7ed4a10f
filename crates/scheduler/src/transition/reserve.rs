//! What a scheduled lease says of its reservation.

use jumpstarter_model::{Lease, Timestamp, condition::lease as reason};

use super::{Transition, wait};

/// Annotation of a scheduled lease: the exporter that is reserved for it.
pub const RESERVED_EXPORTER: &str = "jumpstarter.dev/reserved-exporter";
/// Annotation of a scheduled lease: the time for which that is, as `BEGIN/END`. Without it, or when the lease asks for
/// another time by now, the reservation is looked at again.
pub const RESERVED_TIME: &str = "jumpstarter.dev/reserved-time";

/// What a lease says that is reserved for it: the exporter, the first instant and the first one after it.
pub fn reserved(lease: &Lease) -> Option<(&str, Timestamp, Timestamp)> {
    let annotations = lease.metadata.annotations.as_ref()?;
    let exporter = annotations.get(RESERVED_EXPORTER).filter(|name| !name.is_empty())?;
    let time = annotations.get(RESERVED_TIME).and_then(|time| time.split_once('/'));
    let time = time.and_then(|(begin, end)| Some((begin.parse().ok()?, end.parse().ok()?)));
    // One without a time is a wish, as good as one for another time.
    let (begin, end) = time.unwrap_or((Timestamp::MIN, Timestamp::MIN));
    Some((exporter, begin, end))
}

pub(super) fn reserve(
    lease: &Lease,
    reserved: Option<&(String, Timestamp, Timestamp)>,
    message: Option<&str>,
    now: Timestamp,
) -> Option<Transition> {
    if lease.is_ended() || lease.assigned_exporter().is_some() {
        return None;
    }
    let mut told = lease.clone();
    let said = message.is_some_and(|message| wait(&mut told, reason::SCHEDULED, message, now));
    let mut noted = told.clone();
    let annotations = noted.metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| key != RESERVED_EXPORTER && key != RESERVED_TIME);
    if let Some((exporter, begin, end)) = reserved {
        annotations.insert(RESERVED_EXPORTER.to_owned(), exporter.clone());
        annotations.insert(RESERVED_TIME.to_owned(), format!("{begin}/{end}"));
    }
    if annotations.is_empty() {
        noted.metadata.annotations = None;
    }
    let lease_metadata = (noted.metadata != lease.metadata).then_some(noted);
    let lease_status = said.then_some(told);
    (lease_metadata.is_some() || lease_status.is_some()).then(|| Transition {
        lease_status,
        lease_metadata,
        ..Transition::default()
    })
}
