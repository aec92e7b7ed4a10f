//! Who gets a device: somebody who asked for it and may have it, and of those the first.

use std::{cmp::Reverse, time::Duration};

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

use super::{Checker, LeaseFacts, OrderDoubt, REPLACED, facts::Age};
use crate::policies::{self, Grant};

/// What was stored so recently may not have been seen yet.
const FRESH: Duration = Duration::from_secs(5);
/// Time between a decision and the moment at which it is seen.
const WRITTEN: SignedDuration = SignedDuration::from_secs(10);
/// Time for the device that the first one gets instead to be written down.
const RESOLVED: Duration = Duration::from_secs(20);
/// Calm before a doubt counts.
const CALM: Duration = Duration::from_mins(1);

impl Checker {
    /// What policies give a lease at an exporter, for as long as it asks for now.
    pub(super) fn grant(&self, lease: &LeaseFacts, exporter: &str) -> Option<Grant> {
        let team = self.teams.get(&lease.client).map_or("", String::as_str);
        let pool = self.exporters.get(exporter)?.labels.get("pool").map_or("", String::as_str);
        policies::grant(&self.plan.faults, pool, team, lease.spec.duration.unwrap_or_default())
    }

    /// A lease holds its device by the terms that policies give.
    pub(super) fn on_terms(&mut self, name: &str) {
        let Some(lease) = self.leases.get(name) else { return };
        // Policies are not about the service's own.
        let Some(exporter) = lease.exporter.as_deref().filter(|_| !lease.own) else { return };
        let grant = self.grant(lease, exporter);
        if grant != Some(Grant { spot: lease.spot, priority: Reverse(lease.priority) }) {
            let (spot, priority) = (lease.spot, lease.priority);
            let text = format!("{name} has {exporter} as spot: {spot}, priority {priority}; policies give {grant:?}");
            let exporter = exporter.to_owned();
            self.violation("right-device", text, &[name, &exporter]);
        }
    }

    /// A claim is for a lease that waits for such an exporter.
    pub(super) fn fits(&mut self, exporter: &str, lease: &str) {
        let Some(facts) = self.exporters.get(exporter) else { return };
        // Where both are written at once the lease comes second.
        let Some(found) = self.leases.get(lease) else { return };
        // A leader that was replaced may claim for a lease that the next one has ended; it gets no further.
        let replaced = self.services > 1 || self.at() < self.service_since + REPLACED;
        let text = if found.ended && self.plan.faults.rivals > 0 && replaced {
            return;
        } else if found.ended {
            "which has ended"
        } else if !found.asks_for(exporter, facts) || !facts.enabled && found.spec.allow_disabled != Some(true) {
            "which does not ask for it"
        } else if self.is_kept_back(facts, found) {
            "although it is quarantined"
        } else if found.own {
            return;
        } else if self.grant(found, exporter).is_none() {
            "whose client may not have it"
        } else {
            return;
        };
        self.violation("right-device", format!("{exporter} is claimed for {lease}, {text}"), &[exporter, lease]);
    }

    fn rank(&self, lease: &LeaseFacts, exporter: &str) -> Option<(Grant, Age)> {
        Some((self.grant(lease, exporter)?, lease.created.clone()))
    }

    /// Whether a lease that waits should surely have a device before another of this rank.
    fn comes_before(&self, other: &LeaseFacts, served: &LeaseFacts, rank: &(Grant, Age), exporter: &str) -> bool {
        let Some((grant, age)) = self.rank(other, exporter) else { return false };
        if grant.spot != rank.0.spot {
            return !grant.spot;
        }
        if self.plan.faults.longest_wait > 0 {
            if self.is_overdue(other, self.dates().0 - WRITTEN) {
                return age < rank.1;
            }
            // As a member of a group it is as old as the first.
            if served.group.is_some() || self.is_overdue(served, self.dates().1 + WRITTEN) {
                return false;
            }
        }
        // Whose team has used less cannot be told from outside.
        let unlike = self.plan.faults.shares && self.teams.get(&other.client) != self.teams.get(&served.client);
        grant < rank.0 || grant == rank.0 && !unlike && age < rank.1
    }

    /// Whether a lease has waited for so long at this date that nobody overtakes it.
    fn is_overdue(&self, lease: &LeaseFacts, date: Timestamp) -> bool {
        let begin = lease.spec.begin_time.as_ref().map_or(lease.created.0, |begin| begin.0);
        let bound = i64::try_from(self.plan.faults.longest_wait).unwrap_or(i64::MAX);
        date.duration_since(begin.max(lease.created.0)).as_secs() >= bound
    }

    /// Looks for somebody who should have got the device instead.
    pub(super) fn in_order(&mut self, exporter: &str, served: &str) {
        let at = self.at();
        if !self.is_calm() || at < self.trouble_until + CALM {
            return;
        }
        let (dates, now) = (self.dates(), self.time.now());
        let (Some(facts), Some(lease)) = (self.exporters.get(exporter), self.leases.get(served)) else { return };
        // Who has reserved it has it, whoever waits.
        if lease.own || lease.plan.as_ref().is_some_and(|plan| plan.exporter == exporter) {
            return;
        }
        let Some(mut rank) = self.rank(lease, exporter) else { return };
        if let Some(first) = self.first_of_group(lease) {
            rank.1 = first;
        }
        let waiting = self.waiting.iter().filter_map(|name| Some((name, self.leases.get(name)?)));
        let first = { waiting }.find(|(name, other)| {
            let begun = other.spec.begin_time.as_ref().map_or(other.known, |begin| {
                let late = now.duration_since(begin.0);
                at.saturating_sub(Duration::try_from(late).unwrap_or_default())
            });
            *name != served
                && other.waits(dates)
                && at > other.known + FRESH
                && at > begun + FRESH
                && other.wants(exporter, facts)
                && other.group.is_none()
                && self.comes_before(other, lease, &rank, exporter)
                && !self.may_be_kept(other)
                && !self.may_be_in_the_way(name, other, exporter)
                && !self.may_be_kept_for_a_group(exporter)
        });
        if let Some((first, _)) = first {
            let doubt =
                OrderDoubt { at, first: first.clone(), served: served.to_owned(), exporter: exporter.to_owned() };
            self.doubts.push(doubt);
        }
    }

    /// Whoever was passed over got another device at the same moment, or nothing is in order.
    pub(super) fn resolve_doubts(&mut self) {
        let (at, calm) = (self.at(), self.is_calm());
        if !calm {
            return self.doubts.clear();
        }
        // What it got may be written by a call that is never answered, and has to be made again.
        let slack = self.slack();
        let (due, rest): (Vec<OrderDoubt>, Vec<OrderDoubt>) =
            std::mem::take(&mut self.doubts).into_iter().partition(|doubt| at > doubt.at + RESOLVED + slack);
        self.doubts = rest;
        for OrderDoubt { at, first, served, exporter } in due {
            let elsewhere = self.leases.get(&first).is_none_or(|lease| {
                lease.ended || lease.release || lease.granted.is_some_and(|got| got < at + FRESH + slack)
            });
            if !elsewhere {
                let text = format!("{exporter} went to {served} although {first} came first and still waits");
                self.violation("in-order", text, &[&exporter, &first, &served]);
            }
        }
    }
}
