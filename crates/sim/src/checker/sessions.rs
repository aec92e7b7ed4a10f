//! Sessions and tunnels: what exporters and clients really do with devices.

use std::time::Duration;

use jumpstarter_model::ExporterPhase;

use super::{Checker, facts::Session};
use crate::{peers::client::Seen, router::Served};

/// Calm time in which an exporter that is well ends the session of a lease that is over: its hooks take up to 20 s, and
/// clients look at the outcome for a second.
const TEAR_DOWN: u32 = 90;
/// How long after its lease a session that is not torn down keeps a device from being given out: the service's limit
/// for exporters that say nothing, less some time for messages.
const HOLDS_BACK: Duration = Duration::from_secs(270);

impl Checker {
    pub(crate) fn process_started(&mut self, exporter: &str, number: u64) {
        let facts = self.exporters.entry(exporter.to_owned()).or_default();
        facts.process = number;
        facts.sessions.clear();
        self.in_session.remove(exporter);
        facts.closed.clear();
        facts.hooks.clear();
    }

    pub(crate) fn session_opened(&mut self, exporter: &str, process: u64, id: u64, lease: &str) {
        let at = self.at();
        self.counts.sessions += 1;
        self.log.note(at, format_args!("exporter {exporter}: session {process}.{id} of {lease} opens"));
        let facts = self.exporters.entry(exporter.to_owned()).or_default();
        let open: Vec<String> = facts.sessions.values().map(|session| session.lease.clone()).collect();
        facts.sessions.insert(id, Session { lease: lease.to_owned(), overdue: 0 });
        self.in_session.insert(exporter.to_owned());
        if !open.is_empty() {
            let text = format!("{exporter} opens a session of {lease} while those of {open:?} are open");
            self.violation("one-session", text, &[exporter, lease]);
        }
        self.was_told(exporter, lease);
    }

    pub(crate) fn session_closed(&mut self, exporter: &str, process: u64, id: u64, lease: &str) {
        let at = self.at();
        self.log.note(at, format_args!("exporter {exporter}: session {process}.{id} of {lease} torn down"));
        let Some(facts) = self.exporters.get_mut(exporter) else { return };
        let was_open = facts.sessions.remove(&id).is_some();
        if facts.sessions.is_empty() {
            self.in_session.remove(exporter);
        }
        if !facts.closed.insert(id) || !was_open {
            let text = format!("{exporter} tears session {process}.{id} of {lease} down twice");
            self.violation("tear-down-once", text, &[exporter, lease]);
        }
    }

    pub(crate) fn session_killed(&mut self, exporter: &str, process: u64, id: u64, lease: &str) {
        let at = self.at();
        self.log.note(at, format_args!("exporter {exporter}: session {process}.{id} of {lease} dies"));
        if let Some(facts) = self.exporters.get_mut(exporter) {
            facts.sessions.remove(&id);
            if facts.sessions.is_empty() {
                self.in_session.remove(exporter);
            }
        }
    }

    pub(crate) fn hook(&mut self, exporter: &str, process: u64, id: u64, kind: &'static str) {
        let at = self.at();
        self.log.note(at, format_args!("exporter {exporter}: {kind} of session {process}.{id}"));
        let Some(facts) = self.exporters.get_mut(exporter) else { return };
        if !facts.hooks.insert((id, kind)) {
            let text = format!("{exporter} runs {kind} of session {process}.{id} twice");
            self.violation("tear-down-once", text, &[exporter]);
        }
    }

    /// An exporter is of a release that does not tell what it has heard.
    pub(crate) fn exporter_is_old(&mut self, exporter: &str) {
        self.exporters.entry(exporter.to_owned()).or_default().old = true;
    }

    /// Something happened to the way to an exporter, for so long.
    pub(crate) fn exporter_away(&mut self, exporter: &str, span: Duration) {
        let until = self.at() + span;
        self.exporters.entry(exporter.to_owned()).or_default().disturbed = Some(until);
    }

    /// Whether nothing has happened to an exporter for a while that could keep it from saying what it does.
    fn is_well(&self, exporter: &str) -> bool {
        let quiet = |since: Duration| self.at() > since + Duration::from_mins(1);
        self.exporters.get(exporter).is_some_and(|facts| !facts.lied && facts.disturbed.is_none_or(quiet))
    }

