//! Devices that are kept back for a group, so that a stream of single leases cannot starve it.
//!
//! Of the groups in line each keeps free devices of one combination of values, the one that it can have first; those that
//! it would use. They are kept back from those who come after the group in line, not from those before it, and not from a
//! lease that ends before the group can have all of its devices anyway. Nothing is kept for a group whose time cannot be
//! foreseen. What is kept follows from what the objects say; it is remembered only so that changes are seen.

use std::collections::HashMap;

use jumpstarter_model::Timestamp;

use super::super::{
    access::Rank,
    names::{Age, Name},
    turn::Turn,
};

/// Place in line: the better comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    pub(crate) turn: Turn,
    pub(crate) age: Age,
}

/// Why a device is kept back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    pub(super) group: Name,
    /// The rank with which it makes do.
    pub(super) rank: Rank,
    /// When the group can have all of its devices, as far as is known.
    pub(super) until: Timestamp,
}

/// Devices by name.
#[derive(Debug, Default)]
pub(super) struct Kept {
    by_exporter: HashMap<Name, Keep>,
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.by_exporter.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_exporter.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Keep)> {
        self.by_exporter.iter()
    }

    pub(super) fn get(&self, exporter: &str) -> Option<&Keep> {
        self.by_exporter.get(exporter)
    }

    /// Keeps a device back. Returns what was said of it before.
    pub(super) fn put(&mut self, exporter: Name, keep: Keep) -> Option<Keep> {
        self.by_exporter.insert(exporter, keep)
    }

    /// Lets a device go if it is this group's.
    pub(super) fn remove(&mut self, exporter: &str, group: &str) -> bool {
        let ours = self.by_exporter.get(exporter).is_some_and(|keep| *keep.group == *group);
        if ours {
            self.by_exporter.remove(exporter);
        }
        ours
    }
}
