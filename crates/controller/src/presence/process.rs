//! Which process serves an exporter, and what it said last: a new one knows of no lease.

use jumpstarter_model::ExporterPhase;

use super::{Entry, Presence, debt::Session};

/// Names of processes that are remembered of an exporter: what comes late comes from one of the last.
const PROCESSES: usize = 4;
impl Entry {
    /// A new process knows of no lease.
    pub(super) fn begin_anew(&mut self) {
        self.owes_since = None;
        self.owes_word = 0;
        self.told = None;
        self.session = Session::Serving;
        self.reports = false;
        self.phase = None;
        self.restarted = false;
    }
}

impl Presence {
    /// What the process that is connected, or was, reported last. It does not repeat that after a lost connection.
    #[must_use]
    pub(crate) fn last_report(&self, exporter: &str) -> Option<ExporterPhase> {
        self.lock().entries.get(exporter)?.phase
    }

    /// Notes what an exporter is in the store, whoever it told so.
    pub(crate) fn noticed(&self, exporter: &str, phase: ExporterPhase) {
        if let Some(entry) = self.lock().entries.get_mut(exporter) {
            entry.phase = Some(phase);
        }
    }

    /// Notes that a process of the exporter registers: a new one knows of no lease. A request that comes twice is not
    /// one; where processes do not tell their name, it looks like that while a stream is open.
    pub(crate) fn started(&self, exporter: &str, process: &str) {
        let mut state = self.lock();
        let entry = state.entries.entry(exporter.to_owned()).or_default();
        if process.is_empty() && entry.stream.is_some() {
            entry.restarted = true;
            return;
        }
        if !process.is_empty() {
            if entry.processes.iter().any(|known| known == process) {
                return;
            }
            if entry.processes.len() == PROCESSES {
                entry.processes.pop_front();
            }
            entry.processes.push_back(process.to_owned());
        }
        entry.begin_anew();
        self.mark(&mut state, exporter);
    }

    /// Whether this process of the exporter was replaced: what it said comes late.
    #[must_use]
    pub(crate) fn is_outdated(&self, exporter: &str, process: &str) -> bool {
        let state = self.lock();
        let Some(entry) = state.entries.get(exporter) else { return false };
        let newest = entry.processes.back().is_some_and(|newest| newest == process);
        !newest && entry.processes.iter().any(|known| known == process)
    }
}
