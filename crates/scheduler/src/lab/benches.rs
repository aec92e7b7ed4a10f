//! What the lab keeps of each exporter: where it stands for those who wait, who holds it, and until when.

use jumpstarter_model::Timestamp;

use super::{
    Lab,
    exporter::{Bench, Seen, Usable},
    health::pool::Standing,
    names::Name,
    want::Want,
};

impl Lab {
    pub(super) fn add_bench(&mut self, name: &Name, seen: Seen) {
        let scope = self.book.scope(&seen.labels);
        let about = self.want_index.about(name, &seen.labels);
        let wants = about
            .into_iter()
            .filter(|id| self.wants.get(id).is_some_and(|want| want.request.is_about(name, &seen.labels)));
        let wants = wants.collect();
        self.labels.insert(name, &seen.labels);
        let mut bench = Bench {
            pool: self.pool_of(&seen.labels),
            seen,
            claim: None,
            scope,
            usable: Usable::Offline,
            at: Timestamp::MIN,
            booked: false,
            wants,
            quarantined: false,
            lapsed: None,
            seat: None,
            health_wake: None,
        };
        (bench.usable, bench.at, bench.booked) = self.judge(name, &bench);
        bench.quarantined = bench.judge_quarantine();
        for id in &bench.wants {
            let Some(want) = self.wants.get_mut(id) else { continue };
            let shift = want.shift(name, &bench.seen.labels, None, Some(want.place_of(&bench)));
            self.marked.shift(*id, shift, want);
        }
        self.exporters.insert(name.clone(), bench);
        self.sit(name);
    }

    /// Counts an exporter anew in its pool.
    fn sit(&mut self, name: &Name) {
        let from = self.exporters.get(name).and_then(|bench| bench.seat.clone());
        let to = self.seat(name, from.as_ref());
        if let Some(bench) = self.exporters.get_mut(name) {
            bench.seat = to;
        }
    }

    pub(super) fn remove_bench(&mut self, name: &Name) {
        self.set_claim(name, None);
        let Some(bench) = self.exporters.remove(name) else { return };
        self.labels.remove(name, &bench.seen.labels);
        self.move_health_timer(name, bench.health_wake, None);
        self.seat(name, bench.seat.as_ref());
        for id in &bench.wants {
            let Some(want) = self.wants.get_mut(id) else { continue };
            let shift = want.shift(name, &bench.seen.labels, Some(want.place_of(&bench)), None);
            self.marked.shift(*id, shift, want);
        }
    }

    /// Changes an exporter, except for its labels, and counts it where it belongs afterwards.
    pub(super) fn change_bench(&mut self, name: &Name, change: impl FnOnce(&mut Bench)) {
        let Some(mut bench) = self.exporters.remove(name) else { return };
        let place = |want: &Want| want.place_of(&bench);
        let before = bench.wants.iter().map(|id| (*id, self.wants.get(id).map(place))).collect::<Vec<_>>();
        change(&mut bench);
        (bench.usable, bench.at, bench.booked) = self.judge(name, &bench);
        let was = bench.quarantined;
        bench.quarantined = bench.judge_quarantine();
        let turned = was != bench.quarantined;
        for (id, old) in before {
            let Some(want) = self.wants.get_mut(&id) else { continue };
            let shift = want.shift(name, &bench.seen.labels, old, Some(want.place_of(&bench)));
            self.marked.shift(id, shift, want);
        }
        let standing = bench.seat.as_ref().map(|seat| seat.standing);
        let expected = bench.seen.enabled.then_some(Standing::InService);
        let differs = bench.seen.health.is_some() || standing != expected;
        self.exporters.insert(name.clone(), bench);
        if differs {
            self.sit(name);
            self.mark_health(name);
        }
        if turned {
            self.plan_again(name);
        }
    }

    fn judge(&self, name: &Name, bench: &Bench) -> (Usable, Timestamp, bool) {
        let (held, until) = self.tenure(name, bench).unzip();
        let usable = bench.seen.usable(held, self.tear_downs.contains(name));
        let at = match usable {
            Usable::Leased | Usable::Spot => until,
            Usable::Free => self.last_use.get(name).copied(),
            Usable::Offline | Usable::Returning | Usable::NotReady => None,
        };
        (usable, at.unwrap_or(Timestamp::MIN), self.is_booked_up(name))
    }

    /// How an exporter is held, if it is, and until when as far as is known.
    fn tenure(&self, name: &Name, bench: &Bench) -> Option<(Usable, Timestamp)> {
        let holders = self.holders.get(name);
        if holders.is_none() && bench.claim.is_none() {
            return None;
        }
        let grace = self.config.preemption_grace;
        let entries = holders.into_iter().flatten().map(|lease| self.leases.get(lease));
        let (mut spot, mut until) = (holders.is_some(), None);
        for entry in entries {
            spot &= entry.is_some_and(|entry| entry.spot);
            until = until.max(Some(entry.map_or(Timestamp::MAX, |entry| entry.until(grace))));
        }
        let spot = spot && bench.claim.as_ref().is_none_or(|claim| holders.is_some_and(|known| known.contains(claim)));
        if let Some(entry) = bench.claim.as_ref().filter(|_| holders.is_none()).and_then(|lease| self.leases.get(lease))
        {
            // Being claimed for a group.
            until = Some(entry.until(grace));
        }
        Some((if spot { Usable::Spot } else { Usable::Leased }, until.unwrap_or(Timestamp::MAX)))
    }

    /// Judges an exporter again after its claim, holders or tear-down changed.
    pub(super) fn refresh(&mut self, name: &Name) {
        let stale = self.exporters.get(name);
        let stale = stale.is_some_and(|bench| (bench.usable, bench.at, bench.booked) != self.judge(name, bench));
        if stale {
            self.change_bench(name, |_| ());
        }
    }

    /// Notes the lease in an exporter's `leaseRef`.
    pub(super) fn set_claim(&mut self, name: &Name, claim: Option<Name>) {
        let Some(bench) = self.exporters.get_mut(name) else { return };
        if bench.claim == claim {
            return;
        }
        if let Some(old) = std::mem::replace(&mut bench.claim, claim.clone())
            && let Some(exporters) = self.claims.get_mut(&old)
        {
            exporters.remove(name);
            if exporters.is_empty() {
                self.claims.remove(&old);
            }
        }
        if let Some(claim) = claim {
            self.claims.entry(claim).or_default().insert(name.clone());
        }
        self.refresh(name);
    }

    pub(super) fn add_holder(&mut self, exporter: &Name, lease: &Name) {
        self.holders.entry(exporter.clone()).or_default().insert(lease.clone());
        self.refresh(exporter);
    }

    pub(super) fn remove_holder(&mut self, exporter: &Name, lease: &Name) {
        if let Some(leases) = self.holders.get_mut(exporter) {
            leases.remove(lease);
            if leases.is_empty() {
                self.holders.remove(exporter);
            }
        }
        self.refresh(exporter);
    }
}
