//! Takes observations into the indexes and marks what they touch.

use std::collections::BTreeSet;

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, Selector};

use super::{
    Lab,
    access::Changed,
    exporter::{Bench, Seen},
    lease::{Entry, is_check},
    names::Name,
    quota::Record,
    want::Want,
};
use crate::transition::LEASE_ENDED;

/// Exporters that are judged one by one after policies have changed, even where these are most of the lab.
const ONE_BY_ONE: usize = 64;

/// Exporters that are not there of which the last use may be remembered, beside as many as there are.
const FORMER_EXPORTERS: usize = 1024;

impl Lab {
    pub(super) fn observe_exporter(&mut self, exporter: &Exporter) {
        let Some(name) = exporter.metadata.name.as_deref().map(Name::from) else { return };
        let (seen, claim) = Seen::of(exporter);
        let known = self.exporters.get(&name);
        let same = known.is_some_and(|bench| bench.seen.labels == seen.labels && bench.seen.enabled == seen.enabled);
        if known.is_none_or(|bench| bench.seen.labels != seen.labels) {
            self.remove_bench(&name);
            self.add_bench(&name, seen);
            self.recount_exporter(&name);
        } else if known.is_some_and(|bench| bench.seen != seen) {
            self.change_bench(&name, |bench| bench.seen = seen);
        }
        self.set_claim(&name, claim);
        self.mark_exporter(&name);
        self.mark_health(&name);
        if !same {
            self.place_windows(&name);
            self.plan_again(&name);
        }
    }

    /// Marks an exporter whose health is worth a look.
    pub(super) fn mark_health(&mut self, name: &Name) {
        let looked_at = |bench: &Bench| bench.seen.health.is_some() || bench.health_wake.is_some();
        if self.exporters.get(name).is_some_and(looked_at) {
            self.marked.health.insert(name.clone());
        }
    }

    pub(super) fn forget_exporter(&mut self, name: &str) {
        let name = Name::from(name);
        self.set_claim(&name, None);
        self.remove_bench(&name);
        self.recount_exporter(&name);
        self.tear_downs.remove(&name);
        self.mark_exporter(&name);
        self.place_windows(&name);
        self.plan_again(&name);
    }

    /// Marks an exporter and the leases that its state means something to.
    pub(super) fn mark_exporter(&mut self, name: &Name) {
        self.marked.leases.extend(self.holders.get(name).into_iter().flatten().cloned());
        self.marked.exporters.insert(name.clone());
    }

    pub(super) fn observe_tear_down(&mut self, exporter: &str, pending: bool) {
        let name = Name::from(exporter);
        let changed = if pending { self.tear_downs.insert(name.clone()) } else { self.tear_downs.remove(&name) };
        if changed {
            self.refresh(&name);
            self.marked.exporters.insert(name);
        }
    }

    pub(super) fn observe_lease(&mut self, lease: &Lease) {
        let Some(name) = lease.metadata.name.as_deref().map(Name::from) else { return };
        self.note_successor(&name, lease);
        self.marked.unlabelled.remove(&name);
        let mut entry = (!lease.is_ended()).then(|| Entry::of(&name, lease));
        let known = self.leases.get(&name);
        let held = known.and_then(|known| known.exporter.clone());
        if let (Some(entry), Some(known)) = (&mut entry, known) {
            self.carry_claim_over(known, entry);
        }
        if let Some(entry) = entry {
            let exporter = entry.exporter.clone();
            if exporter.is_some() && exporter == held {
                // What changes is seen once, not as if the exporter had been let go meanwhile.
                self.drop_entry(&name);
            } else {
                self.take_out(&name);
            }
            if entry.notice.is_some() {
                self.noticed.insert(name.clone());
                self.marked.contest = true;
            }
            self.join_group(&entry);
            self.leases.insert(name.clone(), entry);
            if let Some(exporter) = exporter {
                self.add_holder(&exporter, &name);
                self.marked.exporters.insert(exporter);
            }
            self.count_holder(&name);
            self.note_plan(&name);
            self.marked.leases.insert(name.clone());
        } else {
            self.remove_lease(&name);
            self.set_record(&name, Record::of_ended(lease));
            self.note_use(lease);
            self.observe_ended_member(&name, lease);
            if !is_check(lease) {
                self.history.note(&name, lease);
            }
            let labelled = lease.metadata.labels.iter().flatten().any(|(key, _)| key == LEASE_ENDED);
            if !labelled {
                self.marked.unlabelled.insert(name.clone());
            }
        }
        self.recheck_claims(&name);
    }

    pub(super) fn forget_lease(&mut self, name: &str) {
        let name = Name::from(name);
        self.successors.remove(&name);
        self.remove_lease(&name);
        self.set_record(&name, None);
        self.marked.unlabelled.remove(&name);
        self.recheck_claims(&name);
    }

    /// Has exporters looked at that are claimed for a lease of which something is new.
    fn recheck_claims(&mut self, name: &Name) {
        self.refresh_claims(name);
        self.marked.exporters.extend(self.claims.get(name).into_iter().flatten().cloned());
    }

    /// Judges exporters again that are claimed for a lease, after that came or went.
    pub(super) fn refresh_claims(&mut self, name: &Name) {
        for exporter in self.claims.get(name).cloned().unwrap_or_default() {
            self.refresh(&exporter);
        }
    }

    /// Takes a lease out of every index and marks the exporter that it held.
    pub(super) fn remove_lease(&mut self, name: &Name) {
        self.forget_plan(name);
        self.take_out(name);
    }

    fn take_out(&mut self, name: &Name) {
        if let Some(exporter) = self.drop_entry(name) {
            self.remove_holder(&exporter, name);
            self.marked.exporters.insert(exporter);
        }
    }

