//! Claims: what an exporter's `leaseRef` and the leases' `exporterRef` say must agree.
//!
//! A claim is two writes, first the exporter's, then the lease's. Whatever a crash, a second writer or an older
//! controller leaves behind has one obvious completion.

use jumpstarter_model::Timestamp;

use super::{Lab, access::Rank, exporter::Usable, names::Name, want::Slot};
use crate::{Action, EndCause};

enum Claim {
    /// Lease and exporter agree.
    Held,
    /// The lease waits for just this; only its half is missing.
    Half(Rank),
    /// It is one of a group's, which has not got all of its exporters yet.
    OfGroup,
    /// The lease waits, but no longer for this. Nobody was told of the claim.
    Untold,
    /// The lease is over or elsewhere.
    Stale,
}

impl Lab {
    /// Repairs the claim of one exporter; then the exporter may be served if it is free.
    pub(super) fn check_claim(&mut self, name: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(bench) = self.exporters.get(name) else { return };
        // What is only half written needs no repair. Settling it marks the exporter again. But what is taken to be free
        // meanwhile is given out like any other: else whichever lease happens to be looked at next would get it.
        if self.open.has_exporter(name) || bench.claim.as_ref().is_some_and(|lease| self.open.has_lease(lease)) {
            if bench.usable == Usable::Free {
                self.marked.freed.insert(name.clone());
            }
            return;
        }
        let mut holder = None;
        if let Some(lease) = bench.claim.clone() {
            match self.judge_claim(name, &lease, now) {
                Claim::Held => holder = Some(lease),
                Claim::Half(rank) => {
                    let ready = self.assume_assigned(&lease, name, rank, now);
                    actions.push(Action::CompleteClaim {
                        exporter: name.to_string(),
                        lease: lease.to_string(),
                        priority: rank.priority.0,
                        spot_access: rank.spot,
                        ready,
                    });
                    holder = Some(lease);
                }
                Claim::OfGroup => self.mark_group_of(&lease),
                claim @ (Claim::Untold | Claim::Stale) => {
                    if matches!(claim, Claim::Stale) {
                        self.tear_downs.insert(name.clone());
                    }
                    self.set_claim(name, None);
                    self.mark_group_of(&lease);
                    actions.push(Action::Unclaim { exporter: name.to_string(), lease: lease.to_string() });
                }
            }
        }
        let holder = holder.or_else(|| self.first_holder(name));
        if let Some(holder) = holder {
            self.settle_holder(name, &holder, now, actions);
        } else if self.exporters.get(name).is_some_and(|bench| bench.usable == Usable::Free) {
            self.marked.freed.insert(name.clone());
        }
    }

    fn judge_claim(&self, name: &Name, lease: &Name, now: Timestamp) -> Claim {
        let Some(entry) = self.leases.get(lease) else { return Claim::Stale };
        match &entry.exporter {
            Some(exporter) if exporter == name => return Claim::Held,
            Some(_) => return Claim::Stale,
            None if self.is_claiming(entry) => return Claim::OfGroup,
            None => {}
        }
        let waits =
            !entry.release && entry.times.begin().is_none_or(|begin| begin <= now) && entry.times.end(now) > now;
        let (Some(bench), Ok(request), true) = (self.exporters.get(name), &entry.request, waits) else {
            return Claim::Untold;
        };
        let fits = request.is_about(name, &bench.seen.labels)
            && request.slot(bench).can_serve()
            && request.slot(bench) != Slot::Quarantined
            && !self.holders.contains_key(name)
            && self.fits(name, entry, now);
        // It is counted already: what was given out within the quotas of then is not taken back.
        match self.book.access(bench.scope, &entry.client, entry.times.requested(now)).rank_by_policy() {
            Some(rank) if fits => Claim::Half(rank),
            _ => Claim::Untold,
        }
    }

    /// Of several leases that say they hold an exporter the eldest does, unless it is on its way out.
    fn first_holder(&self, name: &Name) -> Option<Name> {
        let entries = self.holders.get(name)?.iter().filter_map(|lease| self.leases.get(lease));
        entries.min_by_key(|entry| (entry.release, entry.age.clone())).map(|entry| entry.age.name.clone())
    }

    /// Makes `holder` the one lease of the exporter, in both objects.
    fn settle_holder(&mut self, name: &Name, holder: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let unclaimed = self.exporters.get(name).is_some_and(|bench| bench.claim.is_none());
        let begun = self.leases.get(holder).is_some_and(|entry| entry.begin.is_some());
        if unclaimed || !begun {
            self.set_claim(name, Some(holder.clone()));
            if let Some(entry) = self.leases.get_mut(holder) {
                entry.begin.get_or_insert(now);
            }
            self.count_holder(holder);
            self.refresh(name);
            self.marked.leases.insert(holder.clone());
            actions.push(Action::Adopt { lease: holder.to_string(), exporter: name.to_string() });
        }
        let others = self.holders.get(name).into_iter().flatten().filter(|lease| *lease != holder);
        for other in others.cloned().collect::<Vec<_>>() {
            let message = format!("The exporter {name} is held by another lease, {holder}");
            self.end(&other, EndCause::Released, message, actions);
        }
    }
}
