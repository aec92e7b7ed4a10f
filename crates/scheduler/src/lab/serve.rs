//! Gives free exporters to waiting leases.
//!
//! Every possible pair has a rank: the turn of the lease at the exporter (see [`Turn`]: access, then priority, then share),
//! then the age of the lease, then the time since the exporter was used last, then its name. Pairs are taken by rank, which is the stable outcome: an
//! exporter goes to the lease with the best access there and, among equals, the eldest; a lease gets the exporter of its
//! best access and, among equals, the one that has been idle for longest.
//!
//! Between decisions no waiting lease can use any free exporter. So only pairs with something new in them need a look:
//! each exporter that became free proposes its best lease, each lease that came within reach its best exporter, and the
//! best pair of all is always among these proposals.

use std::{cmp::Reverse, collections::BTreeSet};

use jumpstarter_model::{GoDuration, Timestamp};

use super::{
    Lab,
    exporter::{Bench, Usable},
    group::GroupTurn,
    lease::Entry,
    names::{Age, Name},
    turn::{Line, Turn},
    want::{Seat, Slot, Want},
};
use crate::Action;

/// With more free exporters than this the leases that want them propose instead: many exporters would all propose the
/// same eldest lease, over and over, whereas leases in their order propose exporters that are still free.
const FREED_AT_ONCE: usize = 8;

/// Leases of a queue that are looked at one by one before their kinds are: usually the first is served.
const ONE_BY_ONE: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Proposal {
    /// Whoever has reserved the exporter for this time comes before everybody else.
    claim: Claim,
    turn: Turn,
    lease: Age,
    /// Of the lease there: one that is overdue takes the exporter of its highest priority too.
    priority: Reverse<i64>,
    exporter: Seat,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Reserved,
    Ordinary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Lease,
    Exporter,
}

impl Lab {
    /// Gives out what can be given out.
    pub(super) fn serve(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let mut freed = std::mem::take(&mut self.marked.freed);
        let mut seeking = std::mem::take(&mut self.marked.seeking);
        if freed.len() > FREED_AT_ONCE {
            seeking.extend(self.leases_in_reach(&freed));
            freed.clear();
        }
        let mut turns = BTreeSet::new();
        self.take_members(&mut seeking);
        let mut proposals = BTreeSet::new();
        proposals.extend(seeking.iter().filter_map(|lease| self.proposal_of_lease(lease, now)));
        proposals.extend(freed.iter().filter_map(|exporter| self.proposal_of_exporter(exporter, now)));
        let quotas = !self.book.quotas.is_empty();
        loop {
            self.add_turns(&mut turns, now);
            // What was kept back until now.
            for exporter in std::mem::take(&mut self.marked.freed) {
                proposals.extend(self.proposal_of_exporter(&exporter, now));
            }
            let before = |turn: &GroupTurn, pair: &Proposal| {
                pair.claim == Claim::Ordinary && turn.is_before(pair.turn, &pair.lease)
            };
            if let Some(turn) = turns.first()
                && proposals.first().is_none_or(|pair| before(turn, pair))
                && let Some(turn) = turns.pop_first()
            {
                self.take_turn(turn, &mut turns, now, actions);
                continue;
            }
            let Some(Proposal { claim, turn, lease, exporter: (_, exporter), by, .. }) = proposals.pop_first() else {
                return;
            };
            let waits = self.leases.get(&lease.name).is_some_and(|entry| entry.want.is_some());
            // What was given out since counts for quotas and shares: turns only get later by it.
            let holds = !quotas || self.turn_at(&lease, &exporter, now) == Some(turn);
            let ours = claim == Claim::Reserved || !self.is_kept_from(&exporter, turn, &lease, now);
            if waits && holds && self.is_free(&exporter) && ours {
                let next = quotas.then(|| self.next_alike(&lease.name));
                let rank = turn.rank;
                let ready = self.assume_assigned(&lease.name, &exporter, rank, now);
                actions.push(Action::Assign {
                    lease: lease.name.to_string(),
                    exporter: exporter.to_string(),
                    priority: rank.priority.0,
                    spot_access: rank.spot,
                    ready,
                });
                let next = next.and_then(|next| next(self, now));
                proposals.extend(next.and_then(|next| self.proposal_of_lease(&next, now)));
                continue;
            }
            // The other side is taken: the next best, which cannot rank higher.
            proposals.extend(match by {
                By::Lease => self.proposal_of_lease(&lease.name, now),
                By::Exporter => self.proposal_of_exporter(&exporter, now),
            });
        }
    }

    fn leases_in_reach(&self, freed: &BTreeSet<Name>) -> Vec<Name> {
        let benches = freed.iter().filter_map(|name| self.exporters.get(name));
        let wants = benches.flat_map(|bench| &bench.wants).collect::<BTreeSet<_>>();
        let waiting = wants.into_iter().filter_map(|id| self.wants.get(id)).flat_map(|want| &want.waiting);
        waiting.map(|age| age.name.clone()).collect()
    }

    fn is_free(&self, exporter: &Name) -> bool {
        self.exporters.get(exporter).is_some_and(|bench| bench.usable == Usable::Free)
    }