    /// A device is not given out before the session of the lease before is torn down.
    pub(super) fn torn_down(&mut self, exporter: &str, lease: &str) {
        // Of two leaders each knows only what it has told an exporter itself.
        if !self.is_well(exporter) || self.services > 1 {
            return;
        }
        let Some(facts) = self.exporters.get(exporter) else { return };
        // A report of an old exporter that comes late, or twice, looks like a new one.
        if facts.old && (self.plan.faults.late > 0.0 || self.plan.faults.twice > 0.0) {
            return;
        }
        // Whoever has never said what it does owes nothing, and a failed hook is believed to be the end of all work.
        let unsaid = matches!(
            facts.phase,
            ExporterPhase::Unspecified | ExporterPhase::BeforeLeaseHookFailed | ExporterPhase::AfterLeaseHookFailed
        );
        let open = facts.sessions.values().find(|session| {
            let over = self.leases.get(&session.lease).and_then(|facts| facts.over);
            let fresh = over.is_some_and(|over| self.at() < over + HOLDS_BACK && over > self.service_since);
            session.lease != lease && fresh && !unsaid
        });
        if let Some(session) = open {
            let text =
                format!("{exporter} is claimed for {lease} before its session of {} is torn down", session.lease);
            let before = session.lease.clone();
            self.violation("torn-down-first", text, &[exporter, lease, &before]);
        }
    }

    /// Sessions of leases that are over end.
    pub(super) fn tears_down_in_time(&mut self) {
        if !self.is_calm() {
            return;
        }
        let mut late = Vec::new();
        let names: Vec<String> = self.in_session.iter().cloned().collect();
        for name in names {
            let well = self.is_well(&name);
            let Some(facts) = self.exporters.get_mut(&name) else { continue };
            for session in facts.sessions.values_mut() {
                let over = self.leases.get(&session.lease).is_none_or(|lease| lease.ended);
                session.overdue = if over && well && facts.online { session.overdue + 1 } else { 0 };
                if session.overdue > TEAR_DOWN {
                    late.push((name.clone(), session.lease.clone()));
                }
            }
        }
        for (exporter, lease) in late {
            let text = format!("{exporter} still has its session of {lease}, which is over");
            self.violation("torn-down-in-time", text, &[&exporter, &lease]);
        }
    }

    /// What a look at a lease has told its client.
    pub(crate) fn looked(&mut self, client: &str, lease: &str, seen: &Seen) {
        let at = self.at();
        self.log.note(at, format_args!("client {client}: sees {lease} {seen:?}"));
        self.is_true(lease, seen);
        match seen {
            Seen::Ready(exporter) => self.takes(client, lease, exporter),
            Seen::Ended => self.lets_go(client, lease),
            Seen::Waits | Seen::Prepares(_) => {}
        }
    }

    /// A client believes that it may use a device.
    fn takes(&mut self, client: &str, lease: &str, exporter: &str) {
        let before = self.users.insert(exporter.to_owned(), (client.to_owned(), lease.to_owned()));
        let Some((other, held)) = before.filter(|(_, held)| held != lease) else { return };
        // Whoever was not told yet that its lease is over has no say.
        if self.leases.get(&held).is_some_and(|facts| facts.holds().is_some() && !facts.release) {
            let text = format!("{exporter} is used by {other} with {held} and by {client} with {lease}");
            self.violation("two-users", text, &[exporter, lease, &held]);
        }
    }

    /// A client uses a device no more.
    pub(crate) fn lets_go(&mut self, client: &str, lease: &str) {
        if let Some(exporter) = self.leases.get(lease).and_then(|facts| facts.exporter.as_ref()) {
            if self.users.get(exporter).is_some_and(|user| user.0 == client && user.1 == lease) {
                self.users.remove(exporter);
            }
        } else if !self.leases.contains_key(lease) {
            self.users.retain(|_, user| user.0 != client || user.1 != lease);
        }
    }

    /// A client's process is gone.
    pub(crate) fn client_gone(&mut self, client: &str) {
        self.users.retain(|_, user| user.0 != client);
    }

    /// A client's dial has reached a session.
    pub(crate) fn reached(&mut self, client: &str, lease: &str, exporter: &str, served: &Served) {
        let at = self.at();
        self.counts.tunnels += 1;
        self.log.note(at, format_args!("client {client}: {lease} reaches {} of {}", served.lease, served.exporter));
        if served.lease != lease || served.exporter != exporter {
            let text = format!(
                "{client} with {lease} on {exporter} has reached the session of {} on {}",
                served.lease, served.exporter
            );
            return self.violation("own-session", text, &[exporter, lease, &served.lease]);
        }
        let open = |facts: &super::ExporterFacts| facts.sessions.values().any(|session| session.lease == lease);
        if !served.closed.is_cancelled() && !self.exporters.get(exporter).is_some_and(open) {
            let text = format!("{client} with {lease} works on {exporter}, which has no session of it");
            self.violation("own-session", text, &[exporter, lease]);
        }
    }
}
