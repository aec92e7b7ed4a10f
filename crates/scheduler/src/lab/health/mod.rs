//! Which exporters are quarantined, for how long, and when they are checked.
//!
//! Everything that decides is in the objects: the score and the quarantine in an exporter's status, what operators ask for
//! in its annotations. So a new core goes on where the last one was. Exporters with nothing of that are never looked at.

pub(crate) mod pool;
mod record;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::SignedDuration;
use jumpstarter_model::{ExporterPhase, Timestamp, condition::exporter as condition, lease_time::whole_second};

pub(crate) use record::{Kept, Record};

use self::{
    pool::{Pools, Seat, Standing},
    record::{ByHand, Check, Told},
};
use super::{
    Lab,
    exporter::{Bench, Usable},
    names::Name,
    times::later,
};
use crate::{
    Action, LiftCause, QuarantineCause,
    health::{NEVER_READY_AFTER, check_verdict, quarantined},
};

/// Time that a check has beyond the limit of hooks.
const CHECK_SLACK: SignedDuration = SignedDuration::from_mins(5);
/// Most characters of an exporter's name that are part of the name of its check.
const MAX_STEM: usize = 40;

/// What the lab knows of the health of its exporters beyond what is theirs.
#[derive(Debug, Default)]
pub(super) struct Health {
    pools: Pools,
    timers: BTreeSet<(Timestamp, Name)>,
    /// Leases of checks under way, by exporter.
    checking: BTreeMap<Name, Name>,
    /// Exporters whose check waits for others to end.
    held_up: BTreeSet<Name>,
}

impl Health {
    /// The next instant at which time alone changes something.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Number of entries.
    pub(super) fn entries(&self) -> usize {
        self.timers.len() + self.checking.len() + self.held_up.len()
    }
}

impl Bench {
    /// Whether it is kept back from those who take any exporter.
    pub(super) fn judge_quarantine(&self) -> bool {
        self.seen.health.as_ref().is_some_and(|record| record.kept(self.lapsed).is_some())
    }

    /// Until when it is kept back, if it is.
    pub(super) fn kept(&self) -> Option<Kept> {
        self.seen.health.as_ref()?.kept(self.lapsed)
    }
}

impl Lab {
    /// How many exporters that are in service otherwise are quarantined.
    pub fn quarantined(&self) -> usize {
        self.health.pools.quarantined()
    }

    /// The pool that an exporter with these labels belongs to.
    pub(super) fn pool_of(&self, labels: &BTreeMap<String, String>) -> Name {
        let value = self.config.quarantine.pool_label.as_ref().and_then(|label| labels.get(label));
        value.map_or("", String::as_str).into()
    }

    /// Counts an exporter where it belongs in its pool; also after it was removed.
    pub(super) fn seat(&mut self, name: &Name, from: Option<&Seat>) -> Option<Seat> {
        let to = self.exporters.get(name).filter(|bench| bench.seen.enabled).map(|bench| {
            let score = bench.seen.health.as_ref().map_or(0, |record| record.score);
            let standing = match score {
                _ if bench.quarantined => Standing::Quarantined,
                score if score >= self.config.quarantine.threshold => Standing::Bad(score),
                _ => Standing::InService,
            };
            Seat { pool: bench.pool.clone(), standing }
        });
        let others = self.health.pools.shift(name, from, to.as_ref(), &self.config.quarantine);
        self.marked.health.extend(others);
        to
    }

    /// Does what is due for the health of exporters.
    pub(super) fn check_health(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while let Some((at, name)) = self.health.timers.pop_first() {
            if at > now {
                self.health.timers.insert((at, name));
                break;
            }
            if let Some(bench) = self.exporters.get_mut(&name) {
                bench.health_wake = None;
            }
            self.marked.health.insert(name);
        }
        self.note_checks();
        while let Some(name) = self.marked.health.pop_first() {
            self.check_health_of(&name, now, actions);
        }
    }

    /// Notes which checks are under way among the exporters that are looked at.
    fn note_checks(&mut self) {
        let mut ended = false;
        for name in &self.marked.health {
            let check = self.exporters.get(name).and_then(|bench| bench.seen.health.as_ref()?.check.as_ref());
            let live = |check: &&Check| {
                let known = self.leases.contains_key(&check.lease) || self.open.has_lease(&check.lease);
                check.passed.is_none() && (known || check.ending)
            };
            if let Some(check) = check.filter(live) {
                self.health.checking.insert(name.clone(), check.lease.clone());
            } else {
                ended |= self.health.checking.remove(name).is_some();
            }
        }
        if ended {
            self.marked.health.append(&mut self.health.held_up);
        }
    }