    fn proposal_of_lease(&self, name: &Name, now: Timestamp) -> Option<Proposal> {
        let entry = self.leases.get(name).filter(|entry| entry.group.is_none())?;
        let want = self.wants.get(&entry.want?)?;
        if let Some(exporter) = self.reserved_for(entry, now) {
            return Some(Proposal { by: By::Lease, ..exporter });
        }
        let requested = entry.times.requested(now);
        let granted = want.tally.iter().filter_map(|((scope, slot), seats)| {
            if !matches!(slot, Slot::Free | Slot::Booked) {
                return None;
            }
            let turn = self.turn(self.line(*scope), &entry.age, &entry.client, requested, now)?;
            let ours = |exporter: &Name| !self.is_kept_from(exporter, turn, &entry.age, now);
            // Of a free one that nothing is ahead of, there is nothing to look up.
            let fits = |exporter: &Name| *slot == Slot::Free || self.fits(exporter, entry, now);
            Some((turn, turn.rank.priority, seats.iter().find(|(_, name)| ours(name) && fits(name))?))
        });
        let (turn, priority, exporter) = granted.min()?;
        let (lease, exporter) = (entry.age.clone(), exporter.clone());
        Some(Proposal { claim: Claim::Ordinary, turn, lease, priority, exporter, by: By::Lease })
    }

    /// The exporter that a waiting lease has reserved for this time, if it is free.
    fn reserved_for(&self, entry: &Entry, now: Timestamp) -> Option<Proposal> {
        let name = &self.calendar.booking(&entry.age.name)?.exporter;
        let want = self.wants.get(&entry.want?)?;
        let is_there = |bench: &&Bench| matches!(want.request.slot(bench), Slot::Free | Slot::Booked);
        let bench = self.exporters.get(name).filter(is_there)?;
        let turn = self.turn_at(&entry.age, name, now)?;
        let (lease, exporter) = (entry.age.clone(), (bench.at, name.clone()));
        let own = self.fits(name, entry, now);
        let priority = turn.rank.priority;
        own.then_some(Proposal { claim: Claim::Reserved, turn, lease, priority, exporter, by: By::Lease })
    }

    /// The turn of a waiting lease at one exporter.
    pub(super) fn turn_at(&self, age: &Age, exporter: &str, now: Timestamp) -> Option<Turn> {
        let (entry, bench) = (self.leases.get(&age.name)?, self.exporters.get(exporter)?);
        self.turn(self.line(bench.scope), age, &entry.client, entry.times.requested(now), now)
    }

    fn proposal_of_exporter(&self, name: &Name, now: Timestamp) -> Option<Proposal> {
        let bench = self.exporters.get(name).filter(|bench| bench.usable == Usable::Free)?;
        if bench.booked
            && let Some(due) = self.calendar.due(name, now).and_then(|lease| self.leases.get(lease))
            && let Some(proposal) = self.reserved_for(due, now)
        {
            return Some(Proposal { by: By::Exporter, ..proposal });
        }
        let mut best = None;
        let line = self.line(bench.scope);
        for want in bench.wants.iter().filter_map(|id| self.wants.get(id)) {
            if matches!(want.request.slot(bench), Slot::Free | Slot::Booked) {
                self.look_for_better(&mut best, want, (name, bench, line), now);
            }
        }
        let (turn, age): (Turn, &Age) = best?;
        let (priority, exporter) = (turn.rank.priority, (bench.at, name.clone()));
        Some(Proposal { claim: Claim::Ordinary, turn, lease: age.clone(), priority, exporter, by: By::Exporter })
    }

    /// The best of a queue at an exporter, if it is better than what there is.
    fn look_for_better<'a>(
        &'a self,
        best: &mut Option<(Turn, &'a Age)>,
        want: &'a Want,
        (name, bench, line): (&Name, &Bench, Line),
        now: Timestamp,
    ) {
        let fits =
            |age: &Age| !bench.booked || self.leases.get(&age.name).is_some_and(|entry| self.fits(name, entry, now));
        for (age, client, requested) in self.queue(want, now).take(ONE_BY_ONE) {
            if best.is_some_and(|(turn, eldest)| eldest < age && self.is_unbeaten(line, turn, age, now)) {
                return;
            }
            if let Some(turn) = self.turn(line, age, client, requested, now)
                && fits(age)
                && !self.is_kept_from(name, turn, age, now)
            {
                *best = Some(best.map_or((turn, age), |best| best.min((turn, age))));
                if self.is_unbeaten(line, turn, age, now) {
                    return;
                }
            }
        }
        if want.waiting.len() <= ONE_BY_ONE {
            return;
        }
        for ((client, span), alike) in &want.kinds {
            let Some(age) = self.first_of(alike, now) else { continue };
            if let Some(turn) = self.turn(line, age, client, span.requested(now), now)
                && fits(age)
                && !self.is_kept_from(name, turn, age, now)
            {
                *best = Some(best.map_or((turn, age), |best| best.min((turn, age))));
            }
        }
    }

    pub(super) fn queue<'a>(
        &'a self,
        want: &'a Want,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a Age, &'a Name, GoDuration)> + 'a {
        want.waiting.iter().filter_map(move |age| {
            let entry = self.leases.get(&age.name)?;
            Some((age, &entry.client, entry.times.requested(now)))
        })
    }
}
