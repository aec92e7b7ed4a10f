//! Gives free exporters to waiting leases.
//!
//! Every possible pair has a rank: policy priority, then age of the lease, then name of the exporter. Pairs are taken
//! by rank, which is the stable outcome: an exporter goes to the lease with the highest priority there and, among
//! equals, the eldest; a lease gets the exporter with its highest priority and, among equals, the first by name.
//!
//! Between decisions no waiting lease can use any free exporter. So only pairs with something new in them need a look:
//! each exporter that became free proposes its best lease, each lease that came within reach its best exporter, and the
//! best pair of all is always among these proposals.

use std::{cmp::Reverse, collections::BTreeSet};

use jumpstarter_model::{GoDuration, Timestamp};

use super::{
    Lab,
    access::Access,
    exporter::Usable,
    names::{Age, Name},
    want::{Slot, Want},
};
use crate::Action;

/// With more free exporters than this the leases that want them propose instead: many exporters would all propose the
/// same eldest lease, over and over, whereas leases in their order propose exporters that are still free.
const FREED_AT_ONCE: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Proposal {
    priority: Reverse<i64>,
    lease: Age,
    exporter: Name,
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
        while let Some(Proposal { priority: Reverse(priority), lease, exporter, by }) = proposals.pop_first() {
            let waits = self.leases.get(&lease.name).is_some_and(|entry| entry.want.is_some());
            if waits && self.is_free(&exporter) {
                let ready = self.assume_assigned(&lease.name, &exporter, now);
                actions.push(Action::Assign {
                    lease: lease.name.to_string(),
                    exporter: exporter.to_string(),
                    priority,
                    spot_access: false,
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
        let granted = free.filter_map(|((scope, _), names)| {
            let Access::Granted(priority) = self.book.access(*scope, &entry.client, requested) else { return None };
            Some((Reverse(priority), names.first()?))
        });
        let (priority, exporter) = granted.min()?;
        Some(Proposal { priority, lease: entry.age.clone(), exporter: exporter.clone(), by: By::Lease })
    }

    fn proposal_of_exporter(&self, name: &Name, now: Timestamp) -> Option<Proposal> {
        let bench = self.exporters.get(name).filter(|bench| bench.usable == Usable::Free)?;
        let ceiling = self.book.best_priority(bench.scope);
        let mut best: Option<(Reverse<i64>, &Age)> = None;
        for want in bench.wants.iter().filter_map(|id| self.wants.get(id)) {
            if want.request.slot(bench) != Slot::Free {
                continue;
            }
            for (age, client, requested) in self.queue(want, now) {
                if best.is_some_and(|(Reverse(priority), eldest)| priority == ceiling && eldest < age) {
                    break;
                }
                if let Access::Granted(priority) = self.book.access(bench.scope, client, requested) {
                    best = Some(best.map_or((Reverse(priority), age), |best| best.min((Reverse(priority), age))));
                    if priority == ceiling {
                        break;
                    }
                }
            }
        }
        let (priority, age) = best?;
        Some(Proposal { priority, lease: age.clone(), exporter: name.clone(), by: By::Exporter })
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
