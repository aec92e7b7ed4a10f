//! What a hub knows of its kind: pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jumpstarter_store::{Event, List, Object, StoreError};
use tokio::time::Instant;

use super::{diff::difference, ring::Ring};

/// Own writes that have not come back yet, at most; older ones are no longer waited for.
const OWN: usize = 4096;

/// Whether the hub can serve readers.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The first list is under way.
    Starting,
    /// It cannot list, for this reason, and goes on trying.
    Failing(StoreError),
    /// It has listed.
    Live,
}

/// What a reader finds.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The next events; none when there is nothing new.
    Events(Vec<Event>),
    /// History does not reach back so far.
    Gone { oldest: u64 },
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Why upstream refuses to be watched, for as long as it does.
    pub(super) refusal: Option<StoreError>,
    /// Nobody fills this any more.
    pub(super) closed: bool,
    ring: Ring,
    /// Objects by name, as of `seen` (or of the first list, whichever is newer).
    objects: HashMap<String, Object>,
    /// Version of the list that `objects` began with.
    listed: u64,
    /// Everything up to here is in the ring or below its floor.
    seen: u64,
    /// Grows when versions begin anew, as after a restore of the cluster.
    epoch: u64,
    /// Versions of own writes after `seen`, and when they were made.
    own: BTreeMap<u64, Instant>,
}

impl State {
    /// A hub that is to remember what happens after `from`.
    pub(super) fn new(from: u64, most_events: usize, most_bytes: usize) -> Self {
        Self {
            phase: Phase::Starting,
            refusal: None,
            closed: false,
            ring: Ring::new(from, most_events, most_bytes),
            objects: HashMap::new(),
            listed: 0,
            seen: from,
            epoch: 0,
            own: BTreeMap::new(),
        }
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn floor(&self) -> u64 {
        self.ring.floor()
    }

    pub(super) fn object(&self, name: &str) -> Option<&Object> {
        self.objects.get(name)
    }

    /// Takes a list. The first leaves the position where the hub was asked to begin, so that what came before the list
    /// is watched too; a later one tells what was missed.
    pub(super) fn list(&mut self, list: List) {
        let version = list.resource_version.0;
        let first = self.listed == 0;
        if !first {
            // The difference begins at the list before.
            self.give_up_the_past();
        }
        let begun_before = first && self.seen != 0 && self.seen <= version;
        if !first && version >= self.seen {
            if let Some(events) = difference(&self.objects, &list.items, self.seen, version) {
                for event in events {
                    let bytes = event.object().value().to_string().len();
                    self.ring.push(event, bytes);
                }
            } else {
                self.begin_anew(version);
            }
            self.seen = version;
        } else if !begun_before {
            // From nowhere in particular, or of another history.
            self.begin_anew(version);
        }
        self.objects = list.items.into_iter().map(|object| (object.name().to_owned(), object)).collect();
        self.listed = version;
        self.phase = Phase::Live;
        self.settle();
    }

    /// What was asked for at the beginning is no longer told: begins at the list.
    pub(super) fn give_up_the_past(&mut self) -> bool {
        if self.listed > self.seen {
            self.ring.begin_after(self.listed);
            self.seen = self.listed;
            self.settle();
            return true;
        }
        false
    }

    /// Takes the next event of the upstream watch. False when it does not follow what was seen.
    pub(super) fn event(&mut self, event: Event, bytes: usize) -> bool {
        let version = event.resource_version().0;
        if version <= self.seen {
            return version == self.seen;
        }
        if version > self.listed {
            let object = event.object();
            match &event {
                Event::Added(_) | Event::Modified(_) => {
                    self.objects.insert(object.name().to_owned(), object.clone());
                }
                Event::Deleted(_) => {
                    self.objects.remove(object.name());
                }
            }
        }
        self.ring.push(event, bytes);
        self.seen = version;
        self.settle();
        true
    }

    /// Upstream has nothing more up to this version. False when that does not follow what was seen.
    pub(super) fn progress(&mut self, version: u64) -> bool {
        if version < self.seen {
            return false;
        }
        self.seen = version;
        self.settle();
        true
    }

    /// This process has made this version.
    pub(super) fn announce(&mut self, version: u64, now: Instant) {
        if version > self.seen {
            self.own.insert(version, now);
            if self.own.len() > OWN {
                self.own.pop_first();
            }
        }
    }

    /// When an own write has to have come back at the latest.
    pub(super) fn echo_due(&self, patience: Duration) -> Option<Instant> {
        self.own.first_key_value().map(|(_, made)| *made + patience)
    }

    /// Own writes are no longer waited for.
    pub(super) fn forget_own(&mut self) {
        self.own.clear();
    }

    /// Events after `cursor`.
    pub(super) fn after(&self, cursor: u64, epoch: u64, limit: usize) -> Found {
        if epoch != self.epoch {
            return Found::Gone { oldest: self.ring.floor() };
        }
        self.ring.after(cursor, limit).map_or(Found::Gone { oldest: self.ring.floor() }, Found::Events)
    }

    /// Whether something after `cursor` and up to `until` is here, or known to be on its way.
    pub(super) fn owes(&self, cursor: u64, until: u64) -> bool {
        self.ring.any_within(cursor, until)
            || self.own.first_key_value().is_some_and(|(version, _)| *version > cursor && *version <= until)
    }

    fn begin_anew(&mut self, version: u64) {
        if self.listed != 0 {
            self.epoch += 1;
        }
        self.ring.begin_after(version);
        self.own.clear();
        self.seen = version;
    }

    /// Own writes up to `seen` have come back.
    fn settle(&mut self) {
        self.own = self.own.split_off(&(self.seen + 1));
    }
}

#[cfg(test)]
mod tests {
    use jumpstarter_store::ResourceVersion;

