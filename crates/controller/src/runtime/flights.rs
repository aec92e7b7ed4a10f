//! What is being written, and what waits for its turn.
//!
//! Works that name the same object are carried out one after the other, in the order in which they came; everything
//! else side by side, up to a limit. Pure bookkeeping: the runtime does the writing.

use std::collections::{HashMap, HashSet, VecDeque};

use jumpstarter_store::Key;

/// Writes under way at once. The embedded store groups what it is given into one commit; an API server answers a few
/// hundred small requests a second.
pub(super) const AT_ONCE: usize = 128;

/// Works of type `W` by the objects that they name.
pub(super) struct Flights<W> {
    busy: HashSet<Key>,
    under_way: usize,
    parked: VecDeque<(W, Vec<Key>)>,
    /// How many parked works name an object.
    awaited: HashMap<Key, usize>,
    /// Whether a parked work may have become free to go.
    stale: bool,
}

impl<W> Flights<W> {
    pub(super) fn new() -> Self {
        Self { busy: HashSet::new(), under_way: 0, parked: VecDeque::new(), awaited: HashMap::new(), stale: false }
    }

    /// Whether nothing is being written of these objects and nothing waits to.
    pub(super) fn are_free<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        keys.into_iter().all(|key| !self.busy.contains(key) && !self.awaited.contains_key(key))
    }

    /// Whether a work on these objects may begin now.
    pub(super) fn admit(&self, keys: &[Key]) -> bool {
        self.under_way < AT_ONCE && self.are_free(keys)
    }

    /// Notes that the writing of these objects begins.
    pub(super) fn begin(&mut self, keys: &[Key]) {
        self.under_way += 1;
        self.busy.extend(keys.iter().cloned());
    }

    /// Notes that it has ended.
    pub(super) fn end(&mut self, keys: &[Key]) {
        self.under_way -= 1;
        for key in keys {
            self.busy.remove(key);
        }
        self.stale |= !self.parked.is_empty();
    }

    /// Lets a work wait for its objects, behind all that wait for them already.
    pub(super) fn park(&mut self, work: W, keys: Vec<Key>) {
        for key in &keys {
            *self.awaited.entry(key.clone()).or_default() += 1;
        }
        self.parked.push_back((work, keys));
    }

    /// The next parked work whose objects are all free, if there is one.
    pub(super) fn unpark(&mut self) -> Option<(W, Vec<Key>)> {
        if !self.stale || self.under_way >= AT_ONCE {
            return None;
        }
        let mut before: HashSet<&Key> = HashSet::new();
        let found = self.parked.iter().position(|(_, keys)| {
            let free = keys.iter().all(|key| !self.busy.contains(key) && !before.contains(key));
            before.extend(keys);
            free
        });
        self.stale = found.is_some();
        self.take(found?)
    }

    /// Takes out every parked work that names one of these objects and of which this holds.
    pub(super) fn withdraw(&mut self, named: &[Key], is: impl Fn(&W) -> bool) -> Vec<W> {
        let mut taken = Vec::new();
        let mut index = 0;
        while let Some((work, keys)) = self.parked.get(index) {
            if is(work) && keys.iter().any(|key| named.contains(key)) {
                taken.extend(self.take(index).map(|(work, _)| work));
            } else {
                index += 1;
            }
        }
        self.stale |= !taken.is_empty();
        taken
    }

    /// Works that wait.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    fn take(&mut self, index: usize) -> Option<(W, Vec<Key>)> {
        let (work, keys) = self.parked.remove(index)?;
        for key in &keys {
            if let Some(count) = self.awaited.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.awaited.remove(key);
                }
            }
        }
        Some((work, keys))
    }
}

#[cfg(test)]
mod tests {
    use jumpstarter_store::Kind;

    use super::*;

    fn keys(names: &str) -> Vec<Key> {
        names.chars().map(|name| Key::new(Kind::Lease, "lab", name)).collect()
    }

    /// Begins what may begin, parks the rest.
    fn submit(flights: &mut Flights<&'static str>, names: &'static str) -> bool {
        let keys = keys(names);
        let admitted = flights.admit(&keys);
        if admitted {
            flights.begin(&keys);
        } else {
            flights.park(names, keys);
        }
        admitted
    }

    fn unpark(flights: &mut Flights<&'static str>) -> Vec<&'static str> {
        let mut begun = Vec::new();
        while let Some((work, keys)) = flights.unpark() {
            flights.begin(&keys);
            begun.push(work);
        }
        begun
    }

    #[test]
    fn works_on_one_object_keep_their_order_and_others_pass() {
        let mut flights = Flights::new();
        assert!(submit(&mut flights, "ab"));
        assert!(!submit(&mut flights, "bc"));
        assert!(!submit(&mut flights, "cd"), "the work before it comes first, although c is idle");
        assert!(submit(&mut flights, "e"));
        assert_eq!(unpark(&mut flights), Vec::<&str>::new());
        flights.end(&keys("ab"));
        assert_eq!(unpark(&mut flights), ["bc"]);
        flights.end(&keys("e"));
        assert_eq!(unpark(&mut flights), Vec::<&str>::new());
        flights.end(&keys("bc"));
        assert_eq!(unpark(&mut flights), ["cd"]);
        flights.end(&keys("cd"));
        assert!(flights.are_free(&keys("abcde")));
        assert_eq!(flights.parked(), 0);
    }

    #[test]
    fn only_so_many_are_under_way_at_once() {
        let mut flights = Flights::new();
        let key = |number: usize| vec![Key::new(Kind::Exporter, "lab", number.to_string())];
        for number in 0..AT_ONCE {
            assert!(flights.admit(&key(number)));
            flights.begin(&key(number));
        }
        assert!(!flights.admit(&key(AT_ONCE)));
        flights.park("late", key(AT_ONCE));
        assert!(flights.unpark().is_none());
        flights.end(&key(0));
        assert!(flights.unpark().is_some());
    }

    #[test]
    fn what_is_withdrawn_lets_others_go() {
        let mut flights = Flights::new();
        assert!(submit(&mut flights, "a"));
        assert!(!submit(&mut flights, "ab"));
        assert!(!submit(&mut flights, "b"));
        assert_eq!(flights.withdraw(&keys("a"), |_| true), ["ab"]);
        assert_eq!(unpark(&mut flights), ["b"]);
    }
}
