//! How much of their time leases use, learned from those that ended.

use std::collections::BTreeMap;

use jumpstarter_model::{Lease, Timestamp, lease_time::planned_end};

use crate::lab::names::Name;

/// Ended leases kept: the latest ones.
const KEPT: usize = 512;
/// With fewer than these nothing is said.
const ENOUGH: usize = 20;

/// Share of the planned time that was used, in thousandths.
type Share = u16;
const WHOLE: Share = 1000;

/// The ended leases of late.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By end and name, so that a lease that is told of again counts once.
    ended: BTreeMap<(Timestamp, Name), Share>,
}

impl History {
    /// Takes note of an ended lease. One that never began teaches nothing.
    pub(crate) fn note(&mut self, name: &Name, lease: &Lease) {
        let Some(status) = &lease.status else { return };
        let (Some(begin), Some(end)) = (&status.begin_time, &status.end_time) else { return };
        let planned = seconds(begin.0, planned_end(&lease.spec, begin.0));
        if status.exporter_ref.is_none() || planned <= 0 {
            return;
        }
        let used = seconds(begin.0, end.0).clamp(0, planned);
        let share = Share::try_from(used.saturating_mul(i64::from(WHOLE)) / planned).unwrap_or(WHOLE);
        self.ended.insert((end.0, name.clone()), share);
        if self.ended.len() > KEPT {
            self.ended.pop_first();
        }
    }

    /// What it teaches, prepared for many questions.
    pub(crate) fn usage(&self) -> Usage {
        let mut shares = self.ended.values().copied().collect::<Vec<_>>();
        if shares.len() < ENOUGH {
            shares.clear();
        }
        shares.sort_unstable();
        Usage { shares }
    }
}

/// How long leases are taken to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As the quickest tenth.
    Early,
    /// As the middle one.
    Likely,
    /// As long as they may.
    Declared,
}

/// Shares in ascending order; empty when there are not enough of them.
#[derive(Debug)]
pub(crate) struct Usage {
    shares: Vec<Share>,
}

impl Usage {
    pub(crate) fn learned_from(&self) -> usize {
        self.shares.len()
    }

    /// Seconds that a lease of `planned` seconds lasts in all, of which `elapsed` are over.
    pub(crate) fn lasts(&self, pace: Pace, planned: i64, elapsed: i64) -> i64 {
        let (planned, elapsed) = (planned.max(0), elapsed.max(0));
        if elapsed >= planned {
            return elapsed;
        }
        let over = Share::try_from(elapsed.saturating_mul(i64::from(WHOLE)) / planned).unwrap_or(WHOLE);
        // Only those that lasted longer than this one has are like it.
        let longer = &self.shares[self.shares.partition_point(|share| *share <= over)..];
        let share = match (pace, longer.len()) {
            (Pace::Early, 0) if self.shares.is_empty() => 0,
            (Pace::Declared, _) | (Pace::Early | Pace::Likely, 0) => WHOLE,
            (Pace::Early, count) => longer[count / 10],
            (Pace::Likely, count) => longer[count / 2],
        };
        (planned.saturating_mul(i64::from(share)) / i64::from(WHOLE)).max(elapsed)
    }
}

/// Whole seconds from one instant to another.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second().saturating_sub(from.as_second())
}
