//! Reservations are promises that are kept: a time is promised once, and nobody gets in its way. Maintenance comes first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

use jumpstarter_store::Object;

use super::{Checker, ExporterFacts, LeaseFacts, facts::Plan};
use crate::windows::Window;

/// What was stored so recently may not have been seen yet.
const FRESH: Duration = Duration::from_secs(5);
/// Time for all that was decided at once to be written down.
const RESOLVED: Duration = Duration::from_secs(20);
/// Time in which something that has changed may still be decided upon as it was.
const SETTLED: Duration = Duration::from_secs(15);
/// Calm seconds for which a scheduled lease may have nothing reserved although an exporter would do.
const UNPLANNED: u32 = 30;
/// By how much the service's idea of now may be older than the moment at which it is looked at.
const LAG: SignedDuration = SignedDuration::from_secs(60);
/// Objects keep whole seconds.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);
/// Time in which the claims of a group come together, which is given out as if it were a moment.
const GATHERED: SignedDuration = SignedDuration::from_secs(10);

/// What is ahead of one exporter.
#[derive(Debug, Default)]
struct Agenda {
    /// Leases that wait and have it reserved.
    leases: BTreeSet<String>,
    changed: Duration,
}

/// Leases whose plans do not go together with something: if they are still the same some time later, that is wrong.
#[derive(Debug)]
struct Doubt {
    at: Duration,
    plans: Vec<(String, Plan)>,
    text: String,
}

/// What is promised to whom.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    agendas: BTreeMap<String, Agenda>,
    /// Scheduled leases that wait and have nothing reserved.
    seekers: BTreeSet<String>,
    /// Maintenance windows, since when they are as they are, and when any of them has changed last.
    windows: BTreeMap<String, (Window, Duration)>,
    announced: Option<Duration>,
    doubts: Vec<Doubt>,
}

impl Calendar {
    /// Whether anything is reserved, or was a moment ago, that makes an exporter unlike others of its kind.
    pub(super) fn is_particular(&self, exporter: &str) -> bool {
        self.agendas.contains_key(exporter) || self.windows.values().any(|(window, _)| window.singles_out(exporter))
    }

    /// Whether there are maintenance windows.
    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }
}

