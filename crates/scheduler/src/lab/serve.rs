//! Gives free exporters to waiting leases.
//!
//! Every possible pair has a rank: full access before spot access, then policy priority, then age of the lease, then the
//! time since the exporter was used last, then its name. Pairs are taken by rank, which is the stable outcome: an
//! exporter goes to the lease with the best access there and, among equals, the eldest; a lease gets the exporter of its
//! best access and, among equals, the one that has been idle for longest.
//!
//! Between decisions no waiting lease can use any free exporter. So only pairs with something new in them need a look:
//! each exporter that became free proposes its best lease, each lease that came within reach its best exporter, and the
//! best pair of all is always among these proposals.

use std::collections::BTreeSet;

use jumpstarter_model::{GoDuration, Timestamp};

use super::{
    Lab,
    access::{Rank, Scope},
    exporter::Usable,
    names::{Age, Name},
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
    rank: Rank,
    lease: Age,
    exporter: Seat,
    by: By,
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
        let mut proposals = BTreeSet::new();
        proposals.extend(seeking.iter().filter_map(|lease| self.proposal_of_lease(lease, now)));
        proposals.extend(freed.iter().filter_map(|exporter| self.proposal_of_exporter(exporter, now)));
        while let Some(Proposal { rank, lease, exporter: (_, exporter), by }) = proposals.pop_first() {
            let waits = self.leases.get(&lease.name).is_some_and(|entry| entry.want.is_some());
            if waits && self.is_free(&exporter) {
                let ready = self.assume_assigned(&lease.name, &exporter, rank, now);
                actions.push(Action::Assign {
                    lease: lease.name.to_string(),
                    exporter: exporter.to_string(),
                    priority: rank.priority.0,
                    spot_access: rank.spot,
                    ready,
                });
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
        let entry = self.leases.get(name)?;
        let want = self.wants.get(&entry.want?)?;
        let requested = entry.times.requested(now);
        let free = want.tally.iter().filter(|((_, slot), _)| *slot == Slot::Free);
        let granted = free.filter_map(|((scope, _), seats)| {
            Some((self.book.access(*scope, &entry.client, requested).rank()?, seats.first()?))
        });
        let (rank, exporter) = granted.min()?;
        Some(Proposal { rank, lease: entry.age.clone(), exporter: exporter.clone(), by: By::Lease })
    }

    fn proposal_of_exporter(&self, name: &Name, now: Timestamp) -> Option<Proposal> {
        let bench = self.exporters.get(name).filter(|bench| bench.usable == Usable::Free)?;
        let mut best = None;
        for want in bench.wants.iter().filter_map(|id| self.wants.get(id)) {
            if want.request.slot(bench) == Slot::Free {
                self.look_for_better(&mut best, want, bench.scope, now);
            }
        }
        let (rank, age) = best?;
        Some(Proposal { rank, lease: age.clone(), exporter: (bench.at, name.clone()), by: By::Exporter })
    }

    /// The best of a queue at exporters of a scope, if it is better than what there is.
    fn look_for_better<'a>(&'a self, best: &mut Option<(Rank, &'a Age)>, want: &'a Want, scope: Scope, now: Timestamp) {
        let ceiling = self.book.best_rank(scope);
        for (age, client, requested) in self.queue(want, now).take(ONE_BY_ONE) {
            if best.is_some_and(|(rank, eldest)| rank == ceiling && eldest < age) {
                return;
            }
            if let Some(rank) = self.book.access(scope, client, requested).rank() {
                *best = Some(best.map_or((rank, age), |best| best.min((rank, age))));
                if rank == ceiling {
                    return;
                }
            }
        }
        if want.waiting.len() <= ONE_BY_ONE {
            return;
        }
        for ((client, span), alike) in &want.kinds {
            let rank = self.book.access(scope, client, span.requested(now)).rank();
            if let (Some(rank), Some(age)) = (rank, alike.first()) {
                *best = Some(best.map_or((rank, age), |best| best.min((rank, age))));
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