    fn check_health_of(&mut self, name: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(bench) = self.exporters.get(name) else {
            self.health.held_up.remove(name);
            return;
        };
        let until = bench.seen.health.as_ref().and_then(|record| record.by_hand.as_ref()?.until);
        let lapsed = until.filter(|until| *until <= now);
        if bench.lapsed != lapsed {
            self.change_bench(name, |bench| bench.lapsed = lapsed);
            self.mark_exporter(name);
        }
        if let Some(action) = self.judge_health(name, now) {
            self.assume_health(name, &action, now);
            self.mark_exporter(name);
            actions.push(action);
        }
        self.marked.health.remove(name);
        self.set_health_timer(name, now);
    }

    /// What is to be written of an exporter now.
    fn judge_health(&mut self, name: &Name, now: Timestamp) -> Option<Action> {
        let bench = self.exporters.get(name)?;
        let record = bench.seen.health.as_deref()?;
        let config = &self.config.quarantine;
        let lift =
            |cause, score, heeded| Some(Action::LiftQuarantine { exporter: name.to_string(), cause, score, heeded });
        let quarantine =
            |cause, until, times| Some(Action::Quarantine { exporter: name.to_string(), cause, until, times });
        let anew = |cause, times| quarantine(cause, Some(whole_second(later(now, config.length(times)))), times);
        if let Some(heeded) = &record.lift {
            return lift(LiftCause::ByHand, Some(0), Some(heeded.clone()));
        }
        let checking = self.health.checking.contains_key(name);
        let passed = record.check.as_ref().and_then(|check| check.passed);
        let told = record.told.as_ref();
        let by_hand = record.by_hand(bench.lapsed);
        match record.automatic {
            Some(_) if passed == Some(true) => return lift(LiftCause::CheckPassed, Some(0), None),
            Some((_, times)) if passed == Some(false) => {
                return anew(QuarantineCause::Check, times.saturating_add(1));
            }
            _ => {}
        }
        if let Some(hand) = by_hand
            && !hand.is_told(told)
        {
            return quarantine(QuarantineCause::ByHand { why: hand.why.clone() }, hand.until, 0);
        }
        if checking {
            return None;
        }
        if let Some(asked) = record.ask.clone() {
            return self.begin_check(name, Some(asked), now);
        }
        let bad = record.score >= config.threshold && bench.seen.enabled && config.share > 0;
        match record.automatic {
            _ if by_hand.is_some() => None,
            // A check that told nothing is as good as none.
            Some((until, _)) if until <= now && (!config.checks || record.check.is_some()) => {
                lift(LiftCause::Over, Some(config.probation()), None)
            }
            Some((until, _)) if until <= now => self.begin_check(name, None, now),
            Some((until, times)) if !told.is_some_and(Told::is_automatic) => {
                quarantine(QuarantineCause::Failures, Some(until), times)
            }
            Some(_) => None,
            None if bad && bench.seat.as_ref().is_some_and(|seat| self.health.pools.admits(name, seat, config)) => {
                let cause = if passed == Some(false) { QuarantineCause::Check } else { QuarantineCause::Failures };
                anew(cause, config.next_in_row(record.last, now))
            }
            None if bad => (told != Some(&Told::Limited)).then(|| Action::HoldInService { exporter: name.to_string() }),
            None => match told {
                Some(Told::Quarantined { .. }) => lift(LiftCause::Over, None, None),
                Some(Told::Limited) if record.score < config.threshold => lift(LiftCause::Recovered, None, None),
                _ => None,
            },
        }
    }

    /// A lease that shows whether the exporter works, as soon as that is idle and not too many others are checked.
    fn begin_check(&mut self, name: &Name, asked: Option<String>, now: Timestamp) -> Option<Action> {
        self.exporters.get(name).filter(|bench| bench.usable == Usable::Free)?;
        let ends = later(now, self.config.hook_limit.saturating_add(CHECK_SLACK));
        let lease = check_name(name, asked.as_deref().unwrap_or_default(), now);
        if self.health.checking.len() >= self.config.quarantine.checks_at_once {
            self.health.held_up.insert(name.clone());
            return None;
        }
        self.health.held_up.remove(name);
        self.health.checking.insert(name.clone(), lease.as_str().into());
        Some(Action::Check { exporter: name.to_string(), lease, ends, heeded: asked })
    }