impl Checker {
    fn turnaround(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.plan.faults.turnaround).unwrap_or(0))
    }

    /// Whether two times cannot be had on one exporter one after the other.
    fn collide(&self, one: (Timestamp, Timestamp), other: (Timestamp, Timestamp), slack: SignedDuration) -> bool {
        one.1 + self.turnaround() > other.0 + slack && other.1 + self.turnaround() > one.0 + slack
    }

    /// Others that have an exporter reserved, with what they have.
    fn plans<'a>(
        &'a self,
        exporter: &str,
        but: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a LeaseFacts, &'a Plan)> {
        let leases = self.calendar.agendas.get(exporter).into_iter().flat_map(|agenda| &agenda.leases);
        let leases = leases.filter(move |name| *name != but).filter_map(|name| Some((name, self.leases.get(name)?)));
        leases.filter(|(_, lease)| !lease.release).filter_map(|(name, lease)| Some((name, lease, lease.plan.as_ref()?)))
    }

    /// A lease was written, or is gone: what has it reserved now?
    pub(super) fn reserved(&mut self, name: &str, old: Option<&LeaseFacts>) {
        let at = self.at();
        let new = self.leases.get(name);
        let waits = new.is_some_and(|lease| !lease.ended && !lease.release && lease.exporter.is_none());
        let seeks = waits && new.is_some_and(LeaseFacts::seeks_a_plan);
        if seeks {
            self.calendar.seekers.insert(name.to_owned());
        } else {
            self.calendar.seekers.remove(name);
        }
        let (before, now) = (old.and_then(|old| old.plan.clone()), new.and_then(|new| new.plan.clone()));
        if before == now {
            return;
        }
        if let Some(before) = before {
            let agenda = self.calendar.agendas.entry(before.exporter).or_default();
            agenda.leases.remove(name);
            agenda.changed = at;
        }
        let Some(plan) = now else { return };
        self.log
            .note(at, format_args!("lease {name} has {} reserved from {} to {}", plan.exporter, plan.begin, plan.end));
        let agenda = self.calendar.agendas.entry(plan.exporter.clone()).or_default();
        agenda.leases.insert(name.to_owned());
        agenda.changed = at;
        self.is_promised_once(name, &plan);
        self.is_not_maintained(name, &plan);
    }

    fn is_promised_once(&mut self, name: &str, plan: &Plan) {
        let stay = (plan.begin, plan.end);
        let twice = self
            .plans(&plan.exporter, name)
            .find(|(_, _, other)| self.collide(stay, (other.begin, other.end), SignedDuration::ZERO));
        if let Some((other, _, theirs)) = twice {
            let text = format!(
                "{} is reserved from {} to {} for {name}, and from {} to {} for {other}",
                plan.exporter, plan.begin, plan.end, theirs.begin, theirs.end
            );
            let plans = vec![(name.to_owned(), plan.clone()), (other.clone(), theirs.clone())];
            self.calendar.doubts.push(Doubt { at: self.at(), plans, text });
        }
    }

    /// A lease has got an exporter that was claimed for it at this time: it lets it go before anybody has it reserved.
    pub(super) fn ends_before_the_next(&mut self, name: &str, claimed: Duration) {
        let Some(lease) = self.leases.get(name) else { return };
        let (Some(begin), Some(end), Some(exporter)) = (lease.begin, lease.due(), lease.exporter.clone()) else {
            return;
        };
        if let Some(asked) = &lease.spec.begin_time
            && begin < asked.0
        {
            let text = format!("{name} was to begin at {} and began at {begin}", asked.0);
            return self.violation("reserved", text, &[name, &exporter]);
        }
        if lease.plan_before.as_ref().is_some_and(|plan| plan.exporter == exporter) {
            self.counts.reserved += 1;
        }
        let lag = if lease.group.is_some() { GATHERED } else { ROUNDING };
        self.gets_in_the_way(name, &exporter, (begin, end), (claimed, lag));
    }

    /// The client of a lease that runs has lengthened it: not into what others have reserved.
    pub(super) fn lengthened(&mut self, name: &str, old: &LeaseFacts) {
        let Some(lease) = self.leases.get(name).filter(|lease| !lease.ended) else { return };
        let (Some(agreed), Some(end), Some(exporter)) = (old.due(), lease.due(), lease.exporter.clone()) else {
            return;
        };
        if end > agreed {
            self.gets_in_the_way(name, &exporter, (agreed, end), (self.at(), ROUNDING));
        }
    }

    /// A maintenance window was made or changed, or is gone.
    pub(super) fn window_written(&mut self, object: &Object, gone: bool) {
        let (at, name) = (self.at(), object.name().to_owned());
        let known = self.calendar.windows.remove(&name);
        let window = Window::of(object.value()).filter(|_| !gone);
        if known.as_ref().map(|(known, _)| known) == window.as_ref() {
            self.calendar.windows.extend(known.map(|known| (name, known)));
            return;
        }
        self.log.note(at, format_args!("window {name}: {window:?}"));
        self.calendar.announced = Some(at);
        self.calendar.windows.extend(window.map(|window| (name, (window, at))));
        let plans = self.calendar.agendas.values().flat_map(|agenda| &agenda.leases);
        let plans: Vec<_> =
            plans.filter_map(|name| Some((name.clone(), self.leases.get(name)?.plan.clone()?))).collect();
        for (lease, plan) in plans {
            self.is_not_maintained(&lease, &plan);
        }
    }

    /// The first opening of a window that is in the way of a client's stay, of those that have stood for so long.
    fn opening_in(
        &self,
        (client, exporter): (&str, &str),
        (begin, end): (Timestamp, Timestamp),
        stood: impl Fn(Duration) -> bool,
    ) -> Option<(Timestamp, Timestamp)> {
        if self.calendar.windows.is_empty() {
            return None;
        }
        let facts = self.exporters.get(exporter)?;
        let team = self.teams.get(client).map_or("", String::as_str);
        let windows = self.calendar.windows.values();
        let about = windows.filter(|(window, since)| {
            stood(*since) && window.is_about(exporter, &facts.labels) && !window.admits(team)
        });
        about.filter_map(|(window, _)| window.opening_in((begin, end + self.turnaround()))).min()
    }

    /// Reservations make way for maintenance.
    fn is_not_maintained(&mut self, name: &str, plan: &Plan) {
        let Some(lease) = self.leases.get(name) else { return };
        let Some(opening) = self.opening_in((&lease.client, &plan.exporter), (plan.begin, plan.end), |_| true) else {
            return;
        };
        let text = format!(
            "{} is reserved for {name} from {} to {}, and in maintenance from {}",
            plan.exporter, plan.begin, plan.end, opening.0
        );
        self.calendar.doubts.push(Doubt { at: self.at(), plans: vec![(name.to_owned(), plan.clone())], text });
    }

    fn gets_in_the_way(
        &mut self,
        name: &str,
        exporter: &str,
        stay: (Timestamp, Timestamp),
        (decided, lag): (Duration, SignedDuration),
    ) {
        // Of two leaders each knows only what it has promised itself.
        if !self.is_calm() || self.is_replaced() {
            return;
        }
        let fresh = FRESH + self.slack();
        let client = self.leases.get(name).map_or("", |lease| &lease.client);
        let opening = self.opening_in((client, exporter), (stay.0, stay.1 - lag), |since| decided > since + fresh);
        if let Some(opening) = opening {
            let text = format!(
                "{name} has {exporter} from {} to {}, which is in maintenance from {} to {}",
                stay.0, stay.1, opening.0, opening.1
            );
            return self.violation("maintained", text, &[name, exporter]);
        }
        let passed_over = self.plans(exporter, name).find(|(_, other, plan)| {
            decided > other.planned + fresh && self.collide(stay, (plan.begin, plan.end), lag)
        });
        if let Some((other, _, plan)) = passed_over {
            let text = format!(
                "{name} has {exporter} until {}, which is reserved for {other} from {} to {}",
                stay.1, plan.begin, plan.end
            );
            let plans = vec![(other.clone(), plan.clone())];
            self.calendar.doubts.push(Doubt { at: self.at(), plans, text });
        }
    }

    /// Once a second: what does not go together is not left so, and what can be reserved is.
    pub(super) fn keeps_promises(&mut self) {
        if !self.is_calm() || self.is_replaced() {
            return self.calendar.doubts.clear();
        }
        self.resolve_plans();
        let mut found = Vec::new();
        let limit = self.patience(UNPLANNED);
        for name in self.calendar.seekers.clone() {
            let exporter = self.leases.get(&name).and_then(|lease| self.could_be_reserved(&name, lease));
            let Some(lease) = self.leases.get_mut(&name) else { continue };
            lease.unplanned = if exporter.is_some() { lease.unplanned + 1 } else { 0 };
            if let Some(exporter) = exporter.filter(|_| lease.unplanned > limit) {
                found.push((name, exporter));
            }
        }
        for (name, exporter) in found {
            let text = format!("nothing is reserved for {name}, although {exporter} would do");
            self.violation("reserved", text, &[&name, &exporter]);
        }
    }

    fn resolve_plans(&mut self) {
        let (at, late) = (self.at(), RESOLVED + self.slack());
        let doubts = std::mem::take(&mut self.calendar.doubts);
        let (due, rest): (Vec<_>, Vec<_>) = doubts.into_iter().partition(|doubt| at > doubt.at + late);
        self.calendar.doubts = rest;
        for Doubt { plans, text, .. } in due {
            let stands = |(name, plan): &(String, Plan)| {
                self.leases.get(name).is_some_and(|lease| !lease.release && lease.plan.as_ref() == Some(plan))
            };
            if plans.iter().all(stands) {
                let about: Vec<&str> =
                    plans.iter().flat_map(|(name, plan)| [name.as_str(), plan.exporter.as_str()]).collect();
                self.violation("reserved", text, &about);
            }
        }
    }

    /// A scheduled lease was refused since its time is taken everywhere: is it?
    pub(super) fn its_time_is_taken(&mut self, name: &str, lease: &LeaseFacts) {
        let since = SETTLED + self.slack();
        // Somebody may have been promised something that is not stored yet.
        let fresh = |name: &String| self.leases.get(name).is_some_and(|lease| self.at() < lease.known + since);
        if !self.is_calm() || self.is_replaced() || self.calendar.seekers.iter().any(fresh) {
            return;
        }
        if let Some(exporter) = self.could_be_reserved(name, lease) {
            let text = format!("{name} was refused its time, although {exporter} could be reserved");
            self.violation("refused-rightly", text, &[name, &exporter]);
        }
    }

    /// An exporter that could surely be reserved for a lease.
    fn could_be_reserved(&self, name: &str, lease: &LeaseFacts) -> Option<String> {
        let begin = lease.spec.begin_time.as_ref()?.0;
        let stay = (begin, lease.planned_end()?);
        if begin < self.dates().1 + ROUNDING || stay.1 <= stay.0 {
            return None;
        }
        let since = self.at().saturating_sub(SETTLED + self.slack());
        if self.calendar.announced.is_some_and(|announced| announced >= since) {
            return None;
        }
        let margin = (stay.0 - 2 * ROUNDING, stay.1 + 2 * ROUNDING);
        let mut found = self.wanted_by(lease).filter(|exporter| {
            let settled = self.exporters.get(*exporter).is_some_and(|facts| facts.altered < since)
                && self.calendar.agendas.get(*exporter).is_none_or(|agenda| agenda.changed < since);
            settled
                && self.grant(lease, exporter).is_some()
                && self.opening_in((&lease.client, exporter), margin, |_| true).is_none()
                && !self
                    .plans(exporter, name)
                    .any(|(_, _, plan)| self.collide(stay, (plan.begin, plan.end), -2 * ROUNDING))
        });
        found.next().cloned()
    }

    /// Enabled exporters that a lease asks for.
    fn wanted_by<'a>(&'a self, lease: &'a LeaseFacts) -> Box<dyn Iterator<Item = &'a String> + 'a> {
        let wants = |(name, facts): &(&'a String, &'a ExporterFacts)| lease.wants(name, facts);
        match lease.pinned() {
            Some(name) => Box::new(self.exporters.get_key_value(name).into_iter().filter(wants).map(|(name, _)| name)),
            None => Box::new(self.exporters.iter().filter(wants).map(|(name, _)| name)),
        }
    }

    /// Whether somebody may have an exporter promised for a time at which a waiting lease would still hold it.
    pub(super) fn may_be_in_the_way(&self, name: &str, lease: &LeaseFacts, exporter: &str) -> bool {
        let (at, dates) = (self.at(), self.dates());
        let asked = lease.spec.duration.unwrap_or_default().to_signed();
        let end = lease.planned_end().unwrap_or(dates.1 + asked);
        let stay = (dates.0 - LAG, end.max(dates.1) + LAG);
        let since = SETTLED + self.slack();
        let changed = self.calendar.agendas.get(exporter).is_some_and(|agenda| at < agenda.changed + since)
            || self.calendar.announced.is_some_and(|announced| at < announced + since);
        let unsaid = |seeker: &String| {
            let seeker = self.leases.get(seeker);
            seeker.is_some_and(|seeker| at < seeker.known + since && self.may_ask_for(seeker, exporter))
        };
        changed
            || self
                .plans(exporter, name)
                .any(|(_, _, plan)| self.collide(stay, (plan.begin, plan.end), SignedDuration::ZERO))
            || self.calendar.seekers.iter().any(unsaid)
            || self.opening_in((&lease.client, exporter), stay, |_| true).is_some()
    }

    /// Whether a lease may be about an exporter.
    pub(super) fn may_ask_for(&self, lease: &LeaseFacts, exporter: &str) -> bool {
        self.exporters.get(exporter).is_some_and(|facts| lease.asks_for(exporter, facts))
    }
}
