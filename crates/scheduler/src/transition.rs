//! What an action makes of the objects.

use jumpstarter_model::{Exporter, Lease, Timestamp};

use crate::Action;

/// Label of ended leases; list filters of existing clients depend on it.
pub const LEASE_ENDED: &str = "jumpstarter.dev/lease-ended";

/// The objects to write, each complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transition {
    /// First: the exporter with its new status (`leaseRef`). For claims this is the compare-and-swap.
    pub exporter_status: Option<Exporter>,
    /// Second: the lease with its new status and its old metadata.
    pub lease_status: Option<Lease>,
    /// Third: the lease with its new status *and* its new metadata (label, owner reference). A store that writes both
    /// in one transaction writes this one alone.
    pub lease_metadata: Option<Lease>,
}

/// Turns an action and the current objects into the new ones.
///
/// `lease` is the object that [`Action::lease`] names and `exporter` the one that [`Action::exporter`] names or, for
/// [`Action::End`] and [`Action::Refuse`], the one that the lease holds. `None` when the objects moved on and the action
/// no longer fits: observe them again.
pub fn apply(action: &Action, lease: Option<&Lease>, exporter: Option<&Exporter>, now: Timestamp) -> Option<Transition> {
    let _ = (action, lease, exporter, now);
    None
}
