//! Holders of spot make way for those in full right: after a notice, one for each who waits, and nobody else.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::SignedDuration;

use super::{Checker, LeaseFacts, REPLACED};

/// What was stored so recently may not have been seen yet, or has just been seen otherwise.
const FRESH: Duration = Duration::from_secs(15);
/// Time for whoever needs an exporter to be stored, too.
const STORED: Duration = Duration::from_secs(4);
/// Calm seconds for which somebody in full right may wait for a holder of spot who was not told.
const UNMOVED: u32 = 30;
/// Calm seconds for which a notice may stand that nobody needs.
const NEEDLESS: u32 = 20;
/// Time for all that was decided at once to be written down.
const RESOLVED: Duration = Duration::from_secs(20);
/// Labs with more exporters than this are not matched as a whole every second.
const LARGE: usize = 64;

/// What is remembered of preemptions.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// The leases that were created in the stead of others, by those.
    successors: BTreeMap<String, BTreeSet<String>>,
    /// When somebody was told, that one, and another who should rather have been.
    doubts: Vec<(Duration, String, String)>,
    /// When somebody was told or had to go, that one, and the exporter.
    reasons: Vec<(Duration, String, String)>,
}

/// Who could be served by which exporters, side by side.
pub(super) struct Matching<'a> {
    /// For each lease the exporters that it could have.
    pub(super) edges: Vec<(&'a str, BTreeSet<&'a str>)>,
}

impl<'a> Matching<'a> {
    /// Whom these exporters serve, as many as possible; in doubt those that come first in the list.
    pub(super) fn served(&self, exporters: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let mut holder = BTreeMap::new();
        let seeks = |at: usize| self.edges[at].1.intersection(exporters).copied();
        let served = (0..self.edges.len()).filter(|at| augment(*at, &seeks, &mut holder, &mut BTreeSet::new()));
        served.map(|at| self.edges[at].0).collect()
    }

    /// Those of these exporters, in this order, that each let one more be served.
    fn needed(&self, exporters: &[&'a str]) -> BTreeSet<&'a str> {
        let mut holder = BTreeMap::new();
        let seekers = |at: usize| {
            let exporter = exporters[at];
            self.edges.iter().enumerate().filter(move |(_, (_, edges))| edges.contains(exporter)).map(|(at, _)| at)
        };
        let needed = (0..exporters.len()).filter(|at| augment(*at, &seekers, &mut holder, &mut BTreeSet::new()));
        needed.map(|at| exporters[at]).collect()
    }
}

/// Finds a partner for `from` by way of whatever others can have instead.
fn augment<T: Copy + Ord, I: Iterator<Item = T>>(
    from: usize,
    partners: &impl Fn(usize) -> I,
    holder: &mut BTreeMap<T, usize>,
    seen: &mut BTreeSet<T>,
) -> bool {
    for partner in partners(from) {
        if !seen.insert(partner) {
            continue;
        }
        let before = holder.get(&partner).copied();
        if before.is_none_or(|before| augment(before, partners, holder, seen)) {
            holder.insert(partner, from);
            return true;
        }
    }
    false
}

impl Checker {
    fn grace(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.plan.faults.grace).unwrap_or(0))
    }

    fn has_full_access(&self, lease: &LeaseFacts, exporter: &str) -> bool {
        self.exporters.get(exporter).is_some_and(|facts| lease.wants(exporter, facts))
            && self.grant(lease, exporter).is_some_and(|grant| !grant.spot)
    }

    /// The same, whether the exporter is enabled or not.
    fn seeks(&self, lease: &LeaseFacts, exporter: &str) -> bool {
        self.exporters.get(exporter).is_some_and(|facts| lease.asks_for(exporter, facts))
            && self.grant(lease, exporter).is_some_and(|grant| !grant.spot)
    }

