//! Nobody has more than quotas allow.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

use super::{Checker, LeaseFacts};
use crate::quotas::{self, PERIOD, TIME, TIMED_POOL};

/// What was at its cap so recently may be taken to be there still, or already.
const FRESH: Duration = Duration::from_secs(10);
/// Time for what ends at the same moment to be written down.
const WRITTEN: Duration = Duration::from_secs(10);

/// What teams hold.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Devices by team, and when it was at its cap last.
    held: BTreeMap<String, (usize, Option<Duration>)>,
    /// Leases that have got a device, and when.
    grants: Vec<(Duration, String)>,
    /// Leases that are stored, by client.
    own: BTreeMap<String, BTreeSet<String>>,
    /// How many leases of a team wait.
    waiting: BTreeMap<String, usize>,
}

impl Accounts {
    /// A team has one device more, or less.
    pub(super) fn count(&mut self, team: Option<&String>, step: isize) {
        let (held, _) = self.held.entry(team.cloned().unwrap_or_default()).or_default();
        *held = held.saturating_add_signed(step);
    }

    /// A lease of this client is stored, or gone.
    pub(super) fn owns(&mut self, client: &str, lease: &str, stored: bool) {
        if stored {
            self.own.entry(client.to_owned()).or_default().insert(lease.to_owned());
        } else if let Some(own) = self.own.get_mut(client) {
            own.remove(lease);
        }
    }

    /// One more lease of a team waits, or one less.
    pub(super) fn waits(&mut self, team: Option<&String>, more: bool) {
        let count = self.waiting.entry(team.cloned().unwrap_or_default()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
    }
}

impl Checker {
    /// A lease holds a device now that did not, or the other way round.
    pub(super) fn account(&mut self, name: &str, held: bool, holds: bool) {
        let Some(most) = quotas::devices(&self.plan) else { return };
        let Some(team) = self.leases.get(name).and_then(|lease| self.teams.get(&lease.client)).cloned() else { return };
        let at = self.at();
        let full = |entry: &mut (usize, Option<Duration>)| {
            if entry.0 >= most {
                entry.1 = Some(at);
            }
        };
        self.accounts.held.entry(team.clone()).and_modify(full);
        self.accounts.count(Some(&team), isize::from(holds) - isize::from(held));
        self.accounts.held.entry(team).and_modify(full);
    }

    /// A lease has got a device: its team has no more than it may have, and neither has its client once what ends is
    /// written, too.
    pub(super) fn within_caps(&mut self, name: &str) {
        if self.plan.faults.quotas && self.is_calm() && !self.is_replaced() {
            self.has_devices(name);
            self.accounts.grants.push((self.at(), name.to_owned()));
        }
    }

    /// With this lease its team has no more devices than it may have.
    fn has_devices(&mut self, name: &str) {
        let Some(most) = quotas::devices(&self.plan) else { return };
        let Some(team) = self.leases.get(name).and_then(|lease| self.teams.get(&lease.client)) else { return };
        let held = self.accounts.held.get(team).map_or(0, |(held, _)| *held);
        if held > most {
            let text = format!("with {name} team {team} has {held} devices, and may have {most}");
            self.violation("capped", text, &[name]);
        }
    }

    /// Once a second: adds up the device time of those who were given something a while ago.
    pub(super) fn keeps_caps(&mut self) {
        let at = self.at();
        let (due, rest) =
            std::mem::take(&mut self.accounts.grants).into_iter().partition(|(since, _)| at > *since + WRITTEN);
        self.accounts.grants = rest;
        let due: Vec<(Duration, String)> = due;
        if !self.is_calm() || self.is_replaced() {
            return;
        }
        for (_, name) in due {
            let Some(lease) = self.leases.get(&name).filter(|lease| lease.holds().is_some()) else { continue };
            let used = lease.begin.filter(|_| self.is_timed(lease)).map_or(0, |begin| self.used(lease, begin, false));
            if used > TIME + 1 {
                let text = format!("with {name} its client uses {used} s within {PERIOD} s, and may use {TIME} s");
                self.violation("capped", text, &[&name]);
            }
        }
    }

    fn is_timed(&self, lease: &LeaseFacts) -> bool {
        let exporter = lease.exporter.as_ref().and_then(|exporter| self.exporters.get(exporter));
        exporter.is_some_and(|facts| facts.labels.get("pool").is_some_and(|pool| pool == TIMED_POOL))
    }

    /// Seconds for which the client of a lease has had devices within the period before `now`, and may have them still.
    /// What its client has lengthened is left out, or not.
    fn used(&self, lease: &LeaseFacts, now: Timestamp, lengthened: bool) -> i64 {
        let from = now - SignedDuration::from_secs(PERIOD);
        let own = self.accounts.own.get(&lease.client).into_iter().flatten().filter_map(|name| self.leases.get(name));
        let spans = own.filter(|other| self.is_timed(other)).filter_map(|other| {
            let begin = other.begin?.max(from);
            let end = if other.ended { other.end? } else { other.due()? };
            let counts = lengthened || other.lengths.len() <= 1;
            Some(if counts { end.duration_since(begin).as_secs().max(0) } else { 0 })
        });
        spans.sum()
    }

    /// Whether a quota may keep a lease that waits from what it asks for, alone.
    pub(super) fn is_kept(&self, lease: &LeaseFacts) -> bool {
        self.may_be_kept_with(lease, 1)
    }

    /// Whether a quota may keep a lease that waits from what it asks for, if all of its team are to be served.
    pub(super) fn may_be_kept(&self, lease: &LeaseFacts) -> bool {
        let team = self.teams.get(&lease.client).map_or("", String::as_str);
        self.may_be_kept_with(lease, self.accounts.waiting.get(team).copied().unwrap_or(0))
    }

    fn may_be_kept_with(&self, lease: &LeaseFacts, more: usize) -> bool {
        let Some(most) = quotas::devices(&self.plan) else { return false };
        let team = self.teams.get(&lease.client);
        let (held, full) = team.and_then(|team| self.accounts.held.get(team)).copied().unwrap_or_default();
        let asked = lease.spec.duration.map_or(0, |length| length.to_signed().as_secs());
        held + more > most
            || full.is_some_and(|full| self.at() < full + FRESH)
            || self.used(lease, self.dates().0, true) + asked + 30 > TIME
    }
}
