//! What one account of one quota uses, and who waits on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included, Unbounded},
};

use jumpstarter_model::{GoDuration, Timestamp};

use super::{
    super::{
        names::Name,
        times::Span,
        want::{Kind, WantId},
    },
    outlook::Curve,
    record::Record,
    rule::Rule,
    share::{Decay, Usage},
    window::{Nanos, Window},
};

/// Leases of one want that quotas and policies cannot tell apart.
pub(crate) type Queue = (WantId, Kind);

/// One account.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Leases that hold its devices.
    pub(super) holders: BTreeSet<Name>,
    /// Leases that are counted, those that ended too.
    records: usize,
    window: Window,
    usage: Usage,
    /// Leases that wait.
    pub(super) waiting: usize,
    /// Who waits, by the time that they ask for, and those whose time shrinks as they wait.
    fixed: BTreeMap<GoDuration, BTreeSet<Queue>>,
    shrinking: BTreeSet<Queue>,
    /// When somebody who waits comes within the cap of device time.
    pub(super) wake: Option<Timestamp>,
}

/// What an account may still take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) devices: usize,
    pub(crate) time: Nanos,
}

impl Room {
    /// Whether a lease that asks for so long fits in.
    pub(crate) fn fits(self, requested: GoDuration) -> bool {
        self.devices > 0 && self.time >= Nanos::from(requested.as_nanos())
    }

    /// Device time for one lease more; `None` where no device is left for it.
    pub(crate) fn time_for_one(self) -> Option<Nanos> {
        (self.devices > 0).then_some(self.time)
    }

    /// What is left after such a lease.
    #[must_use]
    pub(crate) fn after(self, requested: GoDuration) -> Self {
        let devices = if self.devices == usize::MAX { usize::MAX } else { self.devices.saturating_sub(1) };
        let time = if self.time == Nanos::MAX { self.time } else { self.time - Nanos::from(requested.as_nanos()) };
        Self { devices, time }
    }
}

impl Account {
    /// Counts a lease in, or out with `sign` -1.
    pub(super) fn count(&mut self, rule: &Rule, decay: &Decay, name: &Name, record: &Record, sign: i128) {
        self.records = if sign > 0 { self.records + 1 } else { self.records.saturating_sub(1) };
        if record.runs && sign > 0 {
            self.holders.insert(name.clone());
        } else if record.runs {
            self.holders.remove(name);
        }
        if rule.time.is_some() {
            let (begin, end) = (record.begin.as_nanosecond(), record.end.as_nanosecond());
            if sign > 0 { self.window.insert(begin, end, name) } else { self.window.remove(begin, end, name) }
        }
        if rule.weight.is_some() {
            self.usage.count(decay, record.begin, (!record.runs).then_some(record.end), sign);
        }
    }

    /// What it may still take.
    pub(super) fn room(&self, rule: &Rule, now: Timestamp) -> Room {
        let devices = rule.devices.map_or(usize::MAX, |most| most.saturating_sub(self.holders.len()));
        let time =
            rule.time.map_or(Nanos::MAX, |cap| Nanos::from(cap.most.as_nanos()) - self.window.used(start(rule, now)));
        Room { devices, time }
    }

    /// Device time used in the period, and promised.
    pub(super) fn used(&self, rule: &Rule, now: Timestamp) -> GoDuration {
        GoDuration::from_nanos(i64::try_from(self.window.used(start(rule, now))).unwrap_or(i64::MAX))
    }

    /// Its fading use.
    pub(super) fn amount(&self, decay: &Decay) -> i128 {
        self.usage.amount(decay)
    }

    /// Its fading use, for its weight.
    pub(super) fn share(&self, rule: &Rule, decay: &Decay) -> i128 {
        self.amount(decay) / rule.weight.unwrap_or(1)
    }

