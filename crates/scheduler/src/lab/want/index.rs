//! Finds requests by exporters and exporters by requests, without looking at all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jumpstarter_model::{Selector, selector::Operator};

use super::{Request, WantId};
use crate::lab::names::Name;

/// Finds the wants that an exporter may match.
#[derive(Debug, Default)]
pub(crate) struct WantIndex {
    pinned: HashMap<Name, BTreeSet<WantId>>,
    pairs: HashMap<String, HashMap<String, BTreeSet<WantId>>>,
    keys: HashMap<String, BTreeSet<WantId>>,
    rest: BTreeSet<WantId>,
}

/// The part of a request that the index goes by.
enum Anchor<'a> {
    Pinned(&'a Name),
    Pairs(&'a str, Vec<&'a str>),
    Key(&'a str),
    Rest,
}

fn anchor(request: &Request) -> Anchor<'_> {
    if let Some(pinned) = &request.pinned {
        return Anchor::Pinned(pinned);
    }
    let mut best = Anchor::Rest;
    for requirement in request.selector.requirements() {
        match (requirement.operator(), &best) {
            (Operator::Equals, _) => {
                return Anchor::Pairs(requirement.key(), requirement.values().iter().map(String::as_str).collect());
            }
            (Operator::In, Anchor::Rest | Anchor::Key(_)) => {
                best = Anchor::Pairs(requirement.key(), requirement.values().iter().map(String::as_str).collect());
            }
            (Operator::Exists, Anchor::Rest) => best = Anchor::Key(requirement.key()),
            (Operator::In | Operator::Exists | Operator::NotIn | Operator::DoesNotExist, _) => {}
        }
    }
    best
}

impl WantIndex {
    pub(crate) fn insert(&mut self, id: WantId, request: &Request) {
        match anchor(request) {
            Anchor::Pinned(name) => _ = self.pinned.entry(name.clone()).or_default().insert(id),
            Anchor::Pairs(key, values) => {
                let by_value = self.pairs.entry(key.to_owned()).or_default();
                for value in values {
                    by_value.entry(value.to_owned()).or_default().insert(id);
                }
            }
            Anchor::Key(key) => _ = self.keys.entry(key.to_owned()).or_default().insert(id),
            Anchor::Rest => _ = self.rest.insert(id),
        }
    }

    pub(crate) fn remove(&mut self, id: WantId, request: &Request) {
        match anchor(request) {
            Anchor::Pinned(name) => drop_from(&mut self.pinned, name.as_ref(), id),
            Anchor::Pairs(key, values) => {
                if let Some(by_value) = self.pairs.get_mut(key) {
                    for value in values {
                        drop_from(by_value, value, id);
                    }
                    if by_value.is_empty() {
                        self.pairs.remove(key);
                    }
                }
            }
            Anchor::Key(key) => drop_from(&mut self.keys, key, id),
            Anchor::Rest => _ = self.rest.remove(&id),
        }
    }

    /// Wants that may be about an exporter; the caller checks each.
    pub(crate) fn about(&self, name: &str, labels: &BTreeMap<String, String>) -> BTreeSet<WantId> {
        let mut found = self.rest.clone();
        found.extend(self.pinned.get(name).into_iter().flatten());
        for (key, value) in labels {
            found.extend(self.keys.get(key).into_iter().flatten());
            found.extend(self.pairs.get(key).and_then(|by_value| by_value.get(value)).into_iter().flatten());
        }
        found
    }
}

/// Finds the exporters that a request may be about.
#[derive(Debug, Default)]
pub(crate) struct LabelIndex {
    keys: HashMap<String, Key>,
}

#[derive(Debug, Default)]
struct Key {
    all: BTreeSet<Name>,
    values: HashMap<String, BTreeSet<Name>>,
}

impl LabelIndex {
    pub(crate) fn insert(&mut self, name: &Name, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            let key = self.keys.entry(key.clone()).or_default();
            key.all.insert(name.clone());
            key.values.entry(value.clone()).or_default().insert(name.clone());
        }
    }

    pub(crate) fn remove(&mut self, name: &Name, labels: &BTreeMap<String, String>) {
        for (label, value) in labels {
            let Some(key) = self.keys.get_mut(label) else { continue };
            key.all.remove(name);
            if let Some(names) = key.values.get_mut(value) {
                names.remove(name);
                if names.is_empty() {
                    key.values.remove(value);
                }
            }
            if key.all.is_empty() {
                self.keys.remove(label);
            }
        }
    }

    /// Exporters of the most selective requirement, `None` when no requirement narrows the choice; the caller checks
    /// each.
    pub(crate) fn narrow(&self, selector: &Selector) -> Option<Vec<Name>> {
        let mut best: Option<Vec<&BTreeSet<Name>>> = None;
        let size = |sets: &[&BTreeSet<Name>]| sets.iter().map(|set| set.len()).sum::<usize>();
        for requirement in selector.requirements() {
            let key = self.keys.get(requirement.key());
            let sets = match requirement.operator() {
                Operator::Equals | Operator::In => {
                    let values = requirement.values().iter();
                    values.filter_map(|value| key?.values.get(value)).collect::<Vec<_>>()
                }
                Operator::Exists => key.map(|key| &key.all).into_iter().collect(),
                Operator::NotIn | Operator::DoesNotExist => continue,
            };
            if best.as_ref().is_none_or(|best| size(&sets) < size(best)) {
                best = Some(sets);
            }
        }
        best.map(|sets| sets.into_iter().flatten().cloned().collect())
    }
}

fn drop_from<K: std::hash::Hash + Eq + std::borrow::Borrow<Q>, Q: std::hash::Hash + Eq + ?Sized>(
    index: &mut HashMap<K, BTreeSet<WantId>>,
    key: &Q,
    id: WantId,
) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
