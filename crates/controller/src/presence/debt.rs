//! Which exporters owe a tear-down: they were told of a lease, or said that a session runs, and have not said since that it
//! is over.

use std::time::Duration;

use jumpstarter_model::ExporterPhase;
use tokio::time::Instant;

use super::{Entry, Presence};

/// How long after its lease an exporter with a failed hook may still speak: three times the second that it waits. One
/// that shuts down says OFFLINE at once.
pub(super) const AFTER_FAILED_HOOK: Duration = Duration::from_secs(3);

/// What a session's exporter said last, as far as the limit of its tear-down depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Session {
    /// It serves, or gets ready to.
    #[default]
    Serving,
    /// It runs its tear-down hook, which may take long.
    Closing,
    /// A hook failed, and nothing runs any more. Released exporters say nothing further when their lease is released
    /// within the second that they wait before they release it themselves.
    Failed,
}

/// Names a message on a Status stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(pub(super) u64);

impl Word {
    /// What an exporter was told before this process began.
    pub(crate) const EARLIER: Self = Self(0);
}

/// What an exporter owes at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Debt {
    /// Nothing.
    Nothing,
    /// A tear-down, however long it takes: a session may run.
    Open,
    /// A tear-down, until this moment.
    Until(Instant),
    /// A tear-down that is not believed in any more.
    Overdue,
}

impl Entry {
    /// What is owed now. `tear_down` and `hook_limit`: see [`Presence::new`].
    pub(super) fn debt(&self, now: Instant, tear_down: Duration, hook_limit: Duration) -> Debt {
        let Some(since) = self.owes_since else { return Debt::Nothing };
        // While a session may run the debt stands; the limit counts from the last word.
        if self.told.is_some() {
            return Debt::Open;
        }
        let until = since
            + match self.session {
                Session::Serving => tear_down,
                Session::Closing => hook_limit,
                Session::Failed => AFTER_FAILED_HOOK.min(tear_down),
            };
        if now < until { Debt::Until(until) } else { Debt::Overdue }
    }
}

impl Presence {
    /// A name for the next message on a Status stream: later ones are greater, whatever the stream.
    pub(crate) fn next_word(&self) -> Word {
        let mut state = self.lock();
        state.words += 1;
        Word(state.words)
    }

    /// How exporters are told the name of a message.
    pub(crate) fn revision(&self, word: Word) -> String {
        format!("{}.{}", self.incarnation, word.0)
    }

    /// What an exporter says that it has heard: nothing of this process when it names none of its messages.
    pub(crate) fn heard(&self, revision: &str) -> Word {
        let number = revision.strip_prefix(&*self.incarnation).and_then(|rest| rest.strip_prefix('.')?.parse().ok());
        Word(number.unwrap_or(0))
    }

    /// Notes what the exporter says, or said before a restart, of itself. `heard`: the last message that it knew then,
    /// where it tells; a report from before it heard of a lease confirms no tear-down of that.
    pub(crate) fn reported(&self, exporter: &str, phase: ExporterPhase, heard: Option<Word>) {
        match phase {
            ExporterPhase::Unspecified => return,
            ExporterPhase::Offline => return self.left(exporter),
            ExporterPhase::Available => self.torn_down(exporter, heard),
            ExporterPhase::AfterLeaseHook => self.in_session(exporter, Session::Closing),
            ExporterPhase::BeforeLeaseHookFailed | ExporterPhase::AfterLeaseHookFailed => {
                self.in_session(exporter, Session::Failed);
            }
            ExporterPhase::BeforeLeaseHook | ExporterPhase::LeaseReady => {
                self.in_session(exporter, Session::Serving);
            }
        }
        if let Some(entry) = self.lock().entries.get_mut(exporter) {
            entry.phase = Some(phase);
        }
    }

    /// Notes that the exporter is about to be told of a lease, so that it owes a tear-down from now on. Telling it
    /// the same again, on another stream, changes nothing: it may have ended its session of that lease already, and
    /// will not say so twice. But as long as it has not said so, the earlier message may never have reached it.
    pub(crate) fn told_leased(&self, exporter: &str, lease: &str, word: Word) {
        let mut state = self.lock();
        let entry = state.entries.entry(exporter.to_owned()).or_default();
        entry.told_word = word.0;
        if entry.told.as_deref() == Some(lease) {
            if entry.owes_since.is_some() {
                entry.owes_word = word.0;
            }
            return;
        }
        entry.owes_since = Some(Instant::now());
        entry.owes_word = word.0;
        entry.session = Session::Serving;
        entry.told = Some(lease.to_owned());
        self.mark(&mut state, exporter);
    }

    /// Notes that the exporter reports a session, so that it owes a tear-down; its limit starts anew.
    pub(super) fn in_session(&self, exporter: &str, session: Session) {
        let mut state = self.lock();
        let entry = state.entries.entry(exporter.to_owned()).or_default();
        entry.reports = true;
        entry.session = session;
        entry.owes_since = Some(Instant::now());
        self.mark(&mut state, exporter);
    }

    /// Notes that the exporter said that it has no session.
    pub(super) fn torn_down(&self, exporter: &str, heard: Option<Word>) {
        let mut state = self.lock();
        let entry = state.entries.entry(exporter.to_owned()).or_default();
        entry.reports = true;
        let latest = if entry.told.is_some() { entry.told_word } else { 0 };
        if heard.is_some_and(|heard| heard.0 < entry.owes_word.max(latest)) {
            // It did not know of the lease yet, and is about to begin its session. What was stored before a restart may
            // have said that this was over.
            if entry.told.is_some() && entry.owes_since.is_none() {
                entry.owes_since = Some(Instant::now());
                entry.owes_word = latest;
                self.mark(&mut state, exporter);
            }
            return;
        }
        entry.session = Session::Serving;
        if entry.owes_since.take().is_some() {
            self.mark(&mut state, exporter);
        }
    }

    /// The lease that the exporter was told of last, unless it was told since that it is free.
    #[must_use]
    pub(crate) fn told(&self, exporter: &str) -> Option<String> {
        self.lock().entries.get(exporter)?.told.clone()
    }

    /// Notes that the lease the exporter was told of is over, so that the limit of its debt starts now. Peers that
    /// never report a status owe nothing once told; `silent` says that none is known of this one.
    pub(crate) fn told_free(&self, exporter: &str, silent: bool) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(exporter) {
            entry.told = None;
            if silent && !entry.reports {
                entry.owes_since = None;
            } else if entry.owes_since.is_some() {
                entry.owes_since = Some(Instant::now());
            }
        }
        self.mark(&mut state, exporter);
    }

    /// Whether the exporter was told of this lease and has reported since that it has no session any more.
    #[must_use]
    pub(crate) fn session_over(&self, exporter: &str, lease: &str) -> bool {
        let state = self.lock();
        state
            .entries
            .get(exporter)
            .is_some_and(|entry| entry.told.as_deref() == Some(lease) && entry.owes_since.is_none())
    }
}