    /// Whoever the service may take to be waiting for this exporter in full right, now or a moment ago.
    fn seekers<'a>(&'a self, exporter: &'a str) -> impl Iterator<Item = &'a LeaseFacts> {
        let (at, latest) = (self.at(), self.dates().1);
        let lately = move |since: Option<Duration>| since.is_none_or(|since| at < since + FRESH);
        self.leases.values().filter(move |lease| {
            let begun = lease.spec.begin_time.as_ref().is_none_or(|begin| begin.0 <= latest);
            let single = lease.group.is_none();
            single && begun && lately(lease.granted) && lately(lease.over) && self.seeks(lease, exporter)
        })
    }

    /// A lease was written: was it told to make way, or does it stand in for another?
    pub(super) fn noticed(&mut self, name: &str, old: Option<&LeaseFacts>) {
        let Some(new) = self.leases.get(name).cloned() else { return };
        if let (None, Some(before)) = (old, &new.follows) {
            self.stands_in(name, &new, before);
        }
        if new.ended || new.notice.is_none() || old.is_some_and(|old| old.notice == new.notice) {
            return;
        }
        let Some(exporter) = new.exporter.as_deref() else { return };
        self.log.note(self.at(), format_args!("lease {name} is to make way on {exporter}"));
        if !new.spot {
            let text = format!("{name} holds {exporter} in full right and was told to make way");
            return self.violation("full-right", text, &[name, exporter]);
        }
        self.is_needed(name, exporter);
    }

    /// Somebody waits for what a holder of spot has, or is about to be stored along with this.
    fn is_needed(&mut self, name: &str, exporter: &str) {
        if self.is_calm() {
            self.spot.reasons.push((self.at(), name.to_owned(), exporter.to_owned()));
        }
    }

    /// Somebody who may have needed a device was taken away by hand: why others had to make way is not seen any more.
    pub(super) fn forget_reasons(&mut self) {
        self.spot.reasons.clear();
    }

