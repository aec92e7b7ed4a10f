//! The latest events of one kind: pure.

use std::collections::VecDeque;

use jumpstarter_store::Event;

/// Events by growing version, limited by number and by size.
#[derive(Debug)]
pub(super) struct Ring {
    /// Versions up to this one are not here.
    floor: u64,
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    most_events: usize,
    most_bytes: usize,
}

impl Ring {
    pub(super) fn new(floor: u64, most_events: usize, most_bytes: usize) -> Self {
        Self { floor, events: VecDeque::new(), bytes: 0, most_events, most_bytes }
    }

    /// Oldest version that a reader can start at.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Adds the next event, whose JSON has so many bytes.
    pub(super) fn push(&mut self, event: Event, bytes: usize) {
        self.bytes += bytes;
        self.events.push_back((event, bytes));
        while self.events.len() > self.most_events || self.bytes > self.most_bytes {
            let Some((event, bytes)) = self.events.pop_front() else {
                break;
            };
            self.floor = event.resource_version().0;
            self.bytes -= bytes;
        }
    }

    /// Forgets everything up to `floor`.
    pub(super) fn begin_after(&mut self, floor: u64) {
        self.floor = floor;
        self.events.clear();
        self.bytes = 0;
    }

    /// At most `limit` events after `cursor`; nothing when they are not all here any more.
    pub(super) fn after(&self, cursor: u64, limit: usize) -> Option<Vec<Event>> {
        if cursor < self.floor {
            return None;
        }
        Some(self.events.range(self.start(cursor)..).take(limit).map(|(event, _)| event.clone()).collect())
    }

    /// Whether there is an event after `cursor` and up to `until`.
    pub(super) fn any_within(&self, cursor: u64, until: u64) -> bool {
        self.events.get(self.start(cursor)).is_some_and(|(event, _)| event.resource_version().0 <= until)
    }

    fn start(&self, cursor: u64) -> usize {
        self.events.partition_point(|(event, _)| event.resource_version().0 <= cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::fixture::secret;

    fn ring(versions: &[u64], most_events: usize, most_bytes: usize) -> Ring {
        let mut ring = Ring::new(10, most_events, most_bytes);
        for version in versions {
            ring.push(Event::Added(secret("a", "u", *version)), 10);
        }
        ring
    }

    #[track_caller]
    fn check(ring: &Ring, cursor: u64, limit: usize, expected: Option<&[u64]>) {
        let found = ring.after(cursor, limit);
        let found: Option<Vec<u64>> =
            found.map(|events| events.iter().map(|event| event.resource_version().0).collect());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn readers_start_anywhere_in_it() {
        let ring = ring(&[12, 15, 20], 10, 1000);
        check(&ring, 10, 10, Some(&[12, 15, 20]));
        check(&ring, 13, 10, Some(&[15, 20]));
        check(&ring, 10, 2, Some(&[12, 15]));
        check(&ring, 99, 10, Some(&[]));
        check(&ring, 9, 10, None);
        assert!(ring.any_within(12, 15) && !ring.any_within(12, 14) && !ring.any_within(20, 99));
    }

    #[test]
    fn the_oldest_leave_first() {
        check(&ring(&[12, 15, 20], 2, 1000), 12, 10, Some(&[15, 20]));
        check(&ring(&[12, 15, 20], 2, 1000), 11, 10, None);
        check(&ring(&[12, 15, 20], 10, 15), 15, 10, Some(&[20]));
        check(&ring(&[12, 15, 20], 10, 15), 14, 10, None);
        let huge = ring(&[12], 10, 5);
        check(&huge, 11, 10, None);
        check(&huge, 12, 10, Some(&[]));
    }
}
