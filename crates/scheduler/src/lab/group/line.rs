//! A group in line: what its members seek, and what there is for all of them together.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::Timestamp;

use super::{
    super::{
        Lab,
        access::Rank,
        exporter::Usable,
        names::{Age, Name},
        want::{Slot, WantId},
    },
    keep::Standing,
    matching::{Matching, Members},
    shelves::{Keys, Values},
};

/// What is known of a group that waits with all of its members.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) group: Name,
    client: Name,
    pub(super) age: Age,
    /// Members in the order of their age, and what each wants.
    pub(super) seekers: Vec<(Name, WantId)>,
    pub(super) same: Keys,
    /// What there is, by the worst rank that is made do with.
    outlooks: BTreeMap<Rank, Outlooks>,
    /// Devices kept back for it.
    pub(super) kept: BTreeSet<Name>,
    /// When time alone changes what it can have.
    pub(super) alarm: Option<Timestamp>,
}

/// What there is for a group, by the values of labels that must be equal: what follows from its devices, looked at again
/// when one of them moves.
#[derive(Debug, Default)]
struct Outlooks {
    by_values: BTreeMap<Values, Outlook>,
    /// The same, the soonest first.
    order: BTreeSet<(Turn, Values)>,
    /// Values to be looked at.
    stale: BTreeSet<Values>,
    /// Values of devices that something is ahead of. That comes nearer: they are looked at every time.
    booked: BTreeSet<Values>,
}

/// How a whole group may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    /// The turn of the device that comes last.
    pub(super) last: Turn,
    /// The device of each member.
    pub(super) picks: Vec<(Turn, Name)>,
}

/// When a device can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) class: Class,
    /// When a free one was used last, when a held one will be let go.
    pub(super) at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Now.
    Free,
    /// When its lease ends, at the latest.
    Coming,
    /// Nobody knows.
    Unforeseen,
}

/// Devices in the order of their turn, and who may have each.
#[derive(Debug, Default)]
pub(super) struct Offers {
    by_turn: BTreeMap<(Turn, Name), Members>,
}

impl Turn {
    fn of(slot: Slot, at: Timestamp) -> Option<Self> {
        let class = match slot {
            Slot::Mismatch | Slot::Disabled => return None,
            Slot::Free | Slot::Booked => Class::Free,
            Slot::Returning => return Some(Self { class: Class::Coming, at: Timestamp::MIN }),
            Slot::Leased | Slot::Spot if at < Timestamp::MAX => Class::Coming,
            Slot::Leased | Slot::Spot | Slot::Offline | Slot::Quarantined | Slot::NotReady => {
                return Some(Self { class: Class::Unforeseen, at: Timestamp::MIN });
            }
        };
        Some(Self { class, at })
    }
}

impl Offers {
    /// Whoever may have what, and who has what at best.
    pub(super) fn matching(&self, members: usize) -> (Matching, Vec<Members>) {
        let devices = self.by_turn.values().copied().collect::<Vec<_>>();
        (Matching::of(members, &devices), devices)
    }

    /// All of them.
    pub(super) fn devices(&self) -> impl Iterator<Item = &Name> {
        self.by_turn.keys().map(|(_, name)| name)
    }

    /// When the last device comes that the group would use, by when each does; those of which nothing is known are left
    /// out.
    pub(super) fn soonest(&self, members: usize, comes: impl Fn(&Name) -> Option<i64>) -> Option<i64> {
        let devices = self.by_turn.iter().filter_map(|((_, name), who)| Some((comes(name)?, *who)));
        let mut devices = devices.collect::<Vec<_>>();
        devices.sort_unstable();
        let (times, who): (Vec<_>, Vec<_>) = devices.into_iter().unzip();
        Matching::of(members, &who).complete()?.into_iter().map(|device| times[device]).max()
    }

    pub(super) fn outlook(&self, members: usize) -> Option<Outlook> {
        let (matching, _) = self.matching(members);
        let devices = self.by_turn.keys().collect::<Vec<_>>();
        let picks = matching.complete()?.into_iter().map(|device| devices[device].clone()).collect::<Vec<_>>();
        Some(Outlook { last: picks.iter().map(|(turn, _)| *turn).max()?, picks })
    }
}

