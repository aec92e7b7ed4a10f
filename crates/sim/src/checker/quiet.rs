//! The lab after closing time: nothing is left behind.

use super::Checker;

impl Checker {
    /// Looks through a lab in which nobody has wanted anything for a long time, and nothing was wrong.
    pub(crate) fn after_hours(&mut self) {
        let mut left = Vec::new();
        // The service goes on to check devices that fail.
        for (name, lease) in &self.leases {
            if !lease.ended && !lease.own {
                left.push((name.clone(), format!("lease {name} {} on {:?}", lease.word(), lease.exporter)));
            }
        }
        for (name, facts) in &self.exporters {
            let checked = facts.claim.as_ref().and_then(|lease| self.leases.get(lease)).is_some_and(|lease| lease.own);
            if checked {
                continue;
            }
            let idle = facts.is_idle();
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