    /// Forgets what is known of a lease, except that it holds the exporter that is returned.
    fn drop_entry(&mut self, name: &Name) -> Option<Name> {
        self.dequeue(name);
        self.set_timer(name, None);
        self.marked.contest |= self.noticed.remove(name);
        let entry = self.leases.remove(name)?;
        self.leave_group(&entry);
        if let (true, Ok(request)) = (entry.is_check, &entry.request) {
            self.marked.health.extend(request.pinned.clone());
        }
        self.forget_plans_client(name, &entry.client);
        entry.exporter
    }

    /// Notes when the exporter of an ended lease was let go.
    fn note_use(&mut self, lease: &Lease) {
        let ended = lease.status.as_ref().and_then(|status| status.end_time.as_ref());
        let (Some(exporter), Some(ended)) = (lease.assigned_exporter().map(Name::from), ended) else { return };
        let last = self.last_use.entry(exporter.clone()).or_insert(ended.0);
        *last = ended.0.max(*last);
        self.refresh(&exporter);
        // Exporters come and go, and those that are gone need not be remembered for long.
        if self.last_use.len() > 2 * self.exporters.len() + FORMER_EXPORTERS {
            self.last_use.retain(|name, _| self.exporters.contains_key(name));
        }
    }

    pub(super) fn observe_policy(&mut self, policy: &ExporterAccessPolicy) {
        let Some(name) = policy.metadata.name.as_deref() else { return };
        self.book.put_policy(&name.into(), policy);
    }

    pub(super) fn forget_policy(&mut self, name: &str) {
        self.book.remove_policy(name);
    }

    pub(super) fn observe_quota(&mut self, quota: &LeaseQuota) {
        let Some(name) = quota.metadata.name.as_deref() else { return };
        self.marked.quotas |= self.book.put_quota(&name.into(), quota);
    }

    pub(super) fn forget_quota(&mut self, name: &str) {
        self.marked.quotas |= self.book.remove_quota(name);
    }

    /// Judges exporters anew of which policies say something else than before, and looks at every lease that waits for one
    /// of them.
    pub(super) fn apply_policies(&mut self) {
        let Changed::Selected(selectors) = self.book.take_changed() else { return self.apply_everything() };
        if selectors.is_empty() {
            return;
        }
        let exporters = self.selected(&selectors);
        if exporters.len() > ONE_BY_ONE && 2 * exporters.len() > self.exporters.len() {
            return self.apply_everything();
        }
        let mut wants = BTreeSet::new();
        for name in exporters {
            let Some(bench) = self.exporters.get(&name) else { continue };
            wants.extend(&bench.wants);
            let scope = self.book.scope(&bench.seen.labels);
            if bench.scope != scope {
                self.change_bench(&name, |bench| bench.scope = scope);
            }
            self.plan_again(&name);
            self.marked.exporters.insert(name);
        }
        let waiting = wants.iter().filter_map(|id| self.wants.get(id)).flat_map(Want::everybody).cloned();
        // A group of another place in line may keep anything back, or leave it.
        let seeking = waiting.chain(self.all_members()).collect::<Vec<_>>();
        self.marked.seeking.extend(seeking);
        self.marked.wants.extend(&wants);
        self.marked.demand.extend(&wants);
        self.marked.contest = true;
    }

    fn selected(&self, selectors: &[Selector]) -> BTreeSet<Name> {
        let mut found = BTreeSet::new();
        for selector in selectors {
            let narrow = self.labels.narrow(selector);
            let candidates = narrow.iter().flatten().filter_map(|name| self.exporters.get_key_value(name));
            let all = self.exporters.iter().take(if narrow.is_some() { 0 } else { usize::MAX });
            let matching = candidates.chain(all).filter(|(_, bench)| selector.matches(&bench.seen.labels));
            found.extend(matching.map(|(name, _)| name.clone()));
        }
        found
    }

    /// Counts every exporter anew and looks at every waiting lease.
    pub(super) fn apply_everything(&mut self) {
        self.book.void_scopes();
        for want in self.wants.values_mut() {
            want.clear();
        }
        for (name, bench) in &mut self.exporters {
            bench.scope = self.book.scope(&bench.seen.labels);
            for id in &bench.wants {
                if let Some(want) = self.wants.get_mut(id) {
                    want.shift(name, &bench.seen.labels, None, Some(want.place_of(bench)));
                }
            }
        }
        self.book.scopes_are_known();
        self.marked.wants.extend(self.wants.keys());
        self.marked.demand.extend(self.wants.keys());
        self.marked.contest = true;
        self.marked.exporters.extend(self.exporters.keys().cloned());
        let waiting = self.wants.values().flat_map(Want::everybody).cloned();
        self.marked.seeking.extend(waiting);
        self.recount();
        self.plan_all_again();
    }

    pub(super) fn observe_client(&mut self, client: &Client) {
        let Some(name) = client.metadata.name.as_deref() else { return };
        if self.book.put_client(name.into(), client) {
            self.mark_client(name);
        }
    }

    pub(super) fn forget_client(&mut self, name: &str) {
        if self.book.remove_client(name) {
            self.mark_client(name);
        }
    }

    fn mark_client(&mut self, name: &str) {
        for lease in self.clients.get(name).into_iter().flatten() {
            self.marked.seeking.insert(lease.clone());
            self.marked.reasons.insert(lease.clone());
            self.marked.demand.extend(self.leases.get(lease).and_then(|entry| entry.want));
        }
        self.plan_again_for(name);
        self.marked.contest = true;
        // It may have other accounts now.
        self.marked.quotas |=
            self.book.quotas.knows_client(name) || (!self.book.quotas.is_empty() && self.clients.contains_key(name));
    }
}
