//! Watches: cursors over the history.

use std::sync::Arc;

use futures::stream;
use jumpstarter_store::{Event, EventStream, Kind, ResourceVersion, StoreError};
use tokio::time::{Instant, sleep_until};

use super::Inner;
use crate::plan::Flaw;

struct Cursor {
    store: Arc<Inner>,
    kinds: Vec<Kind>,
    at: u64,
    generation: u64,
    replays: u64,
}

pub(super) fn start(store: &Arc<Inner>, kinds: &[Kind], from: ResourceVersion) -> Result<EventStream, StoreError> {
    let core = store.core();
    let (oldest, latest) = (core.floor(), core.version());
    drop(core);
    if from.0 < oldest || from.0 > latest {
        return Err(StoreError::Gone { requested: from.0, oldest });
    }
    let trouble = store.trouble();
    let (generation, replays) = (trouble.watches, trouble.replays);
    drop(trouble);
    let cursor = Cursor { store: Arc::clone(store), kinds: kinds.to_vec(), at: from.0, generation, replays };
    Ok(Box::pin(stream::unfold(Some(cursor), |cursor| async move {
        let mut cursor = cursor?;
        match cursor.next().await {
            Ok(event) => Some((Ok(event), Some(cursor))),
            Err(error) => Some((Err(error), None)),
        }
    })))
}

impl Cursor {
    async fn next(&mut self) -> Result<Event, StoreError> {
        let store = Arc::clone(&self.store);
        loop {
            let rung = store.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            self.suffer()?;
            let silent = store.trouble().silent_until.filter(|until| *until > Instant::now());
            if let Some(until) = silent {
                sleep_until(until).await;
                continue;
            }
            let next = {
                let core = store.core();
                if self.at < core.floor() {
                    return Err(StoreError::Gone { requested: self.at, oldest: core.floor() });
                }
                core.after(self.at).cloned()
            };
            let Some((made, event)) = next else {
                rung.await;
                continue;
            };
            let due = made + store.trouble().lag();
            if due > Instant::now() {
                // Nothing is lost if this wait is given up: the cursor has not moved.
                sleep_until(due).await;
                self.suffer()?;
            }
            self.at = event.resource_version().0;
            if self.kinds.contains(&event.object().kind()) && self.hears(&event) {
                return Ok(self.shown(event));
            }
        }
    }

    /// What happens to watches happens to this one.
    fn suffer(&mut self) -> Result<(), StoreError> {
        let trouble = self.store.trouble();
        if trouble.watches != self.generation {
            let gone = trouble.gone;
            drop(trouble);
            let oldest = self.store.core().floor();
            return Err(if gone {
                StoreError::Gone { requested: self.at, oldest }
            } else {
                StoreError::Unavailable("the watch was cut".to_owned())
            });
        }
        if trouble.replays != self.replays {
            self.replays = trouble.replays;
            let back = self.at.saturating_sub(trouble.replayed);
            drop(trouble);
            self.at = back.max(self.store.core().floor());
        }
        Ok(())
    }

    fn hears(&self, event: &Event) -> bool {
        let by_hand = || event.object().annotations().contains_key("sim/by-hand");
        self.store.flaw != Flaw::DeafWatch || !by_hand()
    }

    fn shown(&self, event: Event) -> Event {
        match event {
            Event::Added(object) => Event::Added(self.store.shown(object)),
            Event::Modified(object) => Event::Modified(self.store.shown(object)),
            Event::Deleted(object) => Event::Deleted(self.store.shown(object)),
        }
    }
}
