//! The lab after closing time: nothing is left behind.

use jumpstarter_model::ExporterPhase;

use super::Checker;

impl Checker {
    /// Looks through a lab in which nobody has wanted anything for a long time, and nothing was wrong.
    pub(crate) fn after_hours(&mut self) {
        let mut left = Vec::new();
        for (name, lease) in &self.leases {
            if !lease.ended {
                left.push((name.clone(), format!("lease {name} {} on {:?}", lease.word(), lease.exporter)));
            }
        }
        for (name, facts) in &self.exporters {
            let idle = matches!(facts.phase, ExporterPhase::Available | ExporterPhase::Unspecified);
            if facts.claim.is_some() || !facts.holders.is_empty() {
                left.push((name.clone(), format!("exporter {name} claimed for {:?}", facts.claim)));
            }
            // Who lied is believed.
            // The goodbye of a process, which a leader that was replaced wrote down after the next one had registered.
            let unregistered = self.plan.faults.rivals > 0 && !facts.registered;
            if !facts.lied && !unregistered && (!facts.online || !idle) {
                let link = if facts.online { "online" } else { "offline" };
                left.push((name.clone(), format!("exporter {name} is {link} and {:?}", facts.phase)));
            }
            if let Some(session) = facts.sessions.values().next() {
                left.push((name.clone(), format!("exporter {name} has a session of {}", session.lease)));
            }
        }
        for (name, text) in left {
            self.violation("nothing-left", text, &[&name]);
        }
    }
}
