//! Whoever waits and could be served is served.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use super::{Checker, ExporterFacts, LeaseFacts};

/// Calm seconds for which a lease may wait although a device that it asks for is free and its exporter well.
const SERVED: u32 = 30;
/// The same when the service may believe that the exporter has a session to tear down: its limit for those that say
/// nothing, and some time.
const SERVED_AT_LAST: u32 = 420;

/// Free exporters. Those that differ in nothing that a lease could ask for are looked at once.
#[derive(Default)]
struct Free<'a> {
    by_name: BTreeMap<&'a str, bool>,
    /// The last of each kind, and whether one of them is well.
    kinds: BTreeMap<usize, (&'a str, bool)>,
    /// Those that are not like others of their kind, and whether they are well.
    particular: Vec<(&'a str, bool)>,
}

impl<'a> Free<'a> {
    fn add(&mut self, name: &'a str, facts: &'a ExporterFacts, well: bool, particular: bool) {
        self.by_name.insert(name, well);
        if particular {
            return self.particular.push((name, well));
        }
        let kind = self.kinds.entry(facts.kind).or_insert((name, well));
        *kind = (name, kind.1 || well);
    }

    /// Whatever this lease could have, and whether it is well.
    fn for_lease<'b>(&'b self, lease: &LeaseFacts) -> Box<dyn Iterator<Item = (&'a str, bool)> + 'b> {
        match lease.pinned() {
            Some(name) => Box::new(self.by_name.get_key_value(name).map(|(name, well)| (*name, *well)).into_iter()),
            None => Box::new(self.kinds.values().chain(&self.particular).copied()),
        }
    }
}

impl Checker {
    /// Counts the calm seconds for which leases wait without need.
    pub(super) fn waits_no_longer(&mut self) {
        if self.waiting.is_empty() || !self.is_calm() {
            return;
        }
        let (at, dates) = (self.at(), self.dates());
        let mut free = Free::default();
        for (name, facts) in self.free.iter().filter_map(|name| self.exporters.get_key_value(name)) {
            if facts.free_since.is_some_and(|since| at > since + Duration::from_secs(2)) {
                let undisturbed = facts.disturbed.is_none_or(|until| at > until + Duration::from_mins(6));
                let well = undisturbed && !facts.lied && facts.sessions.is_empty();
                let well = well && at > self.service_since + Duration::from_mins(6);
                free.add(name, facts, well, self.calendar.is_particular(name));
            }
        }
        let (mut late, served) = (Vec::new(), self.patience(SERVED));
        let mut waits = Vec::new();
        // Whether groups may have an exporter kept for them, asked once for each and not once for each who waits.
        let groups = RefCell::new(BTreeMap::new());
        let for_groups = |exporter: &str| {
            let ask = || self.may_be_kept_for_a_group(exporter);
            *groups.borrow_mut().entry(exporter.to_owned()).or_insert_with(ask)
        };
        for name in &self.waiting {
            let Some(lease) = self.leases.get(name).filter(|lease| lease.waits(dates)) else { continue };
            // Groups wait for several at once.
            let kept = lease.group.is_some() || self.is_kept(lease);
            let could = |exporter: &str| {
                self.exporters.get(exporter).is_some_and(|facts| lease.wants(exporter, facts))
                    && self.grant(lease, exporter).is_some()
                    && !self.may_be_in_the_way(name, lease, exporter)
                    && !for_groups(exporter)
            };
            let (mut any, mut well) = (None, false);
            for (exporter, is_well) in free.for_lease(lease).filter(|(exporter, _)| !kept && could(exporter)) {
                any = Some(exporter.to_owned());
                well |= is_well;
            }
            waits.push((name.clone(), any, well));
        }
        for (name, exporter, well) in waits {
            let Some(lease) = self.leases.get_mut(&name) else { continue };
            lease.waited = if exporter.is_some() { lease.waited + 1 } else { 0 };
            let limit = if well { served } else { SERVED_AT_LAST };
            if lease.waited > limit
                && let Some(exporter) = exporter
            {
                late.push((name, exporter));
            }
        }
        for (lease, exporter) in late {
            let text = format!("{lease} waits although {exporter} is free");
            self.violation("served", text, &[&lease, &exporter]);
        }
    }

    /// A device is not free any more, whatever its exporter says.
    pub(super) fn free_no_more(&mut self, exporter: &str) {
        if let Some(facts) = self.exporters.get_mut(exporter) {
            facts.free_since = None;
            self.free.remove(exporter);
        }
    }
}
