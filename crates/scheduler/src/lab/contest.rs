//! Who holds an exporter as spot and has to make way.
//!
//! Leases wait that have full access to exporters that others hold as spot. Some of them are provided for: an exporter
//! that they may have is on its way back from an earlier lease, is let go within the grace anyway, or is already being
//! vacated. For every other one of them a holder of spot makes way, as long as there is one that helps: a
//! [`Round`](round::Round) finds out which.
//!
//! Nothing of this is remembered between decisions except the notices, and those are in the objects: what was decided
//! once is decided again the same way, by a new core too, until something happens. Time alone changes nothing before a
//! notice is due, since whatever comes within the grace later on comes later than what was decided for.

mod round;

use jumpstarter_model::{Timestamp, lease_time::whole_second};

use super::{
    Lab,
    names::Name,
    times::later,
    want::{Want, WantId},
};
use crate::Action;

/// What is to be done about holders of spot.
#[derive(Debug, Default)]
struct Verdict {
    /// Told to make way, and needed.
    kept: Vec<Name>,
    /// Told to make way, and not needed after all.
    spared: Vec<Name>,
    /// Not told yet, and needed; in the order in which they were chosen.
    chosen: Vec<Name>,
}

impl Lab {
    /// Has holders of spot make way for leases that would wait otherwise, and spares those that need not. Returns
    /// whether an exporter was let go.
    pub(super) fn settle_contest(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        for id in std::mem::take(&mut self.marked.demand) {
            if self.wants.get(&id).is_some_and(|want| self.has_demand(want, now)) {
                self.demand.insert(id);
            } else {
                self.demand.remove(&id);
            }
        }
        let changed = std::mem::take(&mut self.marked.contest);
        if !changed || (self.demand.is_empty() && self.noticed.is_empty()) {
            return false;
        }
        let Verdict { kept, spared, chosen } = round::Round::gather(self, now).judge();
        for lease in spared {
            self.spare(&lease, now, actions);
        }
        let mut freed = false;
        for lease in &kept {
            let notice = self.leases.get(lease).and_then(|entry| entry.notice);
            if notice.is_some_and(|notice| later(notice, self.config.preemption_grace) <= now) {
                self.preempt(lease, actions);
                freed = true;
            }
        }
        for lease in &chosen {
            // As it is stored.
            let told = whole_second(now);
            if later(told, self.config.preemption_grace) <= now {
                self.preempt(lease, actions);
                freed = true;
            } else {
                self.give_notice(lease, told, now, actions);
            }
        }
        // What was done here is no news.
        self.marked.contest = freed;
        freed
    }

    /// Whether anybody waits here with full access to an exporter that is held as spot.
    fn has_demand(&self, want: &Want, now: Timestamp) -> bool {
        want.spots().any(|(scope, _)| {
            want.kinds.keys().any(|(client, span)| self.book.has_full_access(scope, client, span.requested(now)))
        })
    }

    fn give_notice(&mut self, name: &Name, told: Timestamp, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(entry) = self.leases.get_mut(name) else { return };
        let Some(exporter) = entry.exporter.clone() else { return };
        entry.notice = Some(told);
        let ends = later(told, self.config.preemption_grace);
        self.noticed.insert(name.clone());
        self.set_holders_timer(name, now);
        self.refresh(&exporter);
        actions.push(Action::GiveNotice { lease: name.to_string(), exporter: exporter.to_string(), ends });
    }

    fn spare(&mut self, name: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        self.noticed.remove(name);
        let Some(entry) = self.leases.get_mut(name) else { return };
        let Some(exporter) = entry.exporter.clone() else { return };
        entry.notice = None;
        self.set_holders_timer(name, now);
        self.refresh(&exporter);
        actions.push(Action::WithdrawNotice { lease: name.to_string(), exporter: exporter.to_string() });
    }

    /// Wants of an exporter that somebody waits for and that could use it.
    fn contenders(&self, exporter: &Name) -> impl Iterator<Item = WantId> {
        let bench = self.exporters.get(exporter);
        let wants = bench.into_iter().flat_map(|bench| bench.wants.iter().map(move |id| (bench, *id)));
        wants.filter_map(|(bench, id)| {
            let want = self.wants.get(&id)?;
            (!want.kinds.is_empty() && want.takes(bench)).then_some(id)
        })
    }
}
