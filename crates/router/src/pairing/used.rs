//! Remembers which tickets were used, each for as long as it could be used again.
//!
//! A busy router remembers a million of them. So it keeps no names but digests of 16 bytes, made with keys of its own:
//! nobody can choose two names with one digest, and by chance a million of them share none (2⁻⁸⁸).
//!
//! A router that starts again has forgotten them all, and that is harmless: a ticket that is used a second time waits
//! for its partner, whose ticket was used with it and who asked for a new stream when the old router went away. Only who
//! holds the tickets of both sides could join them, and would talk to nobody but himself.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::{Refusal, Side};

/// A ticket; the two tickets of a stream may share an id and differ in their side.
type Key = [u64; 2];

#[derive(Debug)]
pub(super) struct UsedTickets {
    limit: usize,
    digests: [RandomState; 2],
    uses: HashMap<Key, u8>,
    /// By the second after which they are forgotten, counted from `start`.
    by_end: BTreeMap<u64, Vec<Key>>,
    start: Option<Instant>,
}

/// How often a ticket may be used: one without a side is held by both peers.
fn allowed(side: Option<Side>) -> u8 {
    if side.is_some() { 1 } else { 2 }
}

impl UsedTickets {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            digests: [RandomState::new(), RandomState::new()],
            uses: HashMap::new(),
            by_end: BTreeMap::new(),
            start: None,
        }
    }

    fn key(&self, id: &str, side: Option<Side>) -> Key {
        self.digests.each_ref().map(|digest| digest.hash_one((id, side)))
    }

    /// Whether the ticket may be used (once more).
    pub(super) fn check(&self, id: &str, side: Option<Side>) -> Result<(), Refusal> {
        match self.uses.get(&self.key(id, side)) {
            Some(uses) if *uses >= allowed(side) => Err(Refusal::Replayed),
            None if self.uses.len() >= self.limit => Err(Refusal::TooManyTickets),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a use that [`UsedTickets::check`] allowed.
    pub(super) fn record(&mut self, id: &str, side: Option<Side>, ends: Instant) {
        let key = self.key(id, side);
        let start = *self.start.get_or_insert(ends);
        let uses = self.uses.entry(key).or_default();
        if *uses == 0 {
            let left = ends.saturating_duration_since(start);
            let second = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            self.by_end.entry(second).or_default().push(key);
        }
        *uses += 1;
    }

    /// Forgets tickets that ended before `now`, within a second.
    pub(super) fn forget_until(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        while let Some(first) = self.by_end.first_entry()
            && start + Duration::from_secs(*first.key()) < now
        {
            for key in first.remove() {
                self.uses.remove(&key);
            }
        }
        if self.uses.is_empty() {
            // A quiet hour gives back what a busy one took.
            self.uses.shrink_to_fit();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.uses.len()
    }
}