impl Line {
    pub(super) fn new(group: Name, client: Name, age: Age, seekers: Vec<(Name, WantId)>, same: Keys) -> Self {
        Self { group, client, age, seekers, same, outlooks: BTreeMap::new(), kept: BTreeSet::new(), alarm: None }
    }

    /// Has these values looked at again.
    pub(super) fn touch(&mut self, values: &BTreeSet<Values>) {
        for known in self.outlooks.values_mut() {
            known.stale.extend(values.iter().cloned());
        }
    }

    /// Has everything looked at again.
    pub(super) fn touch_all(&mut self) {
        self.outlooks.clear();
    }
}

impl Outlooks {
    fn put(&mut self, values: Values, outlook: Option<Outlook>, is_booked: bool) {
        if is_booked {
            self.booked.insert(values.clone());
        } else {
            self.booked.remove(&values);
        }
        if let Some(before) = self.by_values.remove(&values) {
            self.order.remove(&(before.last, values.clone()));
        }
        if let Some(outlook) = outlook {
            self.order.insert((outlook.last, values.clone()));
            self.by_values.insert(values, outlook);
        }
    }

    fn best(&self) -> Option<(&Values, &Outlook)> {
        let (_, values) = self.order.iter().find(|(_, values)| !self.stale.contains(values))?;
        self.by_values.get_key_value(values)
    }
}

impl Lab {
    /// The place in line of a group that makes do with a rank: that of the member whose turn would come last.
    pub(super) fn standing(&self, line: &Line, rank: Rank, now: Timestamp) -> Option<Standing> {
        let seekers = line.seekers.iter().filter_map(|(name, want)| self.leases.get(name).zip(self.wants.get(want)));
        let turns = seekers.flat_map(|(entry, want)| {
            let scopes = want.tally.keys().map(|(scope, _)| self.line(*scope));
            scopes.map(move |scope| self.turn_with(scope, &line.age, &entry.client, rank, now))
        });
        Some(Standing { turn: turns.max()?, age: line.age.clone() })
    }

    /// Ranks that the group can make do with, best first: the worst that a member would have, at its best, comes first.
    pub(super) fn ranks_in_line(&self, line: &Line, now: Timestamp) -> Vec<Rank> {
        let mut all = BTreeSet::new();
        let mut floor = None;
        for (name, want) in &line.seekers {
            let (Some(entry), Some(want)) = (self.leases.get(name), self.wants.get(want)) else { return Vec::new() };
            let requested = entry.times.requested(now);
            let places = want.tally.keys().filter(|(_, slot)| slot.can_serve());
            let ranks =
                places.filter_map(|(scope, _)| self.book.access(*scope, &entry.client, requested).rank_by_policy());
            let ranks = ranks.collect::<BTreeSet<_>>();
            let Some(best) = ranks.first().copied() else { return Vec::new() };
            floor = floor.max(Some(best));
            all.extend(ranks);
        }
        all.into_iter().filter(|rank| Some(*rank) >= floor).collect()
    }

    /// The best that there is for the whole group with devices of this rank or better: the values of the labels that
    /// must be equal, and who gets what. What comes soonest is best, and what was used longest ago among what is free.
    pub(super) fn best_outlook(&mut self, group: &str, rank: Rank, now: Timestamp) -> Option<(Values, Outlook)> {
        let mut line = self.groups.by_name.get_mut(group)?.line.take()?;
        let found = self.choose(&mut line, rank, now);
        if let Some(group) = self.groups.by_name.get_mut(group) {
            group.line = Some(line);
        }
        found
    }

    fn choose(&self, line: &mut Line, rank: Rank, now: Timestamp) -> Option<(Values, Outlook)> {
        let known = line.outlooks.remove(&rank);
        let mut known = known.unwrap_or_else(|| {
            let stale = self.values_in_line(line).into_iter().cloned().collect();
            Outlooks { stale, ..Outlooks::default() }
        });
        let mut values = std::mem::take(&mut known.stale);
        values.extend(known.booked.iter().cloned());
        for values in values {
            let outlook = self.offers(line, &values, Some(rank), now).outlook(line.seekers.len());
            let is_booked = self.is_booked_in(line, &values);
            known.put(values, outlook, is_booked);
        }
        let best = known.best().map(|(values, outlook)| (values.clone(), outlook.clone()));
        line.outlooks.insert(rank, known);
        best
    }

