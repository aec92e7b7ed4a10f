//! Why a lease waits, who is ahead, when it may begin, and what would bring it there sooner. Answers on demand, bounded
//! in what they look at, since they are found where decisions are made.

mod field;
mod forecast;
mod game;
mod history;
mod stock;

use std::collections::{BTreeMap, HashMap, HashSet};

use jumpstarter_model::{GoDuration, Selector, Timestamp};

use forecast::Past;
pub(super) use history::History;
use stock::Ledger;

use super::{
    Lab,
    access::Scope,
    calendar::Stay,
    exporter::Usable,
    lease::Entry,
    names::{Age, Name},
    times::Span,
    turn::Turn,
    want::{Request, Slot},
};
use crate::{Ahead, Alternative, CandidateReason, Forecast, LeaseStanding, WhatIf, Why, why::MAX_AHEAD};

/// Alternatives that the lab names of its own accord.
const MAX_FOUND: usize = 5;
/// Requirements that it tries to do without.
const MAX_TRIED: usize = 8;

/// A request as it stands in the queue, or would.
pub(super) struct Ask<'a> {
    pub(super) entry: &'a Entry,
    age: &'a Age,
    /// Enabled exporters that policies let it have, with its turn there, and whether a quota keeps it from one now.
    pub(super) devices: BTreeMap<Name, (Turn, bool)>,
    /// Whether shares decide who comes first at some of them.
    shares: bool,
    /// How many of them are connected.
    connected: usize,
    /// Whether one of them is free for as long as that.
    finds_free: bool,
    /// Whether it may have quarantined ones.
    takes_quarantined: bool,
    span: Span,
}

impl Lab {
    /// Says everything about a live lease that helps whoever waits for it, as of the last [`Lab::decide`]; `None` for
    /// ended and unknown leases. Only waiting and scheduled leases have a start and alternatives.
    pub fn why(&self, lease: &str, what_if: &WhatIf, now: Timestamp) -> Option<Why> {
        let explanation = self.explain(lease, now)?;
        let entry = self.leases.get(lease)?;
        let mut why = Why { explanation, ahead: Vec::new(), start: None, alternatives: Vec::new() };
        if why.explanation.standing == LeaseStanding::Scheduled {
            let begin = entry.times.begin().unwrap_or(now);
            // What is reserved, and there, is had at the begin; whatever else there is may be taken by others.
            let reserved = self.calendar.booking(lease).and_then(|plan| self.exporters.get(&plan.exporter));
            let sure = reserved.filter(|bench| match bench.usable {
                Usable::Leased | Usable::Spot => bench.at <= begin,
                Usable::Free => true,
                Usable::Offline | Usable::Returning | Usable::NotReady => false,
            });
            let latest = sure.map(|_| begin);
            why.start = Some(Forecast { earliest: begin, likely: begin, latest, learned_from: 0 });
            return Some(why);
        }
        let Some((entry, want)) = self.waiting(lease) else { return Some(why) };
        let past = Past { usage: self.history.usage(), ledger: Ledger::default() };
        if let Some(member) = &entry.group {
            // What it asks for alone helps nobody.
            let ask = self.ask(entry, &want.request, entry.times.requested(now), now);
            why.ahead = self.who_is_ahead(&ask, now);
            let first = why.ahead.is_empty() && !self.is_anybody_ahead(&member.group, now);
            why.start = if first { self.forecast_of_group(&member.group, &past, now) } else { None };
            return Some(why);
        }
        let duration = entry.times.requested(now);
        let ask = self.ask(entry, &want.request, duration, now);
        why.ahead = self.who_is_ahead(&ask, now);
        why.start = self.forecast(&ask, &past, now);

        let asked = (*what_if != WhatIf::default()).then(|| {
            let request = what_if.selector.as_ref().map_or_else(|| want.request.clone(), wish);
            (request, what_if.duration.unwrap_or(duration))
        });
        let judge = |request: &Request, duration, asked| {
            let ask = self.ask(entry, request, duration, now);
            Alternative {
                selector: request.selector.to_string(),
                duration,
                asked,
                devices: ask.connected,
                position: 1 + self.ahead(&ask, now).len(),
                start: self.forecast(&ask, &past, now),
            }
        };
        let shorter = self.time_left(&ask).filter(|left| *left < duration).map(|left| (want.request.clone(), left));
        let mut found = ideas(&want.request, duration, &why.explanation.candidates)
            .into_iter()
            .chain(shorter)
            .map(|(request, duration)| judge(&request, duration, false))
            .filter(|alternative| is_sooner(alternative.start, why.start))
            .collect::<Vec<_>>();
        found.sort_by_key(|alternative| alternative.start.map(|start| (start.likely, start.latest)));
        found.truncate(MAX_FOUND);
        why.alternatives = asked.map(|(request, duration)| judge(&request, duration, true)).into_iter().collect();
        why.alternatives.extend(found);
        Some(why)
    }

