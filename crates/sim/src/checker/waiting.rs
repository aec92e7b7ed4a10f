//! Whoever waits and could be served is served.

use std::time::Duration;

use super::Checker;

/// Calm seconds for which a lease may wait although a device that it asks for is free and its exporter well.
const SERVED: u32 = 30;
/// The same when the service may believe that the exporter has a session to tear down: its limit for those that say
/// nothing, and some time.
const SERVED_AT_LAST: u32 = 420;

impl Checker {
    /// Counts the calm seconds for which leases wait without need.
    pub(super) fn waits_no_longer(&mut self) {
        if !self.is_calm() {
            return;
        }
        let (at, dates) = (self.at(), self.dates());
        let free: Vec<(String, bool)> = self
            .exporters
            .iter()
            .filter(|(_, facts)| facts.free_since.is_some_and(|since| at > since + Duration::from_secs(2)))
            .map(|(name, facts)| {
                let undisturbed = facts.disturbed.is_none_or(|until| at > until + Duration::from_mins(6));
                let well = undisturbed && !facts.lied && facts.sessions.is_empty();
                (name.clone(), well && at > self.service_since + Duration::from_mins(6))
            })
            .collect();
        let (mut late, served) = (Vec::new(), self.patience(SERVED));
        let mut waits = Vec::new();
        for (name, lease) in self.leases.iter().filter(|(_, lease)| lease.waits(dates)) {
            let could = free.iter().filter(|(exporter, _)| {
                self.exporters.get(exporter).is_some_and(|facts| lease.wants(exporter, facts))
                    && self.priority(&lease.client, exporter).is_some()
            });
            let (mut any, mut well) = (None, false);
            for (exporter, is_well) in could {
                any = Some(exporter.clone());
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
        }
    }
}
