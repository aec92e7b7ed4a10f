//! Leases that wait in the stead of preempted ones.

use std::collections::HashMap;

use jumpstarter_model::Lease;

use super::{Lab, names::Name};
use crate::transition::REQUEUED_FROM;

/// Who follows whom, as the later ones say.
#[derive(Debug, Default)]
pub(super) struct Successors {
    by_lease: HashMap<Name, Name>,
    lease_of: HashMap<Name, Name>,
}

impl Successors {
    /// Notes what a lease says of itself.
    fn put(&mut self, successor: Name, lease: Name) {
        self.by_lease.insert(lease.clone(), successor.clone());
        self.lease_of.insert(successor, lease);
    }

    /// Forgets what a lease said.
    pub(super) fn remove(&mut self, successor: &str) {
        if let Some(lease) = self.lease_of.remove(successor)
            && self.by_lease.get(&lease).is_some_and(|found| **found == *successor)
        {
            self.by_lease.remove(&lease);
        }
    }

    pub(super) fn of(&self, lease: &str) -> Option<&Name> {
        self.by_lease.get(lease)
    }
}

impl Lab {
    /// Notes whom a lease follows. That one is looked at again: it may have been about to end.
    pub(super) fn note_successor(&mut self, name: &Name, lease: &Lease) {
        let said = lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REQUEUED_FROM));
        let known = self.successors.lease_of.get(name);
        if known.map(|known| &**known) == said.map(String::as_str) {
            return;
        }
        self.successors.remove(name);
        if let Some(from) = said.map(|from| Name::from(from.as_str())) {
            self.successors.put(name.clone(), from.clone());
            self.marked.leases.insert(from);
        }
    }

    /// Whether a holder of spot was being preempted when somebody stopped half-way: its successor exists already.
    pub(super) fn is_half_preempted(&self, name: &str) -> bool {
        let Some(entry) = self.leases.get(name).filter(|entry| entry.spot) else { return false };
        entry.successor.is_some() && entry.successor.as_ref() == self.successors.of(name)
    }
}