    /// Notes that somebody waits here, or that nobody does any more.
    pub(super) fn set_queue(&mut self, queue: &Queue, waits: bool) {
        match queue.1.1 {
            Span::Until(_) if waits => _ = self.shrinking.insert(queue.clone()),
            Span::Until(_) => _ = self.shrinking.remove(queue),
            Span::Fixed(time) | Span::Between(time, _) if waits => {
                _ = self.fixed.entry(time).or_default().insert(queue.clone());
            }
            Span::Fixed(time) | Span::Between(time, _) => {
                if let Some(queues) = self.fixed.get_mut(&time) {
                    queues.remove(queue);
                    if queues.is_empty() {
                        self.fixed.remove(&time);
                    }
                }
            }
        }
    }

    /// Who fits in now and did not with so much room.
    pub(super) fn lifted(&self, before: Room, now: Room) -> Vec<Queue> {
        if now.devices == 0 {
            return Vec::new();
        }
        let had = if before.devices == 0 { Nanos::MIN } else { before.time };
        self.between(had, now.time).chain(self.shrinking.iter().filter(|_| now != before)).cloned().collect()
    }

    /// Who does not fit in now, and perhaps did with so much room.
    pub(super) fn shut_out(&self, before: Room, now: Room) -> Vec<Queue> {
        if now == before {
            return Vec::new();
        }
        let rest = if now.devices == 0 { Nanos::MIN } else { now.time };
        self.between(rest, Nanos::MAX).chain(&self.shrinking).cloned().collect()
    }

    /// Those who ask for more than the one and no more than the other.
    fn between(&self, more: Nanos, most: Nanos) -> impl Iterator<Item = &Queue> {
        let bound = |time: Nanos| {
            GoDuration::from_nanos(i64::try_from(time).unwrap_or(if time < 0 { i64::MIN } else { i64::MAX }))
        };
        let low = if more < Nanos::from(i64::MIN) { Unbounded } else { Excluded(bound(more)) };
        let range = (more < most).then(|| self.fixed.range((low, Included(bound(most.max(more))))));
        range.into_iter().flatten().flat_map(|(_, queues)| queues)
    }

    /// When somebody who waits fits in although nobody lets go, unless devices are what is short.
    pub(super) fn wakes(&self, rule: &Rule, now: Timestamp) -> Option<Timestamp> {
        rule.time?;
        let room = self.room(rule, now).time;
        let first = self.between(room, Nanos::MAX).next().map(|queue| queue.1.1);
        let spans = first.into_iter().chain(self.shrinking.iter().map(|queue| queue.1.1));
        spans.filter_map(|span| self.fits_from(rule, span, now)).filter(|at| *at > now).min()
    }

    /// When a lease of that length fits into the cap of device time at the latest.
    pub(super) fn fits_from(&self, rule: &Rule, span: Span, now: Timestamp) -> Option<Timestamp> {
        let cap = rule.time?;
        let most = Nanos::from(cap.most.as_nanos());
        let requested = span.requested(now);
        let shrinks = matches!(span, Span::Until(_));
        if !shrinks && requested > cap.most {
            return None;
        }
        let allowed = most - Nanos::from(requested.as_nanos());
        let at = self.window.falls_to(start(rule, now), allowed, shrinks)? + Nanos::from(cap.period.as_nanos());
        // Leases begin and end with a second; so a core that asks later comes to the same.
        let second = Nanos::from(1_000_000_000_i64);
        let at = at.div_euclid(second) + Nanos::from(at.rem_euclid(second) > 0);
        Timestamp::from_second(i64::try_from(at).ok()?).ok()
    }

    /// Forgets what no period reaches any more.
    pub(super) fn tidy(&mut self, rule: &Rule, now: Timestamp) {
        if rule.time.is_some() {
            self.window.forget(start(rule, now));
        }
    }

    /// Whether nothing is known of it.
    pub(super) fn is_idle(&self) -> bool {
        let waits = self.waiting > 0 || !self.fixed.is_empty() || !self.shrinking.is_empty();
        self.records == 0 && !waits && self.wake.is_none()
    }

    /// Who waits here.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.fixed.values().flatten().chain(&self.shrinking)
    }

    /// Its device time from any instant on.
    pub(super) fn curve(&self) -> Curve {
        Curve::new(self.window.begins(), self.window.ends())
    }
}

/// Begin of the period that ends now.
fn start(rule: &Rule, now: Timestamp) -> Nanos {
    now.as_nanosecond() - rule.period().as_nanos()
}
