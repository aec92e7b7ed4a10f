//! What leases ask for: equal requests share one queue and one count of the exporters that match.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jumpstarter_model::{
    Selector, Timestamp,
    selector::{Operator, Requirement},
};

use super::{
    access::Scope,
    exporter::{Bench, Usable},
    group::shelves::Shelves,
    names::{Age, Name},
    times::Span,
};

/// Identity of a [`Want`] within one lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WantId(pub(crate) u64);

/// What one lease asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) selector: Selector,
    pub(crate) pinned: Option<Name>,
    pub(crate) allow_disabled: bool,
    /// Canonical text of all three.
    pub(crate) key: String,
}

impl Request {
    pub(crate) fn new(selector: Selector, pinned: Option<Name>, allow_disabled: bool) -> Self {
        let key = format!("{}|{allow_disabled}|{selector}", pinned.as_deref().unwrap_or_default());
        Self { selector, pinned, allow_disabled, key }
    }

    /// Whether this exporter is what the request is about, be it only to say that it does not fit.
    pub(crate) fn is_about(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match &self.pinned {
            Some(pinned) => **pinned == *name,
            None => self.selector.matches(labels),
        }
    }

    /// Whether one label tells that no exporter is what both of these are about. `false` says nothing.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        if let (Some(one), Some(other)) = (&self.pinned, &other.pinned) {
            return one != other;
        }
        let named = |requirement: &&Requirement| matches!(requirement.operator(), Operator::Equals | Operator::In);
        let theirs = || other.selector.requirements().iter().filter(named);
        self.selector
            .requirements()
            .iter()
            .filter(named)
            .any(|mine| theirs().any(|theirs| mine.key() == theirs.key() && mine.values().is_disjoint(theirs.values())))
    }

    /// Where an exporter that it is about stands.
    pub(crate) fn slot(&self, bench: &Bench) -> Slot {
        if self.pinned.is_some() && !self.selector.matches(&bench.seen.labels) {
            return Slot::Mismatch;
        }
        if !bench.seen.enabled && !self.allow_disabled {
            return Slot::Disabled;
        }
        match bench.usable {
            Usable::Offline => Slot::Offline,
            // Maintainers who may have disabled ones may have these, too.
            _ if bench.quarantined && !self.allow_disabled => Slot::Quarantined,
            Usable::Leased => Slot::Leased,
            Usable::Spot => Slot::Spot,
            Usable::Returning => Slot::Returning,
            Usable::NotReady => Slot::NotReady,
            Usable::Free if bench.booked => Slot::Booked,
            Usable::Free => Slot::Free,
        }
    }
}

/// Where an exporter stands for a request, leaving aside who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    Mismatch,
    Disabled,
    Offline,
    /// Kept back, whatever it is otherwise.
    Quarantined,
    Leased,
    Spot,
    Returning,
    NotReady,
    /// Free, for those who let it go in time for what is ahead of it.
    Booked,
    Free,
}

impl Slot {
    /// Whether such an exporter can serve the request, now or later.
    pub(crate) fn can_serve(self) -> bool {
        !matches!(self, Self::Mismatch | Self::Disabled)
    }
}

/// A kind of exporter: what policies say of it, and where it stands.
pub(crate) type Place = (Scope, Slot);

/// An exporter among those of its kind, in the order of [`Bench::at`], then by name.
pub(crate) type Seat = (Timestamp, Name);

/// Leases that policies tell apart: whose, and for how long.
pub(crate) type Kind = (Name, Span);

/// One request and all leases that wait with it.
#[derive(Debug)]
pub(crate) struct Want {
    pub(crate) request: Request,
    /// The queue.
    pub(crate) waiting: BTreeSet<Age>,
    /// Members of groups that want the same: their groups stand in line, not they.
    pub(crate) members: BTreeSet<Name>,
    /// The same by kind.
    pub(crate) kinds: BTreeMap<Kind, BTreeSet<Age>>,
    /// Those of them that were told that no exporter is ready.
    pub(crate) told_not_ready: BTreeSet<Name>,
    /// Those of them that were told of a quota, by kind.
    pub(crate) told_over: BTreeMap<Kind, BTreeSet<Name>>,
    /// Every exporter that the request is about.
    pub(crate) tally: BTreeMap<Place, BTreeSet<Seat>>,
    /// The same for groups, by labels that must be equal.
    pub(crate) shelves: Shelves,
    /// Whether a kind of exporter held as spot came or went since somebody looked.
    pub(crate) spots_changed: bool,
    /// Stamp under which it is kept although nobody waits.
    pub(crate) idle: Option<u64>,
}

impl Want {
    pub(crate) fn new(request: Request) -> Self {
        Self {
            request,
            waiting: BTreeSet::new(),
            members: BTreeSet::new(),
            kinds: BTreeMap::new(),
            told_not_ready: BTreeSet::new(),
            told_over: BTreeMap::new(),
            tally: BTreeMap::new(),
            shelves: Shelves::default(),
            spots_changed: false,
            idle: None,
        }
    }