    use super::*;
    use crate::hub::fixture::secret;

    fn list(version: u64, items: &[Object]) -> List {
        List { items: items.to_vec(), resource_version: ResourceVersion(version), continue_token: None }
    }

    fn state(from: u64) -> State {
        State::new(from, 100, 1 << 20)
    }

    #[track_caller]
    fn versions(state: &State, cursor: u64) -> Vec<u64> {
        match state.after(cursor, state.epoch(), 100) {
            Found::Events(events) => events.iter().map(|event| event.resource_version().0).collect(),
            Found::Gone { oldest } => panic!("gone, begins after {oldest}"),
        }
    }

    #[test]
    fn a_hub_begins_where_its_first_reader_does() {
        let mut state = state(10);
        state.list(list(20, &[secret("a", "1", 15)]));
        assert_eq!((state.seen(), state.floor()), (10, 10));
        // What the list already holds is told, and does not spoil what is known.
        assert!(state.event(Event::Added(secret("a", "1", 12)), 1));
        assert_eq!(state.object("a").unwrap().resource_version().0, 15);
        assert!(state.event(Event::Modified(secret("a", "1", 15)), 1));
        assert!(state.event(Event::Deleted(secret("a", "1", 25)), 1));
        assert!(state.object("a").is_none());
        assert_eq!(versions(&state, 10), [12, 15, 25]);
        assert_eq!(versions(&state, 15), [25]);
    }

    #[test]
    fn a_beginning_that_is_over_is_given_up() {
        let mut state = state(10);
        state.list(list(20, &[]));
        assert!(state.give_up_the_past());
        assert_eq!((state.seen(), state.after(10, 0, 1)), (20, Found::Gone { oldest: 20 }));
        assert!(!state.give_up_the_past(), "the second time a list is due");
    }

    #[test]
    fn a_list_that_comes_before_the_past_was_told_gives_it_up() {
        let mut state = state(10);
        state.list(list(20, &[secret("a", "1", 15)]));
        assert!(state.event(Event::Added(secret("a", "1", 12)), 1));
        state.list(list(30, &[secret("a", "1", 25)]));
        assert_eq!(state.after(12, 0, 9), Found::Gone { oldest: 20 });
        assert_eq!(versions(&state, 20), [25]);
    }

    #[test]
    fn a_later_list_tells_what_was_missed() {
        let mut state = state(0);
        state.list(list(20, &[secret("a", "1", 15), secret("b", "2", 16)]));
        assert_eq!(state.seen(), 20);
        state.list(list(30, &[secret("a", "1", 25)]));
        assert_eq!(versions(&state, 20), [21, 25]);
        assert_eq!((state.seen(), state.epoch()), (30, 0));
        assert!(state.object("b").is_none());
    }

    #[test]
    fn a_cluster_that_was_restored_ends_every_reader() {
        let mut state = state(0);
        state.list(list(20, &[secret("a", "1", 15)]));
        let epoch = state.epoch();
        state.list(list(18, &[secret("a", "1", 15)]));
        assert_eq!(state.after(20, epoch, 1), Found::Gone { oldest: 18 });
        assert_eq!(state.seen(), 18);
        assert!(!state.progress(17) && state.progress(19));
    }

    #[test]
    fn own_writes_are_owed_until_they_come_back() {
        let mut state = state(0);
        state.list(list(20, &[]));
        let now = Instant::now();
        state.announce(20, now);
        assert_eq!(state.echo_due(Duration::ZERO), None, "it has been seen");
        state.announce(22, now);
        assert_eq!(state.echo_due(Duration::from_secs(1)), Some(now + Duration::from_secs(1)));
        assert!(state.owes(20, 22) && state.owes(20, 30) && !state.owes(20, 21));
        assert!(state.event(Event::Added(secret("a", "1", 22)), 1));
        assert!(state.owes(20, 22), "it is here, and not yet read");
        assert!(!state.owes(22, 30));
        state.announce(25, now);
        assert!(state.progress(25));
        assert!(!state.owes(22, 30));
    }
}
