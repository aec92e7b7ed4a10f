//! Devices that fail are kept back, never too many of them, and come back.

use std::time::Duration;

use jumpstarter_model::{Exporter, Timestamp};
use jumpstarter_scheduler::transition::QUARANTINE;

use super::{Checker, ExporterFacts, LeaseFacts};

/// What was stored so recently may not have been seen yet.
const FRESH: Duration = Duration::from_secs(15);
/// Score from which on a device is kept back.
const THRESHOLD: i32 = 45;
/// Checks at the same time.
const CHECKS: usize = 4;
/// Calm seconds for which nothing may be done about an idle device whose quarantine is over.
const UNLIFTED: u32 = 60;

/// Why a device is kept back, if it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Until when the service itself keeps it back.
    automatic: Option<Timestamp>,
    /// Until when an operator does; the end of time where none is given.
    by_hand: Option<Timestamp>,
}

impl Kept {
    pub(super) fn of(exporter: &Exporter) -> Self {
        let health = exporter.status.as_ref().and_then(|status| status.health.as_ref());
        let automatic = health.and_then(|health| health.quarantine.as_ref());
        let note = exporter.metadata.annotations.as_ref().and_then(|notes| notes.get(QUARANTINE));
        Self {
            automatic: automatic.map(|it| it.until.as_ref().map_or(Timestamp::MIN, |until| until.0)),
            by_hand: note.filter(|note| !note.is_empty()).map(|note| note.parse().unwrap_or(Timestamp::MAX)),
        }
    }

    /// Whether it may be kept back.
    pub(super) fn maybe(&self) -> bool {
        self.automatic.is_some() || self.by_hand.is_some()
    }

    /// Whether it is kept back, whatever clock that shows no later date is right.
    fn surely(&self, latest: Timestamp) -> bool {
        self.automatic.is_some() || self.by_hand.is_some_and(|until| until > latest)
    }
}

impl Checker {
    /// What is known of an exporter's health was written.
    pub(super) fn health_written(&mut self, name: &str, before: &Kept, score: i32) {
        let at = self.at();
        let Some(facts) = self.exporters.get(name).filter(|facts| facts.kept != *before) else { return };
        self.log.note(at, format_args!("exporter {name}: kept back: {:?}", facts.kept));
        if facts.kept.automatic.is_none() || before.automatic.is_some() {
            return;
        }
        self.counts.quarantined += 1;
        if score < THRESHOLD {
            let text = format!("{name} is quarantined with a score of {score}");
            return self.violation("quarantined", text, &[name]);
        }
        // Of two leaders each knows only whom it keeps back itself.
        if self.services > 1 || self.is_replaced() {
            return;
        }
        let lately = |facts: &ExporterFacts| at < facts.altered + FRESH + self.slack();
        let latest = self.dates().1;
        let pool = self.exporters.values().filter(|facts| facts.enabled || lately(facts)).count();
        let kept = self
            .exporters
            .iter()
            .filter(|(other, facts)| *other == name || facts.enabled && !lately(facts) && facts.kept.surely(latest));
        let kept: Vec<&String> = kept.map(|(name, _)| name).collect();
        let share = usize::try_from(self.plan.faults.quarantine).unwrap_or(0);
        let most = if share == 0 || pool < 2 { 0 } else { (pool * share / 100).max(1) };
        if kept.len() > most {
            let text = format!("{name} is quarantined, which makes {kept:?}; of {pool} there may be {most}");
            self.violation("quarantined", text, &[name]);
        }
    }

    /// Whether a device is kept back from a lease for which it is claimed.
    pub(super) fn is_kept_back(&self, facts: &ExporterFacts, lease: &LeaseFacts) -> bool {
        let maintains = lease.pinned().is_some() && lease.spec.allow_disabled == Some(true);
        !maintains && facts.kept.surely(self.dates().1)
    }

    /// How many of the service's own leases go on.
    pub(crate) fn own_leases(&self) -> usize {
        self.live.iter().filter(|name| self.leases.get(*name).is_some_and(|lease| lease.own)).count()
    }

    /// Once a second: something is done about devices whose quarantine is over.
    pub(super) fn comes_back(&mut self) {
        if self.plan.faults.quarantine == 0 || !self.is_calm() || self.calendar.has_windows() {
            return;
        }
        let (at, earliest) = (self.at(), self.dates().0);
        let busy = self.own_leases() >= CHECKS;
        let limit = self.patience(UNLIFTED);
        let promised = |name: &str| self.calendar.is_particular(name);
        let kept = self.exporters.iter().filter(|(_, facts)| facts.kept.maybe());
        let kept: Vec<(String, bool)> = kept
            .map(|(name, facts)| {
                let over = facts.kept.automatic.is_some_and(|until| until < earliest) && facts.kept.by_hand.is_none();
                let idle = facts.online && facts.claim.is_none() && facts.holders.is_empty() && facts.is_idle();
                let well = facts.disturbed.is_none_or(|until| at > until + Duration::from_mins(6)) && !facts.lied;
                let well = well && facts.sessions.is_empty() && at > self.service_since + Duration::from_mins(6);
                (name.clone(), over && idle && well && !busy && !promised(name))
            })
            .collect();
        for (name, overdue) in kept {
            let Some(facts) = self.exporters.get_mut(&name) else { continue };
            facts.unlifted = if overdue { facts.unlifted + 1 } else { 0 };
            if facts.unlifted > limit {
                self.violation("quarantined", format!("{name} stays kept back, and nobody looks at it"), &[&name]);
            }
        }
    }
}
