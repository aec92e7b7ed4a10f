//! Answers on demand. Clients that wait ask every few seconds, so these look at no more exporters than they must.

use std::collections::{BTreeSet, HashSet};

use jumpstarter_model::{GoDuration, Timestamp, condition::lease as condition};

use super::{
    Lab,
    access::{Access, Scope},
    calendar::Stay,
    exporter::{Bench, Usable},
    health::Kept,
    lease::Entry,
    names::Name,
    want::{Slot, Want, WantId},
};
use crate::{AccessError, Candidate, CandidateReason, Explanation, Grant, LeaseStanding, Obstacle, SpokenFor};

/// Candidates that are named; more help nobody.
const CANDIDATES: usize = 100;

impl Lab {
    /// Says where a live lease stands, as of the last [`Lab::decide`]; `None` for ended and unknown leases.
    pub fn explain(&self, lease: &str, now: Timestamp) -> Option<Explanation> {
        let entry = self.leases.get(lease)?;
        if let Some((entry, want)) = self.waiting(lease) {
            let (reason, message) = self.current_reason(entry, want, now);
            return Some(Explanation {
                standing: LeaseStanding::Waiting,
                position: Some(1 + self.count_ahead(entry, want, now)),
                reason: reason.to_owned(),
                message,
                candidates: self.candidates(entry, want, now),
            });
        }
        let (standing, reason, message) = match &entry.exporter {
            Some(_) if entry.ready => (LeaseStanding::Ready, "", condition::ACQUIRED.to_owned()),
            Some(exporter) => (LeaseStanding::Preparing, condition::PREPARING, condition::preparing(exporter)),
            None => (LeaseStanding::Scheduled, condition::SCHEDULED, self.scheduled_message(&entry.age.name, now)),
        };
        Some(Explanation { standing, position: None, reason: reason.to_owned(), message, candidates: Vec::new() })
    }

    /// Says whether policies let `client` use `exporter` for `requested`, as for extensions and transfers. A grant may
    /// be for spot access only.
    pub fn check_access(&self, client: &str, exporter: &str, requested: GoDuration) -> Result<Grant, AccessError> {
        let Some(bench) = self.exporters.get(exporter) else {
            return Err(AccessError::ExporterNotFound(exporter.to_owned()));
        };
        let (client, exporter) = (client.to_owned(), exporter.to_owned());
        match self.book.access_by_labels(&bench.seen.labels, &client, requested) {
            Access::Granted(priority) => Ok(Grant { priority, spot: false }),
            Access::Spot(priority) => Ok(Grant { priority, spot: true }),
            Access::TooLong(limit) => Err(AccessError::DurationTooLong { client, exporter, limit, requested }),
            // Devices in use are not counted again.
            Access::OverQuota(rank, _) => Ok(Grant { priority: rank.priority.0, spot: rank.spot }),
            Access::Denied => Err(AccessError::NoAccess { client, exporter }),
            Access::NoClient => Err(AccessError::ClientNotFound(client)),
        }
    }

    /// How many leases come before this one at any exporter that it may have.
    fn count_ahead(&self, entry: &Entry, want: &Want, now: Timestamp) -> usize {
        let requested = entry.times.requested(now);
        let age = self.age_in_line(entry);
        let rivals = self.rivals(want);
        let mut ahead = HashSet::new();
        let scopes: BTreeSet<Scope> = want.tally.keys().map(|(scope, _)| *scope).collect();
        for scope in scopes {
            let line = self.line(scope);
            let Some((mine, kept)) = self.turn_if_kept(line, &entry.age, &entry.client, requested, now) else {
                continue;
            };
            for (_, other) in rivals.iter().filter(|rival| self.meet((entry.want, want), **rival, scope)) {
                ahead.extend(self.members_ahead(other, mine, entry, now));
                for (other, client, requested) in self.queue(other, now) {
                    if *other >= *age && self.is_unbeaten(line, mine, other, now) {
                        break;
                    }
                    let theirs = self.turn_if_kept(line, other, client, requested, now);
                    if theirs.is_some_and(|(theirs, held)| (held <= kept) && (theirs, other) < (mine, age)) {
                        ahead.insert(&other.name);
                    }
                }
            }
        }
        ahead.remove(&entry.age.name);
        ahead.len()
    }

    /// Requests with which somebody waits, and that may be about the same exporters: those of these exporters, or all
    /// there are, whichever are fewer to look at.
    fn rivals(&self, want: &Want) -> Vec<(Option<WantId>, &Want)> {
        let seats: usize = want.tally.values().map(BTreeSet::len).sum();
        let all = |id: &WantId| Some((Some(*id), self.wants.get(id).filter(|other| !other.is_idle())?));
        if seats >= self.wants.len() {
            return self.wants.keys().filter_map(all).collect();
        }
        let benches = want.tally.values().flatten().filter_map(|(_, name)| self.exporters.get(name));
        let ids: BTreeSet<WantId> = benches.flat_map(|bench| bench.wants.iter().copied()).collect();
        ids.iter().filter_map(all).collect()
    }

