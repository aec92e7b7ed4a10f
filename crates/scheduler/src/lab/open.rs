//! What is being written: until the outcome is known, the lab goes by what it assumes, not by what it is told.
//!
//! A write takes a while, and meanwhile the old state may be told again, by a late watch event or a repeated list.
//! Taken for news, it would undo the assumption: the same device would be given out twice, or a repair begun of what is
//! only half written. So facts about an object with an open write are passed over, and its claim is not repaired;
//! whoever settles the last write of an object tells the truth about it afterwards.

use std::collections::HashMap;

use super::{Lab, names::Name};
use crate::{Action, Change};

/// Objects with open writes, and how many each has.
#[derive(Debug, Default)]
pub(super) struct Open {
    leases: HashMap<Name, u32>,
    exporters: HashMap<Name, u32>,
}

impl Open {
    pub(super) fn entries(&self) -> usize {
        self.leases.len() + self.exporters.len()
    }

    pub(super) fn has_lease(&self, name: &str) -> bool {
        self.leases.contains_key(name)
    }

    pub(super) fn has_exporter(&self, name: &str) -> bool {
        self.exporters.contains_key(name)
    }

    /// Whether a fact must wait. A debt of tear-down is believed at once, its end only when nothing is being written.
    pub(super) fn holds_back(&self, change: &Change<'_>) -> bool {
        match change {
            Change::Exporter(exporter) => exporter.metadata.name.as_deref().is_some_and(|name| self.has_exporter(name)),
            Change::ExporterDeleted(name) | Change::TearDown { exporter: name, pending: false } => {
                self.has_exporter(name)
            }
            Change::Lease(lease) => lease.metadata.name.as_deref().is_some_and(|name| self.has_lease(name)),
            Change::LeaseDeleted(name) => self.has_lease(name),
            Change::TearDown { pending: true, .. }
            | Change::Policy(_)
            | Change::PolicyDeleted(_)
            | Change::Quota(_)
            | Change::QuotaDeleted(_)
            | Change::Window(_)
            | Change::WindowDeleted(_)
            | Change::Client(_)
            | Change::ClientDeleted(_) => false,
        }
    }

    pub(super) fn open(&mut self, action: &Action) {
        if let Some(lease) = action.lease() {
            open(&mut self.leases, lease);
        }
        if let Some(exporter) = action.exporter() {
            open(&mut self.exporters, exporter);
        }
    }
}

impl Lab {
    /// Takes a lease or an exporter that is about to be written for a fact already, so that what follows from it can be
    /// decided and written along. Returns `false`, and changes nothing, when another write of that object is open.
    ///
    /// As after an action, call [`settle_lease`](Self::settle_lease) or [`settle_exporter`](Self::settle_exporter) when
    /// the outcome is known.
    pub fn assume(&mut self, change: Change<'_>) -> bool {
        if self.open.holds_back(&change) {
            return false;
        }
        match change {
            Change::Lease(lease) => {
                let Some(name) = lease.metadata.name.as_deref() else { return false };
                self.observe_lease(lease);
                open(&mut self.open.leases, name);
            }
            Change::Exporter(exporter) => {
                let Some(name) = exporter.metadata.name.as_deref() else { return false };
                self.observe_exporter(exporter);
                open(&mut self.open.exporters, name);
            }
            _ => return false,
        }
        true
    }

    /// The outcome of an action is known, whatever it is. Afterwards [observe](Self::observe) the objects that it names
    /// as they are now, and whether the exporter owes a tear-down.
    pub fn settle(&mut self, action: &Action) {
        if let Some(lease) = action.lease() {
            self.settle_lease(lease);
        }
        if let Some(exporter) = action.exporter() {
            self.settle_exporter(exporter);
        }
    }

    /// One write of a lease has a known outcome; see [`settle`](Self::settle).
    pub fn settle_lease(&mut self, name: &str) {
        close(&mut self.open.leases, name);
    }

    /// One write of an exporter has a known outcome; see [`settle`](Self::settle).
    pub fn settle_exporter(&mut self, name: &str) {
        close(&mut self.open.exporters, name);
    }
}

fn open(counts: &mut HashMap<Name, u32>, name: &str) {
    *counts.entry(Name::from(name)).or_default() += 1;
}

fn close(counts: &mut HashMap<Name, u32>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}
