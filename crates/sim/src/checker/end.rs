//! No lease ends early, late, or because of somebody who has no say in it.

use std::time::Duration;

use jiff::SignedDuration;
use jumpstarter_model::{Lease, condition::find};

use super::{Checker, LeaseFacts};

/// Calm seconds by which the end of a lease may be late: time for a write that fails to be tried again.
const LATE: u32 = 15;

/// Time in which an exporter's word that it leaves arrives and is acted upon.
const GOODBYE: Duration = Duration::from_mins(1);

impl Checker {
    /// A lease was written; was it its end, and why?
    pub(super) fn ended(&mut self, name: &str, old: Option<&LeaseFacts>, lease: &Lease) {
        let Some(new) = self.leases.get(name) else { return };
        if !new.ended || old.is_some_and(|old| old.ended) {
            return;
        }
        let new = new.clone();
        self.counts.ended += 1;
        let conditions = lease.status.as_ref().map_or(&[][..], |status| &status.conditions[..]);
        let reason = find(conditions, "Ready").map(|ready| ready.reason.clone()).unwrap_or_default();
        if new.refused {
            let refused = |kind: &str| find(conditions, kind).filter(|found| found.status == "True");
            let why = refused("Unsatisfiable").or_else(|| refused("Invalid"));
            let why = why.map(|found| found.reason.clone()).unwrap_or_default();
            return match why.as_str() {
                "ReservationConflict" => self.its_time_is_taken(name, &new),
                _ if new.group.is_some() => self.group_refused_rightly(name, &new, &why),
                _ => self.refused_rightly(name, &new),
            };
        }
        self.followed(name, &new, reason == "Preempted");
        match reason.as_str() {
            "Expired" => self.expired_in_time(name, &new),
            "Released" => {
                let someone = self.asked.releases.get(name).is_some_and(|who| {
                    who.iter().any(|who| {
                        *who == new.client || *who == "by hand" || Some(who.as_str()) == new.exporter.as_deref()
                    })
                });
                let leaves = new.exporter.as_ref().and_then(|exporter| self.exporters.get(exporter)?.left);
                let left = leaves.is_some_and(|since| self.at() <= since + GOODBYE);
                if !someone && !left && !new.own && !self.may_end_with_its_group(name, &new) {
                    let text = format!("{name} was ended, and nobody who may has asked for it");
                    self.violation("ended-by-right", text, &[name]);
                }
            }
            "Preempted" => self.preempted(name, &new, old),
            other => self.violation("ended-by-right", format!("{name} ended for the reason `{other}`"), &[name]),
        }
    }

    fn expired_in_time(&mut self, name: &str, lease: &LeaseFacts) {
        let ended = lease.end.unwrap_or_default();
        let due = lease.due().or_else(|| lease.spec.end_time.as_ref().map(|end| end.0));
        let Some(due) = due else { return };
        // Objects keep whole seconds.
        if ended < due - SignedDuration::from_secs(1) {
            let text = format!("{name} was to end at {due} and ended at {ended}");
            return self.violation("not-early", text, &[name]);
        }
        let skew = SignedDuration::from_millis(self.clocks.1 - self.clocks.0 + 1_000);
        let now = self.time.now();
        if now < due - skew {
            let text = format!("{name} was to end at {due} and ended at {now}, which its service took for {ended}");
            self.violation("not-early", text, &[name]);
        }
    }

    fn refused_rightly(&mut self, name: &str, lease: &LeaseFacts) {
        let calm = self.is_calm();
        let could = self
            .exporters
            .iter()
            .find(|(exporter, facts)| lease.wants(exporter, facts) && self.grant(lease, exporter).is_some());
        // Somebody may have enabled an exporter this very moment.
        if calm
            && self.plan.faults.edits == 0
            && let Some((exporter, _)) = could
        {
            let text = format!("{name} was refused, although {exporter} could serve it");
            self.violation("refused-rightly", text, &[name]);
        }
    }

    /// Counts the calm seconds for which ends are due.
    pub(super) fn ends_in_time(&mut self) {
        if !self.is_calm() {
            return;
        }
        let now = self.time.now();
        let skew = SignedDuration::from_millis((self.clocks.1 - self.clocks.0) + 1_000);
        let grace = SignedDuration::from_secs(i64::try_from(self.plan.faults.grace).unwrap_or(0));
        let (mut late, patience) = (Vec::new(), self.patience(LATE));
        for name in &self.live {
            let Some(lease) = self.leases.get_mut(name) else { continue };
            let due = lease.due().or_else(|| lease.spec.end_time.as_ref().map(|end| end.0));
            // Whoever was told to make way does so in time, or is told that it need not.
            let due = lease.notice.map_or(due, |told| Some(due.map_or(told + grace, |due| due.min(told + grace))));
            let over = due.is_some_and(|due| now > due + skew);
            lease.overdue = if over || lease.release { lease.overdue + 1 } else { 0 };
            if lease.overdue > patience {
                late.push((name.clone(), due));
            }
        }
        for (name, due) in late {
            self.violation("not-late", format!("{name} was to end at {due:?} and has not"), &[&name]);
        }
    }
}
