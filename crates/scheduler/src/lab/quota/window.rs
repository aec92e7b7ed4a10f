//! Device time within a sliding period.
//!
//! A lease counts from its begin to its end, one that runs to the end that it may have: so what is granted never exceeds
//! a cap later. Seen from later on, less of the past counts and nothing more comes in: what is used only falls until
//! somebody gets another device.

use std::collections::BTreeSet;

use super::super::names::Name;

/// Nanoseconds since the epoch, or of a span; sums of spans need more than 64 bits.
pub(in crate::lab) type Nanos = i128;

/// Turns of a sweep after which it is broken off: whoever relies on it asks again then.
const MAX_TURNS: usize = 10_000;

/// When the leases of an account held their devices.
#[derive(Debug, Default)]
pub(super) struct Window {
    by_begin: BTreeSet<(Nanos, Nanos, Name)>,
    by_end: BTreeSet<(Nanos, Nanos, Name)>,
    total: Nanos,
}

impl Window {
    pub(super) fn insert(&mut self, begin: Nanos, end: Nanos, lease: &Name) {
        let end = end.max(begin);
        if self.by_begin.insert((begin, end, lease.clone())) {
            self.by_end.insert((end, begin, lease.clone()));
            self.total += end - begin;
        }
    }

    pub(super) fn remove(&mut self, begin: Nanos, end: Nanos, lease: &Name) {
        let end = end.max(begin);
        if self.by_begin.remove(&(begin, end, lease.clone())) {
            self.by_end.remove(&(end, begin, lease.clone()));
            self.total -= end - begin;
        }
    }

    /// Begins of leases, in ascending order.
    pub(super) fn begins(&self) -> impl DoubleEndedIterator<Item = Nanos> {
        self.by_begin.iter().map(|(begin, ..)| *begin)
    }

    /// Their ends, in ascending order.
    pub(super) fn ends(&self) -> impl DoubleEndedIterator<Item = Nanos> {
        self.by_end.iter().map(|(end, ..)| *end)
    }

    /// Forgets what was over by `from`.
    pub(super) fn forget(&mut self, from: Nanos) {
        while let Some((end, begin, lease)) = self.by_end.pop_first() {
            if end > from {
                self.by_end.insert((end, begin, lease));
                return;
            }
            self.total -= end - begin;
            self.by_begin.remove(&(begin, end, lease));
        }
    }

    /// Device time after `from`.
    pub(super) fn used(&self, from: Nanos) -> Nanos {
        let early = self.by_begin.iter().take_while(|(begin, ..)| *begin < from);
        self.total - early.map(|(begin, end, _)| from.min(*end) - begin).sum::<Nanos>()
    }

    /// The first instant, from `from` on, after which no more than `allowed` of device time lies; what is allowed may grow
    /// as time passes. `None` when there is none.
    pub(super) fn falls_to(&self, from: Nanos, mut allowed: Nanos, grows: bool) -> Option<Nanos> {
        let (mut at, mut used) = (from, self.used(from));
        let started = self.by_begin.iter().take_while(|(begin, ..)| *begin <= from);
        let mut active = Nanos::try_from(started.filter(|(_, end, _)| *end > from).count()).unwrap_or(Nanos::MAX);
        let mut begins = self.by_begin.iter().map(|(begin, ..)| *begin).skip_while(|begin| *begin <= from).peekable();
        let mut ends = self.by_end.iter().map(|(end, ..)| *end).skip_while(|end| *end <= from).peekable();
        let gain = Nanos::from(grows);
        for _ in 0..MAX_TURNS {
            if used <= allowed {
                return Some(at);
            }
            let slope = active + gain;
            let next = begins.peek().into_iter().chain(ends.peek()).min().copied();
            if slope > 0 {
                let reached = at + (used - allowed + slope - 1) / slope;
                if next.is_none_or(|next| reached <= next) {
                    return Some(reached);
                }
            }
            let next = next?;
            used -= active * (next - at);
            allowed += gain * (next - at);
            at = next;
            while begins.next_if(|begin| *begin == at).is_some() {
                active += 1;
            }
            while ends.next_if(|end| *end == at).is_some() {
                active -= 1;
            }
        }
        Some(at)
    }
}
