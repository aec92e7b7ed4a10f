//! The exporters of one want, sorted by the labels that must be equal within a group. Only wants of waiting groups have
//! shelves; the others pay nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    names::Name,
    want::{Place, Seat, Standing},
};

/// Keys of labels that must be equal.
pub(crate) type Keys = Vec<String>;
/// Their values on an exporter, in the order of the keys.
pub(crate) type Values = Vec<String>;
/// Exporters by what policies say of them and where they stand.
pub(crate) type Tally = BTreeMap<Place, BTreeSet<Seat>>;

/// What waiting groups know of the exporters of one want.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    by_keys: BTreeMap<Keys, Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// How many members of each group use it.
    users: BTreeMap<Name, usize>,
    tallies: BTreeMap<Values, Tally>,
    /// Values of exporters that moved since somebody looked.
    touched: BTreeSet<Values>,
}

/// The values that an exporter has for these keys; `None` when it lacks one: what is not there is not equal to anything.
pub(crate) fn values(keys: &[String], labels: &BTreeMap<String, String>) -> Option<Values> {
    keys.iter().map(|key| labels.get(key).cloned()).collect()
}

impl Shelves {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_keys.is_empty()
    }

    /// Lets one more member of a group use the shelf of these keys. Returns whether it is new, and must be filled.
    pub(crate) fn enter(&mut self, keys: &Keys, group: &Name) -> bool {
        let new = !self.by_keys.contains_key(keys);
        *self.by_keys.entry(keys.clone()).or_default().users.entry(group.clone()).or_default() += 1;
        new
    }

    /// One member of a group no longer uses it.
    pub(crate) fn leave(&mut self, keys: &Keys, group: &Name) {
        let Some(shelf) = self.by_keys.get_mut(keys) else { return };
        if let Some(count) = shelf.users.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                shelf.users.remove(group);
            }
        }
        if shelf.users.is_empty() {
            self.by_keys.remove(keys);
        }
    }

    /// Groups with members here.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Name> {
        self.by_keys.values().flat_map(|shelf| shelf.users.keys())
    }

    /// Moves an exporter from one place to another, in or out.
    pub(crate) fn shift(
        &mut self,
        name: &Name,
        labels: &BTreeMap<String, String>,
        from: Option<Standing>,
        to: Option<Standing>,
    ) {
        for (keys, shelf) in &mut self.by_keys {
            if let Some(values) = values(keys, labels) {
                shelf.shift(name, values, from, to);
            }
        }
    }

    /// Puts an exporter into a shelf that is being filled.
    pub(crate) fn fill(&mut self, keys: &Keys, name: &Name, labels: &BTreeMap<String, String>, at: Standing) {
        if let (Some(shelf), Some(values)) = (self.by_keys.get_mut(keys), values(keys, labels)) {
            shelf.shift(name, values, None, Some(at));
        }
    }

    /// Forgets all exporters.
    pub(crate) fn clear(&mut self) {
        for shelf in self.by_keys.values_mut() {
            shelf.touched.extend(std::mem::take(&mut shelf.tallies).into_keys());
        }
    }

    /// Something else about an exporter changed that groups look at.
    pub(crate) fn touch(&mut self, labels: &BTreeMap<String, String>) {
        for (keys, shelf) in &mut self.by_keys {
            shelf.touched.extend(values(keys, labels));
        }
    }

    /// What moved since the last call, for each group that it means something to.
    pub(crate) fn take_touched(&mut self) -> Vec<(Name, BTreeSet<Values>)> {
        let mut found = Vec::new();
        for shelf in self.by_keys.values_mut() {
            let touched = std::mem::take(&mut shelf.touched);
            if !touched.is_empty() {
                found.extend(shelf.users.keys().map(|group| (group.clone(), touched.clone())));
            }
        }
        found
    }

    /// Combinations of values that exporters have.
    pub(crate) fn values(&self, keys: &Keys) -> impl Iterator<Item = &Values> {
        self.by_keys.get(keys).into_iter().flat_map(|shelf| shelf.tallies.keys())
    }

    /// Exporters with these values.
    pub(crate) fn tally(&self, keys: &Keys, values: &Values) -> Option<&Tally> {
        self.by_keys.get(keys)?.tallies.get(values)
    }
}

impl Shelf {
    fn shift(&mut self, name: &Name, values: Values, from: Option<Standing>, to: Option<Standing>) {
        let tally = self.tallies.entry(values.clone()).or_default();
        if let Some(from) = from
            && let Some(seats) = tally.get_mut(&from.place)
        {
            seats.remove(&(from.at, name.clone()));
            if seats.is_empty() {
                tally.remove(&from.place);
            }
        }
        if let Some(to) = to {
            tally.entry(to.place).or_default().insert((to.at, name.clone()));
        }
        if tally.is_empty() {
            self.tallies.remove(&values);
        }
        self.touched.insert(values);
    }
}