    fn ask<'a>(&'a self, entry: &'a Entry, request: &Request, duration: GoDuration, now: Timestamp) -> Ask<'a> {
        let span = if duration == entry.times.requested(now) { entry.times.span() } else { Span::Fixed(duration) };
        let mut ask = Ask {
            entry,
            age: self.age_in_line(entry),
            devices: BTreeMap::new(),
            shares: false,
            connected: 0,
            finds_free: false,
            takes_quarantined: request.allow_disabled,
            span,
        };
        let stay = Stay { begin: now, end: span.end(now) };
        let mut scopes = HashSet::new();
        for name in self.matching(request) {
            let Some(bench) = self.exporters.get(&name) else { continue };
            if !request.slot(bench).can_serve() {
                continue;
            }
            let line = self.line(bench.scope);
            if let Some((turn, kept)) = self.turn_if_kept(line, &entry.age, &entry.client, duration, now) {
                ask.connected += usize::from(bench.usable != Usable::Offline);
                let ours = || !kept && !self.is_kept_from(&name, turn, &entry.age, now);
                let open = || self.is_open(&name, stay, &entry.age.name, &entry.client);
                ask.finds_free |= matches!(request.slot(bench), Slot::Free | Slot::Booked) && ours() && open();
                ask.devices.insert(name, (turn, kept));
                scopes.insert(bench.scope);
            }
        }
        ask.shares = scopes.iter().any(|scope: &Scope| !self.book.weights_of(*scope).is_empty());
        ask
    }

    /// The device time that quotas leave its client at some exporter, in whole minutes, where they leave any and that is
    /// all that is short.
    fn time_left(&self, ask: &Ask<'_>) -> Option<GoDuration> {
        let kept = ask.devices.iter().filter(|(_, (_, kept))| *kept);
        let scopes = kept.filter_map(|(name, _)| self.exporters.get(name)).map(|bench| bench.scope);
        let left = scopes.collect::<HashSet<_>>().into_iter().filter_map(|scope| {
            let rooms = self.book.rooms(scope, &ask.entry.client).into_iter();
            let rooms = rooms.map(|(_, room)| room.time_for_one()).collect::<Option<Vec<_>>>()?;
            rooms.into_iter().min()
        });
        let seconds = left.max()?.min(i64::MAX.into()) / 1_000_000_000;
        let minutes = i64::try_from(seconds).ok()? / 60;
        (minutes > 0).then(|| GoDuration::from_secs(minutes * 60))
    }

    /// Leases that come before this one at any exporter that it may have, with their best turn there.
    fn ahead<'a>(&'a self, ask: &Ask<'_>, now: Timestamp) -> HashMap<&'a Name, Turn> {
        let mut ahead = HashMap::new();
        let mut seen = HashSet::new();
        for (name, (mine, kept)) in &ask.devices {
            let Some(bench) = self.exporters.get(name) else { continue };
            for id in &bench.wants {
                let Some(other) = self.wants.get(id) else { continue };
                if !other.takes(bench) || !seen.insert((bench.scope, *id)) {
                    continue;
                }
                let line = self.line(bench.scope);
                for name in self.members_ahead(other, *mine, ask.entry, now) {
                    let theirs = ahead.entry(name).or_insert(*mine);
                    *theirs = (*mine).min(*theirs);
                }
                for (age, client, requested) in self.queue(other, now) {
                    let Some((theirs, held)) = self.turn_if_kept(line, age, client, requested, now) else { continue };
                    // Whoever is kept by a quota does not stand before those who are not.
                    if held <= *kept && (theirs, age) < (*mine, ask.age) {
                        let best = ahead.entry(&age.name).or_insert(theirs);
                        *best = theirs.min(*best);
                    }
                }
            }
        }
        ahead.remove(&ask.entry.age.name);
        ahead
    }

    /// Whether anybody comes before a group at any exporter that one of its members may have, now or when a quota lets
    /// them.
    fn is_anybody_ahead(&self, group: &Name, now: Timestamp) -> bool {
        self.members(group).iter().filter_map(|name| self.waiting(name)).any(|(entry, want)| {
            let mut ask = self.ask(entry, &want.request, entry.times.requested(now), now);
            // Those whom a quota keeps stand before who is kept, too.
            ask.devices.values_mut().for_each(|(_, kept)| *kept = true);
            !self.ahead(&ask, now).is_empty()
        })
    }

    fn who_is_ahead(&self, ask: &Ask<'_>, now: Timestamp) -> Vec<Ahead> {
        let ahead = self.ahead(ask, now);
        let mut entries =
            ahead.into_iter().filter_map(|(name, turn)| Some((turn, self.leases.get(name)?))).collect::<Vec<_>>();
        entries.sort_by(|(one, first), (other, second)| (one, &first.age).cmp(&(other, &second.age)));
        entries
            .into_iter()
            .take(MAX_AHEAD)
            .map(|(turn, entry)| Ahead {
                lease: entry.age.name.to_string(),
                client: entry.client.to_string(),
                priority: turn.rank.priority.0,
                created: entry.age.created,
            })
            .collect()
    }
}

/// Requests that differ in one point and may be served sooner.
fn ideas(request: &Request, duration: GoDuration, candidates: &[crate::Candidate]) -> Vec<(Request, GoDuration)> {
    let mut ideas = Vec::new();
    if request.pinned.is_some() && !request.selector.is_empty() {
        ideas.push((wish(&request.selector), duration));
    }
    if request.pinned.is_none() && request.selector.requirements().len() > 1 {
        let tried = 0..request.selector.requirements().len().min(MAX_TRIED);
        ideas.extend(tried.map(|index| (wish(&request.selector.without(index)), duration)));
    }
    let limit = |reason: &CandidateReason| match reason {
        CandidateReason::DurationTooLong(limit) => Some(*limit),
        _ => None,
    };
    let limits = candidates.iter().filter_map(|candidate| limit(&candidate.reason)).collect::<HashSet<_>>();
    if let Some(limit) = limits.into_iter().max() {
        ideas.push((request.clone(), limit));
    }
    ideas
}

/// A request for any exporter with these labels.
fn wish(selector: &Selector) -> Request {
    Request::new(selector.clone(), None, false)
}

fn is_sooner(one: Option<Forecast>, other: Option<Forecast>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.likely < other.likely,
        (Some(_), None) => true,
        (None, _) => false,
    }
}
