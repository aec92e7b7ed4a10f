//! Remembers which tickets were used, each for as long as it could be used again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::{Refusal, Side};

/// A ticket; the two tickets of a stream may share an id and differ in their side.
type Key = (Arc<str>, Option<Side>);

#[derive(Debug)]
pub(super) struct UsedTickets {
    limit: usize,
    uses: HashMap<Key, u8>,
    by_end: BTreeSet<(Instant, Arc<str>, u8)>,
}

/// How often a ticket may be used: one without a side is held by both peers.
fn allowed(side: Option<Side>) -> u8 {
    if side.is_some() { 1 } else { 2 }
}

/// Sides in a form that can be ordered.
fn ordinal(side: Option<Side>) -> u8 {
    match side {
        None => 0,
        Some(Side::Client) => 1,
        Some(Side::Exporter) => 2,
    }
}

fn side_of(ordinal: u8) -> Option<Side> {
    match ordinal {
        1 => Some(Side::Client),
        2 => Some(Side::Exporter),
        _ => None,
    }
}

impl UsedTickets {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, uses: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// Whether the ticket may be used (once more).
    pub(super) fn check(&self, id: &str, side: Option<Side>) -> Result<(), Refusal> {
        let key = (Arc::from(id), side);
        match self.uses.get(&key) {
            Some(uses) if *uses >= allowed(side) => Err(Refusal::Replayed),
            None if self.uses.len() >= self.limit => Err(Refusal::TooManyTickets),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a use that [`UsedTickets::check`] allowed.
    pub(super) fn record(&mut self, id: String, side: Option<Side>, ends: Instant) {
        let id: Arc<str> = id.into();
        let uses = self.uses.entry((id.clone(), side)).or_default();
        if *uses == 0 {
            self.by_end.insert((ends, id, ordinal(side)));
        }
        *uses += 1;
    }

    /// Forgets tickets that ended before `now`.
    pub(super) fn forget_until(&mut self, now: Instant) {
        while self.by_end.first().is_some_and(|(ends, ..)| *ends < now) {
            if let Some((_, id, side)) = self.by_end.pop_first() {
                self.uses.remove(&(id, side_of(side)));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.uses.len()
    }
}
