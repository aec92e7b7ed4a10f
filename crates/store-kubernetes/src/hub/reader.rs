//! One reader of one or more hubs.
//!
//! Events of one kind come in the order of their versions. Of different kinds, the one with the lower version goes
//! first when both are here; and what this process wrote itself is waited for, so that its own writes show in the order
//! in which it made them.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{future::select_all, stream};
use jumpstarter_store::{Event, EventStream, ResourceVersion, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Found, Hub, closed, state::State};

/// Events taken at a time.
const CHUNK: usize = 256;
/// Longest that an event waits for an own write of another kind that should come before it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A cursor in each hub.
pub(crate) struct Watched {
    sources: Vec<Source>,
    /// The version that waits for another, and until when.
    held: Option<(u64, Instant)>,
}

struct Source {
    hub: Weak<Hub>,
    bell: watch::Receiver<()>,
    epoch: u64,
    /// Everything up to here was taken.
    at: u64,
    taken: VecDeque<Event>,
}

enum Step {
    Tell(usize),
    WaitUntil(Instant),
    Wait,
}

impl Watched {
    /// What happens after `from`.
    pub(crate) fn open(hubs: &[Arc<Hub>], from: ResourceVersion) -> Result<EventStream, StoreError> {
        let mut sources = Vec::new();
        for hub in hubs {
            let bell = hub.bell.subscribe();
            let (epoch, floor) = hub.look(|state: &State| (state.epoch(), state.floor()));
            if from.0 < floor {
                return Err(StoreError::Gone { requested: from.0, oldest: floor });
            }
            sources.push(Source { hub: Arc::downgrade(hub), bell, epoch, at: from.0, taken: VecDeque::new() });
        }
        let reader = Self { sources, held: None };
        Ok(Box::pin(stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(event) => Some((Ok(event), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            for source in &mut self.sources {
                source.take()?;
            }
            let until = match self.step() {
                Step::Tell(index) => {
                    self.held = None;
                    if let Some(event) = self.sources[index].taken.pop_front() {
                        return Ok(event);
                    }
                    continue;
                }
                Step::WaitUntil(until) => Some(until),
                Step::Wait => None,
            };
            let bells = self.sources.iter_mut().map(|source| Box::pin(source.bell.changed()));
            tokio::select! {
                // `changed` is cancel safe; the sleep keeps no state.
                (rung, _, _) = select_all(bells) => rung.map_err(|_| closed())?,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    /// The event with the lowest version, unless an earlier one is known to be on its way.
    fn step(&mut self) -> Step {
        let fronts = self.sources.iter().enumerate();
        let fronts = fronts.filter_map(|(index, source)| Some((source.taken.front()?.resource_version().0, index)));
        let Some((version, index)) = fronts.min() else {
            return Step::Wait;
        };
        if !self.sources.iter().any(|source| source.owes(version)) {
            return Step::Tell(index);
        }
        let now = Instant::now();
        match self.held {
            Some((held, until)) if held == version && now >= until => Step::Tell(index),
            Some((held, until)) if held == version => Step::WaitUntil(until),
            _ => {
                let until = now + LONGEST_WAIT;
                self.held = Some((version, until));
                Step::WaitUntil(until)
            }
        }
    }
}

impl Source {
    /// Takes what is there, when nothing is at hand.
    fn take(&mut self) -> Result<(), StoreError> {
        // Before the look, so that a change between the look and the wait still rings.
        self.bell.borrow_and_update();
        if !self.taken.is_empty() {
            return Ok(());
        }
        let hub = self.hub.upgrade().ok_or_else(closed)?;
        match hub.after(self.at, self.epoch, CHUNK)? {
            Found::Events(events) => {
                if let Some(last) = events.last() {
                    self.at = last.resource_version().0;
                }
                self.taken = events.into();
                Ok(())
            }
            Found::Gone { oldest } => Err(StoreError::Gone { requested: self.at, oldest }),
        }
    }

    /// Whether an event up to `version` is to come from here before anything else.
    fn owes(&self, version: u64) -> bool {
        self.taken.is_empty() && self.hub.upgrade().is_some_and(|hub| hub.look(|state| state.owes(self.at, version)))
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use jumpstarter_store::{Kind, List};

    use super::*;
    use crate::{KubernetesOptions, hub::fixture::secret};

    /// Two hubs, both at version 10, and a reader of both.
    fn two() -> (Arc<Hub>, Arc<Hub>, EventStream) {
        let hub = |kind| {
            let hub = Arc::new(Hub::new(kind, 10, &KubernetesOptions::new("n"), Arc::default()));
            hub.listed(List { resource_version: ResourceVersion(10), ..List::default() });
            hub
        };
        // What is in a hub is of any kind here.
        let (left, right) = (hub(Kind::Secret), hub(Kind::ConfigMap));
        let stream = Watched::open(&[Arc::clone(&left), Arc::clone(&right)], ResourceVersion(10)).unwrap();
        (left, right, stream)
    }

    fn tell(hub: &Hub, version: u64) {
        hub.change(|state| state.event(Event::Added(secret("a", "u", version)), 1));
    }

    fn ready(stream: &mut EventStream) -> Option<u64> {
        stream.next().now_or_never().map(|event| event.unwrap().unwrap().resource_version().0)
    }

    #[tokio::test]
    async fn what_is_here_is_told_by_version() {
        let (left, right, mut stream) = two();
        tell(&left, 12);
        tell(&right, 11);
        tell(&left, 13);
        assert_eq!([ready(&mut stream), ready(&mut stream), ready(&mut stream)], [Some(11), Some(12), Some(13)]);
        assert_eq!(ready(&mut stream), None);
        // What others write is not waited for.
        tell(&right, 20);
        assert_eq!(ready(&mut stream), Some(20));
        tell(&left, 19);
        assert_eq!(ready(&mut stream), Some(19));
    }

    #[tokio::test(start_paused = true)]
    async fn own_writes_are_told_in_the_order_of_writing() {
        let (left, right, mut stream) = two();
        left.announce(ResourceVersion(11));
        right.announce(ResourceVersion(12));
        tell(&right, 12);
        assert_eq!(ready(&mut stream), None, "the first write is on its way");
        tell(&left, 11);
        assert_eq!([ready(&mut stream), ready(&mut stream)], [Some(11), Some(12)]);

        // But not for ever.
        left.announce(ResourceVersion(13));
        tell(&right, 14);
        let started = Instant::now();
        assert_eq!(stream.next().await.unwrap().unwrap().resource_version().0, 14);
        assert_eq!(started.elapsed(), LONGEST_WAIT);
    }

    #[tokio::test]
    async fn a_hub_that_closes_ends_its_readers() {
        let (left, right, mut stream) = two();
        tell(&left, 12);
        right.change(|state| state.closed = true);
        assert!(matches!(stream.next().await, Some(Err(StoreError::Unavailable(_)))));
        assert!(stream.next().await.is_none());
    }
}
