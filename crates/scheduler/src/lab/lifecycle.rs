//! The life of one lease: begin, readiness, end.

use jumpstarter_model::{ExporterPhase, Timestamp, condition::lease as condition};

use super::{
    Lab,
    access::Rank,
    lease::Entry,
    names::Name,
    times::{Span, later},
};
use crate::{Action, EndCause, RefusedAs};

impl Lab {
    /// Does what is due for one lease, and sets its timer for what will be.
    pub(super) fn check_lease(&mut self, name: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(entry) = self.leases.get(name) else { return };
        if self.is_half_preempted(name) {
            self.preempt(name, actions);
        } else if entry.release {
            let message = self.release_message(entry);
            self.end(name, EndCause::Released, message, actions);
        } else if let Some(exporter) = entry.exporter.clone() {
            self.check_holder(name, &exporter, now, actions);
        } else {
            self.check_waiting(name, now, actions);
        }
    }

    fn check_holder(&mut self, name: &Name, exporter: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(entry) = self.leases.get_mut(name) else { return };
        if !self.exporters.contains_key(exporter) {
            let message = format!("The lease has ended: its exporter {exporter} was deleted");
            return self.end(name, EndCause::Released, message, actions);
        }
        let begun = entry.begin.is_some();
        let end = entry.times.end(*entry.begin.get_or_insert(now));
        if end <= now {
            return self.end(name, EndCause::Expired, condition::TIME_OVER.to_owned(), actions);
        }
        if self.leases.get(name).is_some_and(|entry| entry.is_check)
            && let Some(message) = self.check_result(name, exporter, now)
        {
            return self.end(name, EndCause::Released, message, actions);
        }
        let Some(entry) = self.leases.get(name) else { return };
        // It may be time to make way.
        self.marked.contest |= entry.notice.is_some();
        let ready = entry.ready;
        self.mark_group_of(name);
        if !ready && !self.is_held_up(name) && self.ready_at(name) <= now {
            self.assume_ready(name);
            actions.push(Action::MakeReady { lease: name.to_string() });
        }
        self.set_holders_timer(name, now);
        if !begun {
            self.count_holder(name);
            self.refresh(exporter);
        }
    }

    /// Sets the timer of a lease that holds an exporter and is not over.
    pub(super) fn set_holders_timer(&mut self, name: &Name, now: Timestamp) {
        let Some(entry) = self.leases.get(name) else { return };
        let end = entry.times.end(entry.begin.unwrap_or(now));
        // What is due is decided before anybody sleeps.
        let due = entry.notice.map(|notice| later(notice, self.config.preemption_grace)).filter(|due| *due > now);
        // Where others are waited for, they say when.
        let ready = (!entry.ready).then(|| self.ready_at(name));
        let ready = ready.filter(|at| *at > now || !self.awaits_group(entry));
        let given_up = entry.begin.filter(|_| entry.is_check).and_then(|begin| Self::check_given_up(begin, now));
        let wake = [Some(end), due, ready, given_up].into_iter().flatten().min();
        self.set_timer(name, wake);
    }

    fn check_waiting(&mut self, name: &Name, now: Timestamp, actions: &mut Vec<Action>) {
        self.mark_group_of(name);
        let Some(entry) = self.leases.get(name) else { return };
        let pinned = entry.request.as_ref().ok().and_then(|request| request.pinned.clone()).filter(|_| entry.is_check);
        if let Some(exporter) = pinned
            && !self.is_wanted_check(name, &exporter)
        {
            let message = format!("The check of the exporter {exporter} is not needed");
            return self.end(name, EndCause::Released, message, actions);
        }
        let Some(entry) = self.leases.get(name) else { return };
        let (begin, fixed_end) = (entry.times.begin().filter(|begin| *begin > now), entry.times.fixed_end());
        // A lease of no length would end as it begins: it never begins.
        if fixed_end.is_some_and(|end| end <= now) || (begin.is_none() && entry.times.end(now) <= now) {
            return self.end(name, EndCause::Expired, condition::TIME_OVER.to_owned(), actions);
        }
        if let Some(begin) = begin {
            // What it is told depends on what is reserved for it.
            self.marked.plans.insert(name.clone());
            self.dequeue(name);
            return self.set_timer(name, Some(fixed_end.map_or(begin, |end| end.min(begin))));
        }
        if let Err(message) = &entry.request {
            let message = message.clone();
            return self.refuse(name, RefusedAs::Invalid, condition::INVALID_SELECTOR, message, actions);
        }
        let shrinks = matches!(entry.times.span(), Span::Until(_));
        let planned = entry.plan.is_some();
        self.set_timer(name, fixed_end);
        if planned {
            self.marked.plans.insert(name.clone());
        }
        self.enqueue(name);
        if shrinks {
            // What it asks for may be short enough by now.
            self.marked.demand.extend(self.leases.get(name).and_then(|entry| entry.want));
            self.marked.contest = true;
        }
        self.marked.seeking.insert(name.clone());
        self.marked.reasons.insert(name.clone());
    }