    /// The best that there is when the group makes do with anything, as of its last turn.
    pub(super) fn last_outlook(&self, line: &Line, worst: Rank, now: Timestamp) -> Option<(Values, Outlook)> {
        let known = line.outlooks.get(&worst);
        let looked_at: Vec<&Values> = match known {
            Some(known) => known.stale.iter().collect(),
            None => self.values_in_line(line),
        };
        let looks = looked_at.into_iter().filter_map(|values| {
            let outlook = self.offers(line, values, Some(worst), now).outlook(line.seekers.len())?;
            Some((values.clone(), outlook))
        });
        let best = known.and_then(Outlooks::best).map(|(values, outlook)| (values.clone(), outlook.clone()));
        looks.chain(best).min_by(|(one, first), (other, second)| (first.last, one).cmp(&(second.last, other)))
    }

    /// Whether anything is ahead of a free device of these values.
    fn is_booked_in(&self, line: &Line, values: &Values) -> bool {
        let wants = line.seekers.iter().filter_map(|(_, want)| self.wants.get(want));
        let mut tallies = wants.filter_map(|want| want.shelves.tally(&line.same, values));
        tallies.any(|tally| tally.keys().any(|(_, slot)| *slot == Slot::Booked))
    }

    /// Combinations of values that devices for the first member have: others cannot serve the whole group.
    pub(super) fn values_in_line<'a>(&'a self, line: &Line) -> Vec<&'a Values> {
        let want = line.seekers.first().and_then(|(_, want)| self.wants.get(want));
        want.map(|want| want.shelves.values(&line.same).collect()).unwrap_or_default()
    }

    /// Devices of these values that members can have now or later. Of those that are alike to a member no more are
    /// looked at than the group has members: more would change nothing.
    pub(super) fn offers(&self, line: &Line, values: &Values, worst: Option<Rank>, now: Timestamp) -> Offers {
        let mut offers = Offers::default();
        for (member, (name, want)) in line.seekers.iter().enumerate() {
            let (Some(entry), Some(want)) = (self.leases.get(name), self.wants.get(want)) else { continue };
            let Some(tally) = want.shelves.tally(&line.same, values) else { continue };
            let (requested, ends) = (entry.times.requested(now), entry.times.end(now));
            for ((scope, slot), seats) in tally {
                let Some(rank) = self.book.access(*scope, &entry.client, requested).rank_by_policy() else { continue };
                if worst.is_some_and(|worst| rank > worst) {
                    continue;
                }
                let standing = self.standing(line, worst.unwrap_or(rank), now);
                let ours = |exporter: &Name| {
                    !matches!(slot, Slot::Free | Slot::Booked)
                        || self.keeper(exporter) == Some(&line.group)
                        || !standing.as_ref().is_some_and(|standing| self.is_kept_until(exporter, standing, ends, now))
                };
                // One that is kept for a group ahead, or promised to somebody else before the lease would end, is there
                // again afterwards.
                let fits = |exporter: &Name| *slot != Slot::Booked || self.fits(exporter, entry, now);
                let (fit, later): (Vec<_>, Vec<_>) = match slot {
                    Slot::Booked => seats.iter().partition(|(_, exporter)| ours(exporter) && fits(exporter)),
                    Slot::Free if !self.groups.kept.is_empty() => {
                        seats.iter().partition(|(_, exporter)| ours(exporter))
                    }
                    _ => (seats.iter().take(line.seekers.len()).collect(), Vec::new()),
                };
                let fit = fit.into_iter().take(line.seekers.len()).map(|seat| (seat, *slot));
                let later = later.into_iter().take(line.seekers.len()).map(|seat| (seat, Slot::NotReady));
                for ((at, exporter), slot) in fit.chain(later) {
                    if let Some(turn) = Turn::of(slot, *at) {
                        *offers.by_turn.entry((turn, exporter.clone())).or_default() |= 1 << member;
                    }
                }
            }
        }
        offers
    }

    /// Puts a group in line, or leaves it there.
    pub(super) fn enter_line(&mut self, group: &Name, members: &[Name], same: &Keys) {
        let seekers = members.iter().filter_map(|name| Some((name.clone(), self.leases.get(name)?.want?)));
        let seekers = seekers.collect::<Vec<_>>();
        let first = members.first().and_then(|name| self.leases.get(name));
        let first = first.map(|entry| (entry.age.clone(), entry.client.clone()));
        let Some((age, client)) = first.filter(|_| seekers.len() == members.len()) else {
            return self.leave_line(group);
        };
        let known = self.groups.line(group);
        let fresh = !known.is_some_and(|line| self.is_up_to_date(group, line, &age, &seekers, same));
        self.groups.turns.insert(group.clone());
        if !fresh {
            return;
        }
        self.leave_line(group);
        for (_, id) in &seekers {
            let Some(want) = self.wants.get_mut(id) else { continue };
            if want.shelves.enter(same, group) {
                for (place, seats) in &want.tally {
                    for (at, name) in seats {
                        if let Some(bench) = self.exporters.get(name) {
                            let standing = super::super::want::Standing { place: *place, at: *at };
                            want.shelves.fill(same, name, &bench.seen.labels, standing);
                        }
                    }
                }
            }
        }
        if let Some(known) = self.groups.by_name.get_mut(group) {
            self.groups.clients.entry(client.clone()).or_default().insert(group.clone());
            known.line = Some(Line::new(group.clone(), client, age, seekers, same.clone()));
            self.marked.contest = true;
        }
        self.groups.turns.insert(group.clone());
    }

    /// Whether a group in line is still what it was.
    fn is_up_to_date(&self, group: &Name, line: &Line, age: &Age, seekers: &[(Name, WantId)], same: &Keys) -> bool {
        let client = self.leases.get(&age.name).map(|entry| &entry.client);
        let stands = |(_, want): &(Name, WantId)| {
            self.wants.get(want).is_some_and(|want| want.shelves.groups().any(|known| known == group))
        };
        line.age == *age
            && Some(&line.client) == client
            && line.seekers == seekers
            && line.same == *same
            && line.seekers.iter().all(stands)
    }

    /// Takes a group out of line, and lets go what was kept for it.
    pub(super) fn leave_line(&mut self, group: &Name) {
        self.groups.turns.remove(group);
        self.groups.set_alarm(group, None);
        let Some(line) = self.groups.by_name.get_mut(group).and_then(|group| group.line.take()) else { return };
        // Others may have reason again to drive somebody out.
        self.marked.contest = true;
        for (_, id) in &line.seekers {
            if let Some(want) = self.wants.get_mut(id) {
                want.shelves.leave(&line.same, group);
            }
        }
        if let Some(groups) = self.groups.clients.get_mut(&line.client) {
            groups.remove(group);
            if groups.is_empty() {
                self.groups.clients.remove(&line.client);
            }
        }
        for exporter in line.kept {
            self.let_go(&exporter, group);
        }
    }

    /// Gives a device free that was kept for a group.
    pub(super) fn let_go(&mut self, exporter: &Name, group: &str) {
        if self.groups.kept.remove(exporter, group) {
            self.touch_shelves(exporter);
            if self.exporters.get(exporter).is_some_and(|bench| bench.usable == Usable::Free) {
                self.marked.freed.insert(exporter.clone());
            }
        }
    }

    /// Has groups look again at a device.
    pub(in crate::lab) fn touch_shelves(&mut self, exporter: &Name) {
        let Some(bench) = self.exporters.get(exporter) else { return };
        for id in &bench.wants {
            if let Some(want) = self.wants.get_mut(id).filter(|want| !want.shelves.is_empty()) {
                want.shelves.touch(&bench.seen.labels);
                self.marked.shelved.insert(*id);
            }
        }
    }
}