    /// Whether some exporter of a scope can serve either of two requests.
    fn meet(&self, one: (Option<WantId>, &Want), other: (Option<WantId>, &Want), scope: Scope) -> bool {
        let (few, many) = if one.1.seats(scope) <= other.1.seats(scope) { (one, other) } else { (other, one) };
        if few.0 == many.0 {
            return few.1.takers(scope).next().is_some();
        }
        // Most that have nothing in common say so by one label.
        let serves = |bench: &Bench| many.0.is_some_and(|id| bench.wants.contains(&id)) && many.1.takes(bench);
        !few.1.request.excludes(&many.1.request)
            && few.1.takers(scope).any(|name| self.exporters.get(name).is_some_and(serves))
    }

    fn candidates(&self, entry: &Entry, want: &Want, now: Timestamp) -> Vec<Candidate> {
        // Some of each kind.
        let first = want.tally.values().flat_map(|seats| seats.iter().take(CANDIDATES));
        let mut names = first.map(|(_, name)| name).collect::<Vec<_>>();
        names.sort_unstable();
        names.truncate(CANDIDATES);
        let candidate = |name: &Name| {
            let bench = self.exporters.get(name)?;
            let reason = self.candidate_reason(name, bench, entry, want, now);
            let message = reason.describe(name, &entry.client);
            Some(Candidate { exporter: name.to_string(), reason, message })
        };
        names.into_iter().filter_map(candidate).collect()
    }

    fn candidate_reason(
        &self,
        name: &Name,
        bench: &Bench,
        entry: &Entry,
        want: &Want,
        now: Timestamp,
    ) -> CandidateReason {
        let slot = want.request.slot(bench);
        if !slot.can_serve() {
            let mismatch = slot == Slot::Mismatch;
            return if mismatch { CandidateReason::SelectorMismatch } else { CandidateReason::Disabled };
        }
        match self.book.access(bench.scope, &entry.client, entry.times.requested(now)) {
            Access::Denied | Access::NoClient => return CandidateReason::NoAccess,
            Access::TooLong(limit) => return CandidateReason::DurationTooLong(limit),
            Access::OverQuota(..) => {
                let over = self.book.over(bench.scope, &entry.client, entry.times.span(), now);
                return CandidateReason::OverQuota(over.map(|over| over.quota.to_string()).unwrap_or_default());
            }
            Access::Granted(_) | Access::Spot(_) => {}
        }
        if slot == Slot::Quarantined {
            let reason = bench.seen.health.as_ref().and_then(|record| record.reason()).unwrap_or_default().to_owned();
            return CandidateReason::Quarantined { reason, until: bench.kept().and_then(Kept::until) };
        }
        match bench.usable {
            Usable::Offline => CandidateReason::Offline,
            Usable::Leased | Usable::Spot => {
                let holder = bench.claim.as_ref().or_else(|| self.holders.get(name)?.first());
                CandidateReason::Leased(holder.map(Name::to_string).unwrap_or_default())
            }
            Usable::Returning | Usable::NotReady => CandidateReason::NotReady,
            Usable::Free => match self.keeper(name) {
                Some(group) if entry.group.as_ref().is_none_or(|member| member.group != *group) => {
                    CandidateReason::Kept(group.to_string())
                }
                _ if bench.booked => self.spoken_for(name, entry, now),
                _ => CandidateReason::Free,
            },
        }
    }
}

impl Lab {
    /// What is ahead of a free exporter, where that is in the way of a lease.
    fn spoken_for(&self, name: &Name, entry: &Entry, now: Timestamp) -> CandidateReason {
        let stay = Stay { begin: now, end: entry.times.end(now) };
        match self.obstacle(name, stay, &entry.age.name, &entry.client) {
            None => CandidateReason::Free,
            Some(Obstacle { by: SpokenFor::Lease(lease), begin, end, .. }) => {
                CandidateReason::Reserved { lease, from: begin, until: end }
            }
            Some(Obstacle { by: SpokenFor::Window { reason, .. }, begin, end, .. }) => {
                CandidateReason::Maintenance { reason, from: begin, until: end }
            }
        }
    }
}

impl CandidateReason {
    fn describe(&self, exporter: &str, client: &str) -> String {
        match self {
            Self::SelectorMismatch => format!("{exporter} does not match the lease's selector"),
            Self::Disabled => format!("{exporter} is disabled"),
            Self::NoAccess => format!("no policy lets {client} use {exporter}"),
            Self::DurationTooLong(limit) => format!("policies let {client} use {exporter} for at most {limit}"),
            Self::OverQuota(quota) => {
                format!("the quota {quota} keeps {client} from having {exporter} now")
            }
            Self::Offline => format!("{exporter} is not online"),
            Self::Quarantined { reason, until } => {
                let about = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                let until = until.map_or_else(|| "somebody lifts that".to_owned(), |until| until.to_string());
                format!("{exporter} is quarantined{about} until {until}")
            }
            Self::Leased(lease) => format!("{exporter} is held by lease {lease}"),
            Self::NotReady => format!("{exporter} is not held but not ready either"),
            Self::Kept(group) => format!("{exporter} is kept back for the group {group}, which is ahead in line"),
            Self::Reserved { lease, from, until } => {
                format!("{exporter} is reserved for lease {lease} from {from} to {until}")
            }
            Self::Maintenance { reason, from, until } => {
                let about = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                format!("{exporter} has maintenance{about} from {from} to {until}")
            }
            Self::Free => format!("{exporter} is free"),
        }
    }
}