    /// When the client of an assigned lease may be told to dial (protocol.md §5.2, the 20 s rule).
    pub(super) fn ready_at(&self, name: &Name) -> Timestamp {
        let Some((entry, begin)) = self.leases.get(name).and_then(|entry| Some((entry, entry.begin?))) else {
            return Timestamp::MAX;
        };
        let bench = entry.exporter.as_ref().and_then(|exporter| self.exporters.get(exporter));
        let Some(seen) = bench.map(|bench| &bench.seen) else { return begin };
        match seen.phase {
            // It may come back; then dialling will tell the client more than waiting.
            _ if !seen.online => later(seen.offline_since.unwrap_or(begin).max(begin), self.config.ready_grace),
            // Has not yet reacted.
            ExporterPhase::Available | ExporterPhase::Offline => later(begin, self.config.ready_grace),
            ExporterPhase::BeforeLeaseHook => later(begin, self.config.hook_limit),
            // Never reports, or has left the state in which it must be waited for.
            ExporterPhase::Unspecified
            | ExporterPhase::LeaseReady
            | ExporterPhase::AfterLeaseHook
            | ExporterPhase::BeforeLeaseHookFailed
            | ExporterPhase::AfterLeaseHookFailed => begin,
        }
    }

    /// Notes that a lease got an exporter. Returns whether it is ready at once.
    pub(super) fn assume_assigned(&mut self, name: &Name, exporter: &Name, rank: Rank, now: Timestamp) -> bool {
        self.dequeue(name);
        if let Some(entry) = self.leases.get_mut(name) {
            entry.exporter = Some(exporter.clone());
            entry.begin = Some(now);
            (entry.spot, entry.priority) = (rank.spot, rank.priority.0);
        }
        self.count_holder(name);
        self.add_holder(exporter, name);
        self.set_claim(exporter, Some(name.clone()));
        self.forget_plan(name);
        let ready_at = self.ready_at(name);
        let held_up = self.is_held_up(name);
        if held_up {
            self.groups.complete(name);
        }
        let ready = ready_at <= now && !held_up;
        if ready {
            self.assume_ready(name);
        }
        if let Some(entry) = self.leases.get_mut(name) {
            let end = entry.times.end(now);
            if !ready {
                entry.pending = Some(condition::PREPARING.to_owned());
            }
            self.set_timer(name, Some(if ready_at <= now { end } else { end.min(ready_at) }));
        }
        ready
    }

    pub(super) fn assume_ready(&mut self, name: &Name) {
        if let Some(entry) = self.leases.get_mut(name) {
            entry.ready = true;
        }
    }

    /// Ends a lease and takes back its exporter, which then owes a tear-down.
    pub(super) fn end(&mut self, name: &Name, cause: EndCause, message: String, actions: &mut Vec<Action>) {
        let exporter = self.vacate(name).map(|name| name.to_string());
        actions.push(Action::End { lease: name.to_string(), exporter, cause, message });
    }

    /// Ends a holder of spot for the sake of others.
    pub(super) fn preempt(&mut self, name: &Name, actions: &mut Vec<Action>) {
        let successor = self.leases.get(name).and_then(|entry| entry.successor.clone());
        let Some(exporter) = self.vacate(name) else { return };
        actions.push(Action::Preempt {
            lease: name.to_string(),
            exporter: exporter.to_string(),
            successor: successor.map(|name| name.to_string()),
        });
    }

    /// Whether a holder must wait for the rest of its group.
    fn is_held_up(&self, name: &Name) -> bool {
        self.leases.get(name).is_some_and(|entry| self.awaits_group(entry))
    }

    /// Notes that a lease is over, for its group.
    fn note_over(&mut self, name: &Name) {
        if let Some(member) = self.leases.get(name).and_then(|entry| entry.group.as_ref()) {
            let group = member.group.clone();
            self.note_ended_member(&group, name, Timestamp::MAX);
        }
    }

    /// Forgets a lease that ends, and returns the exporter that it held.
    fn vacate(&mut self, name: &Name) -> Option<Name> {
        self.note_over(name);
        let claimed = self.claims.get(name).into_iter().flatten().cloned().collect::<Vec<_>>();
        let exporter = self.leases.get(name).and_then(|entry| entry.exporter.clone());
        if let Some(exporter) = exporter.clone().filter(|exporter| claimed.contains(exporter)) {
            self.tear_downs.insert(exporter.clone());
            self.set_claim(&exporter, None);
        }
        // To quotas it holds its exporter until its end is written: should that fail, it holds it still.
        self.remove_lease(name);
        self.refresh_claims(name);
        exporter
    }

    /// Ends a lease that waits and will not be served.
    pub(super) fn refuse(
        &mut self,
        name: &Name,
        condition: RefusedAs,
        reason: &str,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        if reason != condition::GROUP_MISMATCH {
            self.note_over(name);
        }
        self.remove_lease(name);
        self.refresh_claims(name);
        actions.push(Action::Refuse { lease: name.to_string(), condition, reason: reason.to_owned(), message });
    }

    fn release_message(&self, entry: &Entry) -> String {
        let bench = entry.exporter.as_ref().and_then(|exporter| self.exporters.get(exporter));
        // A failed hook released it, or the exporter left after one.
        let told = |phase| matches!(phase, ExporterPhase::BeforeLeaseHookFailed | ExporterPhase::Offline);
        let hook = bench.map(|bench| &bench.seen).filter(|seen| told(seen.phase));
        match hook.and_then(|seen| seen.message.as_deref()).filter(|text| !text.is_empty()) {
            // A hook may print what it likes; clients take the word for a token's.
            Some(text) => format!("{}: {}", condition::MARKED_FOR_RELEASE, without_expired(text)),
            None => condition::MARKED_FOR_RELEASE.to_owned(),
        }
    }
}

/// The text with another word for `expired`, in any case (protocol.md §10.1).
fn without_expired(text: &str) -> String {
    const WORD: &str = "expired";
    let lower = text.to_ascii_lowercase();
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in lower.match_indices(WORD) {
        clean.push_str(&text[from..at]);
        clean.push_str("timed out");
        from = at + WORD.len();
    }
    clean.push_str(&text[from..]);
    clean
}