    /// Notes whether a lease was told of a quota.
    pub(crate) fn set_told_over(&mut self, kind: &Kind, name: &Name, told: bool) {
        if told {
            self.told_over.entry(kind.clone()).or_default().insert(name.clone());
        } else if let Some(names) = self.told_over.get_mut(kind) {
            names.remove(name);
            if names.is_empty() {
                self.told_over.remove(kind);
            }
        }
    }

    /// Where an exporter is counted.
    pub(crate) fn place_of(&self, bench: &Bench) -> Standing {
        Standing { place: (bench.scope, self.request.slot(bench)), at: bench.at }
    }

    /// The exporters that leases hold here as spot, by what policies say of them.
    pub(crate) fn spots(&self) -> impl Iterator<Item = (Scope, &BTreeSet<Seat>)> {
        self.tally.iter().filter(|((_, slot), _)| *slot == Slot::Spot).map(|((scope, _), seats)| (*scope, seats))
    }

    /// Number of exporters of a scope that the request is about.
    pub(crate) fn seats(&self, scope: Scope) -> usize {
        self.tally.range((scope, Slot::Mismatch)..=(scope, Slot::Free)).map(|(_, seats)| seats.len()).sum()
    }

    /// Those of them that can serve it, now or later.
    pub(crate) fn takers(&self, scope: Scope) -> impl Iterator<Item = &Name> {
        let places = self.tally.range((scope, Slot::Mismatch)..=(scope, Slot::Free));
        let places = places.filter(|((_, slot), _)| slot.can_serve());
        places.flat_map(|(_, seats)| seats).map(|(_, name)| name)
    }

    /// Whether an exporter that is about this can be used for it, now or later.
    pub(crate) fn takes(&self, bench: &Bench) -> bool {
        self.request.slot(bench).can_serve()
    }

    /// Everybody who waits with this request, members of groups too.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Name> {
        self.waiting.iter().map(|age| &age.name).chain(&self.members)
    }

    /// Whether nobody waits with it.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.members.is_empty()
    }

    /// Forgets all exporters.
    pub(crate) fn clear(&mut self) {
        self.tally.clear();
        self.shelves.clear();
    }

    /// Moves an exporter from one place to another, in or out.
    pub(crate) fn shift(
        &mut self,
        name: &Name,
        labels: &BTreeMap<String, String>,
        from: Option<Standing>,
        to: Option<Standing>,
    ) -> Shift {
        if from == to {
            return Shift::None;
        }
        if !self.shelves.is_empty() {
            self.shelves.shift(name, labels, from, to);
        }
        let places = [from, to].map(|standing| standing.map(|standing| standing.place));
        let scopes = places.map(|place| place.map(|(scope, _)| scope));
        let outline = |want: &Self| scopes.map(|scope| scope.map(|scope| want.outline(scope)));
        let before = outline(self);
        if let Some(from) = from
            && let Some(seats) = self.tally.get_mut(&from.place)
        {
            seats.remove(&(from.at, name.clone()));
            if seats.is_empty() {
                self.tally.remove(&from.place);
                self.spots_changed |= from.place.1 == Slot::Spot;
            }
        }
        if let Some(to) = to {
            let seats = self.tally.entry(to.place).or_default();
            self.spots_changed |= to.place.1 == Slot::Spot && seats.is_empty();
            seats.insert((to.at, name.clone()));
        }
        if places[0] == places[1] {
            Shift::Reordered
        } else if before == outline(self) {
            Shift::Inside
        } else {
            Shift::Outline
        }
    }

    /// Which kinds of exporter of a scope there are, connected ones that may be given out being one kind, and those that
    /// are free until something that is ahead another.
    fn outline(&self, scope: Scope) -> [bool; 6] {
        let any = |slots: &[Slot]| slots.iter().any(|slot| self.tally.contains_key(&(scope, *slot)));
        let connected = any(&[Slot::Leased, Slot::Spot, Slot::Returning, Slot::NotReady, Slot::Booked, Slot::Free]);
        let [mismatch, disabled, offline, quarantined, booked] =
            [Slot::Mismatch, Slot::Disabled, Slot::Offline, Slot::Quarantined, Slot::Booked].map(|slot| any(&[slot]));
        [mismatch, disabled, offline, quarantined, booked, connected]
    }
}

/// Where an exporter is counted, and its turn there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) place: Place,
    pub(crate) at: Timestamp,
}

/// What a move of one exporter may mean for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    None,
    /// It has another turn among those of its kind.
    Reordered,
    /// Something among connected exporters: only who was told that none is ready may have to be told otherwise.
    Inside,
    /// Everybody's reason may be another one.
    Outline,
}

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
