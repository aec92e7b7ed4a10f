//! One upstream watch for each kind, shared by whoever reads.
//!
//! A hub's task lists its kind once, then watches it; what comes goes into a bounded history that every reader has a
//! cursor in. A reader costs nothing while it sleeps. After a disconnect the watch resumes where it was; when the server
//! no longer knows that version, a new list shows what was missed, and readers get the difference as events.

mod diff;
mod feed;
#[cfg(test)]
mod fixture;
mod follow;
mod reader;
mod ring;
mod state;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jumpstarter_store::{Key, Kind, List, Object, ResourceVersion, StoreError};
use tokio::{
    sync::{Notify, futures::Notified, watch},
    time::Instant,
};

pub(crate) use reader::Watched;

use crate::KubernetesOptions;
use state::{Found, Phase, State};

/// What is known of one kind, and who wants to know.
pub(crate) struct Hub {
    kind: Kind,
    state: Mutex<State>,
    /// Rings at every change.
    bell: watch::Sender<()>,
    /// Rings when an own write is to come back.
    own: Notify,
    /// Newest version that the API server is known to have reached.
    newest: Arc<AtomicU64>,
}

impl Hub {
    /// A hub that remembers what happens after `from`, once its task runs.
    pub(crate) fn new(kind: Kind, from: u64, options: &KubernetesOptions, newest: Arc<AtomicU64>) -> Self {
        Self {
            kind,
            state: Mutex::new(State::new(from, options.history_events, options.history_bytes)),
            bell: watch::Sender::new(()),
            own: Notify::new(),
            newest,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.look(|state| state.closed)
    }

    /// The object as it was last told.
    pub(crate) fn known(&self, key: &Key) -> Option<Object> {
        self.look(|state| state.object(&key.name).cloned())
    }

    /// This process has written this version: it has to come back, and before whatever is written later.
    pub(crate) fn announce(&self, version: ResourceVersion) {
        self.look_mut(|state| state.announce(version.0, Instant::now()));
        self.own.notify_one();
    }

    /// Waits until there has been a list, or it is known why there is none.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<(), StoreError> {
        let mut bell = self.bell.subscribe();
        let settled = async {
            loop {
                bell.borrow_and_update();
                match self.look(|state| state.phase.clone()) {
                    Phase::Live => return Ok(()),
                    Phase::Failing(error) => return Err(error),
                    Phase::Starting => {}
                }
                if self.is_closed() || bell.changed().await.is_err() {
                    return Err(closed());
                }
            }
        };
        let late = |_| Err(StoreError::Unavailable(format!("{} are not listed within {limit:?}", self.kind.plural())));
        tokio::time::timeout(limit, settled).await.unwrap_or_else(late)
    }

    fn listed(&self, list: List) {
        let version = list.resource_version.0;
        let begun_anew = self.change(|state| {
            let epoch = state.epoch();
            state.list(list);
            state.epoch() != epoch
        });
        if begun_anew {
            self.newest.store(version, Ordering::Release);
        } else {
            self.newest.fetch_max(version, Ordering::AcqRel);
        }
    }

    fn seen(&self) -> u64 {
        self.look(State::seen)
    }

    fn echo_due(&self, patience: Duration) -> Option<Instant> {
        self.look(|state| state.echo_due(patience))
    }

    fn announced(&self) -> Notified<'_> {
        self.own.notified()
    }

    fn after(&self, cursor: u64, epoch: u64, limit: usize) -> Result<Found, StoreError> {
        self.look(|state| match state.after(cursor, epoch, limit) {
            Found::Events(events) if events.is_empty() => match (&state.refusal, state.closed) {
                (Some(refusal), _) => Err(refusal.clone()),
                (None, true) => Err(closed()),
                (None, false) => Ok(Found::Events(events)),
            },
            found => Ok(found),
        })
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn look_mut<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A change that readers may wait for.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = self.look_mut(change);
        self.bell.send_replace(());
        answer
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}