    fn resolve_reasons(&mut self) {
        let at = self.at();
        let old = |(since, ..): &(Duration, String, String)| at > *since + STORED;
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.spot.reasons).into_iter().partition(old);
        self.spot.reasons = rest;
        for (_, name, exporter) in due {
            if self.seekers(&exporter).next().is_none() {
                let text = format!("{name} was to make way on {exporter}, which nobody in full right waited for");
                self.violation("needless-preemption", text, &[&name, &exporter]);
            }
            self.is_the_turn_of(&name, &exporter);
        }
    }

    /// The lowest priority makes way first, then the youngest.
    fn is_the_turn_of(&mut self, name: &str, exporter: &str) {
        let Some(told) = self.leases.get(name).filter(|lease| lease.notice.is_some()) else { return };
        let scheduled = self.scheduled.iter().any(|name| self.leases.get(name).is_some_and(|lease| !lease.ended));
        if scheduled || self.groups.any_waits() || self.calendar.has_windows() {
            return;
        }
        let at = self.at();
        let turn = |lease: &LeaseFacts| (lease.priority, Reverse(lease.begin));
        let rather = self.live.iter().filter_map(|other| Some((other, self.leases.get(other)?))).find(|(_, other)| {
            self.could_make_way(other)
                && other.granted.is_some_and(|since| at > since + FRESH)
                && turn(other) < turn(told)
                && other
                    .exporter
                    .as_deref()
                    .is_some_and(|rather| self.seekers(exporter).all(|lease| self.has_full_access(lease, rather)))
        });
        if let Some(rather) = rather.map(|(rather, _)| rather.clone()) {
            self.spot.doubts.push((at, name.to_owned(), rather));
        }
    }

    /// Whether a lease holds an exporter as spot, for longer than a grace still, and was not told.
    fn could_make_way(&self, lease: &LeaseFacts) -> bool {
        let horizon = self.dates().1 + self.grace() + SignedDuration::from_secs(30);
        let online = |name: &str| {
            self.exporters.get(name).is_some_and(|facts| facts.online && facts.enabled && !facts.kept.maybe())
        };
        lease.spot
            && lease.notice.is_none()
            && !lease.release
            && lease.holds().is_some_and(online)
            && lease.due().is_some_and(|due| due > horizon)
    }

    /// A lease that had to make way held as spot, had notice, and somebody needs its exporter.
    pub(super) fn preempted(&mut self, name: &str, lease: &LeaseFacts, old: Option<&LeaseFacts>) {
        self.counts.preempted += 1;
        let exporter = lease.exporter.as_deref().unwrap_or_default();
        if !lease.spot {
            let text = format!("{name} held {exporter} in full right and had to make way");
            return self.violation("full-right", text, &[name, exporter]);
        }
        if self.plan.faults.grace == 0 {
            return self.is_needed(name, exporter);
        }
        // Of two leaders one may withdraw a notice while the other acts on it.
        let replaced = self.plan.faults.rivals > 0 && self.at() < self.service_since + REPLACED;
        if self.services > 1 || replaced {
            return;
        }
        let (Some(told), Some(since)) = (old.and_then(|old| old.notice), old.and_then(|old| old.noticed)) else {
            let text = format!("{name} had to make way on {exporter} and was not told before");
            return self.violation("notice", text, &[name, exporter]);
        };
        // Objects keep whole seconds.
        let second = SignedDuration::from_secs(1);
        let written = lease.end.unwrap_or_default().duration_since(told);
        let skew = SignedDuration::from_millis(self.clocks.1 - self.clocks.0 + 1_000);
        // A notice is counted from when it is decided, and that may be written late by a store in trouble.
        let calm = self.is_calm() && since > self.trouble_until && self.plan.faults.hangs == 0.0;
        let passed = SignedDuration::try_from(self.at().saturating_sub(since)).unwrap_or_default();
        let too_soon = calm && passed + skew + 2 * second < self.grace();
        if written + second < self.grace() || too_soon {
            let text = format!("{name} was told {passed:?} before it had to make way on {exporter}");
            self.violation("notice", text, &[name, exporter]);
        }
    }

    /// A lease says that it waits in the stead of another.
    fn stands_in(&mut self, name: &str, lease: &LeaseFacts, before: &str) {
        let all = self.spot.successors.entry(before.to_owned()).or_default();
        all.insert(name.to_owned());
        let alone = all.len() == 1;
        let alike = self.leases.get(before).is_none_or(|before| {
            before.spot && before.requeue && before.client == lease.client && before.selector == lease.selector
        });
        if !alone || !alike {
            let text = format!("{name} was created in the stead of {before}: alone: {alone}, alike: {alike}");
            self.violation("requeued", text, &[name, before]);
        }
    }

    /// Another lease waits in the stead of one that had to make way, if that was asked for; and only then.
    pub(super) fn followed(&mut self, name: &str, lease: &LeaseFacts, preempted: bool) {
        let count = self.spot.successors.get(name).map_or(0, BTreeSet::len);
        if count != usize::from(preempted && lease.requeue) {
            let text = format!("{count} leases wait in the stead of {name}: preempted: {preempted}");
            self.violation("requeued", text, &[name]);
        }
    }

    /// Once a second: who waits in full right is provided for, and nobody makes way for nobody.
    pub(super) fn makes_way(&mut self) {
        if !self.plan.faults.spot || !self.is_calm() {
            self.spot.doubts.clear();
            return self.spot.reasons.clear();
        }
        self.resolve_turns();
        self.resolve_reasons();
        if self.exporters.len() > LARGE {
            return;
        }
        let (unmoved, needless) = self.contested();
        let (limits, mut found) = ((self.patience(UNMOVED), self.patience(NEEDLESS)), Vec::new());
        for name in &self.live {
            let Some(lease) = self.leases.get_mut(name) else { continue };
            let count = |held: bool, seconds: u32| if held { seconds + 1 } else { 0 };
            lease.unmoved = count(unmoved.contains(name), lease.unmoved);
            lease.needless = count(needless.contains(name), lease.needless);
            if lease.unmoved > limits.0 {
                found.push((
                    "makes-way",
                    format!("{name} waits although a holder of spot could make way"),
                    name.clone(),
                ));
            }
            if lease.needless > limits.1 {
                found.push(("needless-preemption", format!("{name} is to make way for nobody"), name.clone()));
            }
        }
        for (kind, text, name) in found {
            self.violation(kind, text, &[&name]);
        }
    }

    fn resolve_turns(&mut self) {
        let at = self.at();
        let (due, rest) =
            std::mem::take(&mut self.spot.doubts).into_iter().partition(|(since, ..)| at > *since + RESOLVED);
        self.spot.doubts = rest;
        let due: Vec<(Duration, String, String)> = due;
        for (_, told, rather) in due {
            let stands = self.leases.get(&told).is_some_and(|lease| lease.notice.is_some());
            if stands && self.leases.get(&rather).is_some_and(|lease| self.could_make_way(lease)) {
                let text = format!("{told} was told to make way, and it was the turn of {rather}");
                self.violation("victim-order", text, &[&told, &rather]);
            }
        }
    }

    /// Leases that wait although somebody who was not told could make way for one more, and leases that were told
    /// although nobody needs that.
    fn contested(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let (at, dates) = (self.at(), self.dates());
        let (mut coming, mut could, mut told) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let soon = dates.1 + self.grace() + SignedDuration::from_secs(30);
        for (name, facts) in &self.exporters {
            let holders = || facts.holders.iter().filter_map(|lease| self.leases.get(lease));
            if holders().any(|lease| self.could_make_way(lease)) {
                could.insert(name.as_str());
            } else if facts.online && holders().all(|lease| lease.notice.is_some() || lease.due() <= Some(soon)) {
                coming.insert(name.as_str());
            }
            told.extend(holders().filter_map(|lease| Some((lease.noticed?, name.as_str()))));
        }
        if could.is_empty() && told.is_empty() {
            return Default::default();
        }
        let mut waiting: Vec<(&String, &LeaseFacts)> =
            self.waiting.iter().filter_map(|name| Some((name, self.leases.get(name)?))).collect();
        waiting.sort_by(|(_, one), (_, other)| one.created.cmp(&other.created));
        // Nobody makes way for a group.
        let edges = waiting.into_iter().filter(|(_, lease)| lease.group.is_none());
        let edges = edges.filter(|(_, lease)| lease.waits((dates.1, dates.0)) || lease.waits(dates));
        let edges = edges.map(|(name, lease)| {
            let all = self.exporters.keys().map(String::as_str);
            (name.as_str(), all.filter(|exporter| self.has_full_access(lease, exporter)).collect())
        });
        let all = Matching { edges: edges.collect() };
        // Who has asked for a later time may count on a device already, or keep others from it.
        let promised = self.scheduled.iter().any(|name| self.leases.get(name).is_some_and(|lease| !lease.ended));
        let promised = promised || self.groups.any_waits() || self.calendar.has_windows();
        let settled = |name: &&str| {
            let settled =
                |lease: &LeaseFacts| lease.waits(dates) && at > lease.known + FRESH && !self.may_be_kept(lease);
            self.leases.get(*name).is_some_and(settled)
        };
        let surely = Matching { edges: all.edges.iter().filter(|(name, _)| settled(name)).cloned().collect() };
        let (provided, more) = (surely.served(&coming), surely.served(&coming.union(&could).copied().collect()));
        let unmoved = if !promised && more.len() > provided.len() { &more - &provided } else { BTreeSet::new() };
        told.sort_unstable();
        let told: Vec<&str> = told.into_iter().map(|(_, exporter)| exporter).collect();
        let needed = all.needed(&told);
        let needless = told.into_iter().filter(|exporter| !needed.contains(exporter));
        let holders = needless.filter_map(|exporter| self.exporters.get(exporter)).flat_map(|facts| &facts.holders);
        (unmoved.into_iter().map(str::to_owned).collect(), holders.cloned().collect())
    }
}