    /// What is said of a check that is over, `None` while it goes on.
    pub(super) fn check_result(&self, lease: &Name, exporter: &Name, now: Timestamp) -> Option<String> {
        let (entry, seen) = (self.leases.get(lease)?, &self.exporters.get(exporter)?.seen);
        if !self.is_wanted_check(lease, exporter) {
            return Some(format!("The check of the exporter {exporter} is over"));
        }
        match check_verdict(seen.phase, seen.online, entry.ready) {
            Some(true) => Some(format!("The check of the exporter {exporter} has passed")),
            Some(false) => Some(format!("The check of the exporter {exporter} has failed")),
            None if seen.phase == ExporterPhase::Available
                && entry.ready
                && later(entry.begin?, NEVER_READY_AFTER) <= now =>
            {
                Some(format!("The check of the exporter {exporter} is given up: its session does not begin"))
            }
            None => None,
        }
    }

    /// Whether the exporter is still to be judged by this lease.
    pub(super) fn is_wanted_check(&self, lease: &Name, exporter: &Name) -> bool {
        let record = self.exporters.get(exporter).and_then(|bench| bench.seen.health.as_deref());
        let check = record.and_then(|record| record.check.as_ref());
        check.is_some_and(|check| check.lease == *lease && check.passed.is_none())
    }

    /// When a check is given up of which nothing is heard, if that lies ahead.
    pub(super) fn check_given_up(begin: Timestamp, now: Timestamp) -> Option<Timestamp> {
        Some(later(begin, NEVER_READY_AFTER)).filter(|at| *at > now)
    }

    /// Takes an action for done, as its transition does it.
    fn assume_health(&mut self, name: &Name, action: &Action, now: Timestamp) {
        let Some(mut record) = self.exporters.get(name).and_then(|bench| bench.seen.health.clone()) else { return };
        match action {
            Action::Quarantine { cause, until, times, .. } => {
                let (reason, message) = quarantined(None, cause, *until);
                if let (false, Some(until)) = (matches!(cause, QuarantineCause::ByHand { .. }), until) {
                    record.automatic = Some((*until, *times));
                    record.check = None;
                }
                record.told = Some(Told::Quarantined { reason: reason.to_owned(), message });
            }
            Action::LiftQuarantine { cause, score, heeded, .. } => {
                if let Some((_, times)) = record.automatic.take() {
                    record.last = Some((whole_second(now), times));
                    record.check = None;
                }
                record.score = score.unwrap_or(record.score);
                if heeded.is_some() {
                    record.lift = None;
                }
                if *cause == LiftCause::ByHand {
                    record.last = None;
                }
                record.told = None;
            }
            Action::HoldInService { .. } => record.told = Some(Told::Limited),
            Action::Check { lease, heeded, .. } => {
                record.check = Some(Check { lease: lease.as_str().into(), passed: None, ending: false });
                if heeded.is_some() {
                    record.ask = None;
                }
            }
            _ => return,
        }
        self.change_bench(name, |bench| bench.seen.health = Some(record));
    }

    /// Sets or clears the one timer of an exporter's health.
    fn set_health_timer(&mut self, name: &Name, now: Timestamp) {
        let Some(bench) = self.exporters.get_mut(name) else { return };
        let record = bench.seen.health.as_deref();
        let automatic = record.and_then(|record| record.automatic).map(|(until, _)| until);
        let by_hand = record.and_then(|record| record.by_hand.as_ref()?.until);
        let at = automatic.into_iter().chain(by_hand).filter(|at| *at > now).min();
        let old = std::mem::replace(&mut bench.health_wake, at);
        self.move_health_timer(name, old, at);
    }

    pub(super) fn move_health_timer(&mut self, name: &Name, old: Option<Timestamp>, new: Option<Timestamp>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.health.timers.remove(&(old, name.clone()));
        }
        if let Some(new) = new {
            self.health.timers.insert((new, name.clone()));
        }
    }
}

impl ByHand {
    /// Whether people are told of it, in these words.
    fn is_told(&self, told: Option<&Told>) -> bool {
        let (reason, message) = quarantined(None, &QuarantineCause::ByHand { why: self.why.clone() }, self.until);
        told == Some(&Told::Quarantined { reason: reason.to_owned(), message })
    }
}

impl Told {
    /// Whether it is of an automatic quarantine.
    fn is_automatic(&self) -> bool {
        matches!(self, Self::Quarantined { reason, .. } if reason != condition::BY_HAND)
    }
}

/// A name that no other check of this exporter has.
fn check_name(name: &str, asked: &str, now: Timestamp) -> String {
    let stem = name[..name.floor_char_boundary(MAX_STEM)].trim_end_matches(['-', '.']);
    let seed = name.bytes().chain(now.as_nanosecond().to_be_bytes()).chain(asked.bytes());
    // FNV-1a.
    let hash =
        seed.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut lease = format!("check-{stem}-");
    _ = write!(lease, "{:010x}", hash >> 24);
    lease
}
