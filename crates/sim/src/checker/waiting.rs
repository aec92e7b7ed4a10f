//! Whoever waits and could be served is served.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

use super::{Checker, ExporterFacts, LeaseFacts};

/// Calm seconds for which a lease may wait although a device that it asks for is free and its exporter well.
const SERVED: u32 = 30;
/// The same when the service may believe that the exporter has a session to tear down: its limit for those that say
/// nothing, and some time.
const SERVED_AT_LAST: u32 = 420;

/// Time for news of a promise to arrive, and in which one that is kept or void may still be taken to stand.
const PROMISED: Duration = Duration::from_secs(10);
/// The same for its begin.
const LAG: SignedDuration = SignedDuration::from_secs(60);

/// Free exporters. Those that differ in nothing that a lease could ask for are looked at once.
#[derive(Default)]
struct Free<'a> {
    by_name: BTreeMap<&'a str, bool>,
    /// The last of each kind, and whether one of them is well.
    kinds: BTreeMap<usize, (&'a str, bool)>,
}

impl<'a> Free<'a> {
    fn add(&mut self, name: &'a str, facts: &'a ExporterFacts, well: bool) {
        self.by_name.insert(name, well);
        let kind = self.kinds.entry(facts.kind).or_insert((name, well));
        *kind = (name, kind.1 || well);
    }

    /// Whatever this lease could have, and whether it is well.
    fn for_lease<'b>(&'b self, lease: &LeaseFacts) -> Box<dyn Iterator<Item = (&'a str, bool)> + 'b> {
        match lease.pinned() {
            Some(name) => Box::new(self.by_name.get_key_value(name).map(|(name, well)| (*name, *well)).into_iter()),
            None => Box::new(self.kinds.values().copied()),
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
                free.add(name, facts, well && at > self.service_since + Duration::from_mins(6));
            }
        }
        let (mut late, served) = (Vec::new(), self.patience(SERVED));
        let mut waits = Vec::new();
        for name in &self.waiting {
            let Some(lease) = self.leases.get(name).filter(|lease| lease.waits(dates)) else { continue };
            let kept = self.is_kept(lease) || self.may_be_in_the_way(lease);
            let could = |exporter: &str| {
                self.exporters.get(exporter).is_some_and(|facts| lease.wants(exporter, facts))
                    && self.grant(lease, exporter).is_some()
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

    /// Whether somebody has a device promised for a time at which this lease would still hold it.
    pub(super) fn may_be_in_the_way(&self, lease: &LeaseFacts) -> bool {
        let (at, latest) = (self.at(), self.dates().1);
        let asked = lease.spec.duration.unwrap_or_default().to_signed();
        let lately = |since: Option<Duration>| since.is_none_or(|since| at < since + PROMISED);
        self.scheduled.iter().filter_map(|name| self.leases.get(name)).any(|other| {
            let begin = other.spec.begin_time.as_ref().map(|begin| begin.0);
            begin.is_some_and(|begin| begin < latest + asked + LAG)
                && other.created != lease.created
                && lately(other.granted)
                && lately(other.over)
        })
    }

    /// A device is not free any more, whatever its exporter says.
    pub(super) fn free_no_more(&mut self, exporter: &str) {
        if let Some(facts) = self.exporters.get_mut(exporter) {
            facts.free_since = None;
            self.free.remove(exporter);
        }
    }
}
