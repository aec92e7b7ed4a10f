//! What watchers read: the latest events in memory, and a bell that rings when there are more.
//!
//! A watcher is a cursor, not a queue: it costs nothing while it sleeps and loses nothing while it is slow. Events that
//! have left memory are read from the file, as long as history holds them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use super::apply::Record;
use crate::Event;

/// Events in memory, and their JSON's size.
const KEEP_EVENTS: usize = 4096;
const KEEP_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Hub {
    recent: Mutex<Recent>,
    latest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Recent {
    /// Versions up to this one have left memory.
    floor: u64,
    events: VecDeque<(Event, usize)>,
    bytes: usize,
}

/// What a cursor finds.
pub(super) enum Found {
    /// The next events of all kinds, and where the cursor moves to.
    Events(Vec<Event>, u64),
    /// Nothing new.
    Nothing,
    /// Memory does not reach so far back.
    Older,
}

impl Hub {
    pub(super) fn new(version: u64) -> Self {
        let recent = Recent { floor: version, events: VecDeque::new(), bytes: 0 };
        Self { recent: Mutex::new(recent), latest: watch::Sender::new(version) }
    }

    /// Makes committed events visible.
    pub(super) fn publish(&self, records: Vec<Record>) {
        let Some(latest) = records.last().map(|record| record.event.resource_version().0) else {
            return;
        };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for Record { event, bytes } in records {
            recent.bytes += bytes;
            recent.events.push_back((event, bytes));
        }
        while recent.events.len() > KEEP_EVENTS || recent.bytes > KEEP_BYTES {
            let Some((event, bytes)) = recent.events.pop_front() else {
                break;
            };
            recent.floor = event.resource_version().0;
            recent.bytes -= bytes;
        }
        drop(recent);
        self.latest.send_replace(latest);
    }

    /// The version that was last published.
    pub(super) fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    /// Rings for every publication, and is dropped with the hub.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// At most `limit` events after `cursor`.
    pub(super) fn after(&self, cursor: u64, limit: usize) -> Found {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if cursor < recent.floor {
            return Found::Older;
        }
        let start = recent.events.partition_point(|(event, _)| event.resource_version().0 <= cursor);
        let events: Vec<Event> = recent.events.range(start..).take(limit).map(|(event, _)| event.clone()).collect();
        match events.last().map(|event| event.resource_version().0) {
            Some(last) => Found::Events(events, last),
            None => Found::Nothing,
        }
    }
}
