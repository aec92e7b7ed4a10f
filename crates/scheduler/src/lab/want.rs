//! What leases ask for: equal requests share one queue and one count of the exporters that match.

mod index;

use std::collections::{BTreeMap, BTreeSet};

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

pub(crate) use index::{LabelIndex, WantIndex};

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
