//! Devices that take part in a forecast.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jumpstarter_model::Timestamp;

use super::Ask;
use crate::lab::{
    Lab,
    access::Scope,
    exporter::{Bench, Usable},
    names::Name,
    want::WantId,
};

/// Devices that take part; what lies beyond is left out, which makes the forecast later, never earlier.
const MAX_DEVICES: usize = 4000;
/// Devices of one kind that are free from the start, and that only quotas keep from somebody.
const MAX_FREE: usize = 512;

/// Devices that take part, found once for all ways in which things may go.
pub(super) struct Field<'a> {
    /// Those that are free and that only quotas keep from those who wait.
    pub(super) free: BTreeMap<Kind<'a>, BTreeSet<(Timestamp, &'a Name)>>,
    /// Those that must come free first, or have something ahead.
    pub(super) held: Vec<(&'a Name, &'a Bench)>,
    /// Whether everybody takes part who competes for room in accounts.
    pub(super) is_whole: bool,
}

/// Devices that are the same to all who wait.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind<'a> {
    pub(super) scope: Scope,
    pub(super) wants: Vec<WantId>,
    /// Whether the asker could have it.
    pub(super) mine: bool,
    /// One that has something ahead is of its own kind.
    pub(super) booked: Option<&'a Name>,
}

/// How far those who take part are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those who compete with the asker for devices and for room in accounts, and what they could have instead.
    Near,
    /// Those who compete with these in turn, and so on: whoever takes what any of them would have had.
    All,
}

impl<'a> Field<'a> {
    pub(super) fn new(lab: &'a Lab, ask: &'a Ask<'a>, reach: Reach) -> Self {
        let mut field = Self { free: BTreeMap::new(), held: Vec::new(), is_whole: true };
        let capped = lab.book.quotas.any_caps();
        let mut seen = HashSet::new();
        let mut wants = BTreeSet::new();
        for name in ask.devices.keys().take(MAX_DEVICES) {
            seen.insert(name.clone());
            field.add(lab, ask, name, capped);
            if let Some(bench) = lab.exporters.get(name) {
                wants.extend(bench.wants.iter().copied());
            }
        }
        let mut fresh = wants.clone();
        if capped {
            let own = ask.devices.keys().filter_map(|name| lab.exporters.get(name));
            fresh.extend(lab.mates(own.map(|bench| (bench.scope, &ask.entry.client))));
        }
        while !fresh.is_empty() {
            fresh.extend(lab.account_mates(&fresh));
            fresh.retain(|id| lab.wants.get(id).is_some_and(|want| !want.is_idle()));
            wants.extend(&fresh);
            let found = fresh.iter().filter_map(|id| lab.wants.get(id)).flat_map(|want| want.tally.values().flatten());
            let mut next = BTreeSet::new();
            for (_, name) in found {
                if seen.len() >= MAX_DEVICES {
                    // Whoever cannot be served takes nothing of an account either.
                    field.is_whole &= !capped;
                    break;
                }
                if seen.insert(name.clone()) {
                    field.add(lab, ask, name, capped);
                    next.extend(lab.exporters.get(name).into_iter().flat_map(|bench| &bench.wants));
                }
            }
            let goes_on = capped && reach == Reach::All && field.is_whole;
            fresh = if goes_on { next.difference(&wants).copied().collect() } else { BTreeSet::new() };
        }
        // When groups take what accounts have room for is not foreseen.
        let grouped = |id: &WantId| lab.wants.get(id).is_some_and(|want| !want.members.is_empty());
        field.is_whole &= !capped || !wants.iter().any(grouped);
        field
    }

    fn add(&mut self, lab: &'a Lab, ask: &'a Ask<'a>, name: &Name, capped: bool) {
        let Some((name, bench)) = lab.exporters.get_key_value(name) else { return };
        if bench.usable != Usable::Free || bench.quarantined || bench.booked {
            self.held.push((name, bench));
        } else if capped {
            let seats = self.free.entry(Kind::of(lab, ask, name, bench)).or_default();
            if seats.len() < MAX_FREE {
                seats.insert((bench.at, name));
            }
        }
    }
}

impl<'a> Kind<'a> {
    pub(super) fn of(lab: &Lab, ask: &Ask<'_>, name: &'a Name, bench: &Bench) -> Self {
        let wanted = |id: &&WantId| lab.wants.get(id).is_some_and(|want| !want.waiting.is_empty() && want.takes(bench));
        Self {
            scope: bench.scope,
            wants: bench.wants.iter().filter(wanted).copied().collect(),
            mine: ask.devices.contains_key(name),
            booked: bench.booked.then_some(name),
        }
    }
}
