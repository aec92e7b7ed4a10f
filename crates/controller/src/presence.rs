//! Who is online now, known from open Status streams (architecture: liveness without write storms).
//!
//! Held in memory. The lab runtime is told which exporters changed and writes conditions on transitions only.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jumpstarter_model::ExporterPhase;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Takeovers of one exporter's stream within [`CONTEST_WINDOW`] before newcomers are held off: two processes with one
/// identity would otherwise push each other out for ever.
const CONTESTED_AFTER: usize = 3;
/// Window in which takeovers are counted.
const CONTEST_WINDOW: Duration = Duration::from_secs(30);
/// Names of processes that are remembered of an exporter: what comes late comes from one of the last.
const PROCESSES: usize = 4;
/// How long after its lease an exporter with a failed hook may still speak: three times the second that it waits. One
/// that shuts down says OFFLINE at once.
const AFTER_FAILED_HOOK: Duration = Duration::from_secs(3);

/// What the runtime needs to know of one exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// A Status stream is open, or was within the grace.
    pub(crate) online: bool,
    /// The exporter was told of a lease and has not confirmed that its session is torn down.
    pub(crate) owes_tear_down: bool,
    /// The exporter did not confirm in time and is taken to be idle.
    pub(crate) overdue: bool,
}

/// What a session's exporter said last, as far as the limit of its tear-down depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Session {
    /// It serves, or gets ready to.
    #[default]
    Serving,
    /// It runs its tear-down hook, which may take long.
    Closing,
    /// A hook failed, and nothing runs any more. Released exporters say nothing further when their lease is released
    /// within the second that they wait before they release it themselves.
    Failed,
}

/// Another process holds this exporter's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this exporter is already served by another process with the same credentials: stop one of them")]
pub(crate) struct Contested;

impl Entry {
    /// A new process knows of no lease.
    fn begin_anew(&mut self) {
        self.owes_since = None;
        self.owes_word = 0;
        self.told = None;
        self.session = Session::Serving;
        self.reports = false;
        self.phase = None;
        self.restarted = false;
    }
}

/// Names a message on a Status stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(u64);

impl Word {
    /// What an exporter was told before this process began.
    pub(crate) const EARLIER: Self = Self(0);
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that the exporter told or was told")]
struct Entry {
    stream: Option<(u64, CancellationToken)>,
    /// Last sign of life without an open stream.
    last_sign: Option<Instant>,
    takeovers: VecDeque<Instant>,
    /// Whether it ever had a stream here.
    attended: bool,
    /// It said that it leaves; true until it comes back.
    left: bool,
    /// The lease that it was told of, until it was told that it is free, and the last message that did so.
    told: Option<String>,
    told_word: u64,
    owes_since: Option<Instant>,
    /// The message from which it learned of what it owes, zero when that was before a restart of the controller.
    owes_word: u64,
    /// What it said of its session last.
    session: Session,
    /// This process reports its status; peers that never do owe nothing.
    reports: bool,
    /// What this process reported last.
    phase: Option<ExporterPhase>,
    /// Names of the last processes, the newest at the end, where they have one.
    processes: VecDeque<String>,
    /// Somebody registered while the stream of a process was open that does not tell its name: a new process, when the
    /// next stream opens.
    restarted: bool,
}

#[derive(Default)]
struct State {
    entries: HashMap<String, Entry>,
    changed: BTreeSet<String>,
    /// How many of them have a stream open.
    open: usize,
    streams: u64,
    words: u64,
}

/// The register of open Status streams.
#[derive(Clone)]
pub(crate) struct Presence {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    /// Tells messages of this process from those of others.
    incarnation: Arc<str>,
    grace: Duration,
    tear_down: Duration,
    hook_limit: Duration,
}

impl Presence {
    /// `grace`: how long a lost stream may take to come back before the exporter counts as offline. `tear_down`: how
    /// long a debt of tear-down is believed without a word from the exporter, and `hook_limit` the same while its
    /// tear-down hook runs.
    #[must_use]
    pub(crate) fn new(grace: Duration, tear_down: Duration, hook_limit: Duration) -> Self {
        let hook_limit = hook_limit.max(tear_down);
        let incarnation = Uuid::new_v4().simple().to_string().into();
        Self { state: Arc::default(), changed: Arc::default(), incarnation, grace, tear_down, hook_limit }
    }

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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn mark(&self, state: &mut State, exporter: &str) {
        if state.changed.insert(exporter.to_owned()) {
            self.changed.notify_one();
        }
    }

    /// Opens a Status stream: the exporter is online. An older stream is ended through its token.
    pub(crate) fn open(&self, exporter: &str) -> Result<Attendance, Contested> {
        let mut state = self.lock();
        state.streams += 1;
        let id = state.streams;
        let now = Instant::now();
        let entry = state.entries.entry(exporter.to_owned()).or_default();
        let replaced = CancellationToken::new();
        if let Some((_, old)) = &entry.stream {
            while entry.takeovers.front().is_some_and(|at| now - *at > CONTEST_WINDOW) {
                entry.takeovers.pop_front();
            }
            if entry.takeovers.len() >= CONTESTED_AFTER {
                return Err(Contested);
            }
            entry.takeovers.push_back(now);
            old.cancel();
        }
        if entry.restarted {
            entry.begin_anew();
        }
        let first = entry.stream.replace((id, replaced.clone())).is_none();
        entry.attended = true;
        entry.last_sign = Some(now);
        entry.left = false;
        state.open += usize::from(first);
        self.mark(&mut state, exporter);
        Ok(Attendance { presence: self.clone(), exporter: exporter.to_owned(), id, replaced })
    }

    /// Notes a sign of life outside a stream.
    pub(crate) fn seen(&self, exporter: &str) {
        let mut state = self.lock();
        let entry = state.entries.entry(exporter.to_owned()).or_default();
        entry.last_sign = Some(Instant::now());
        entry.left = false;
        self.mark(&mut state, exporter);
    }

    /// Expects an exporter back that was online before a restart: it counts as online for `grace`.
    pub(crate) fn expect(&self, exporter: &str, grace: Duration) {
        let mut state = self.lock();
        // A sign of life dated so that the ordinary grace ends when this one does.
        let sign = Instant::now() + grace.saturating_sub(self.grace);
        state.entries.entry(exporter.to_owned()).or_default().last_sign = Some(sign);
        self.mark(&mut state, exporter);
    }

    /// Notes that the exporter left on purpose: it is offline at once.
    pub(crate) fn left(&self, exporter: &str) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(exporter) {
            entry.last_sign = None;
            entry.left = true;
            entry.owes_since = None;
            entry.owes_word = 0;
            entry.told = None;
            entry.phase = None;
        }
        self.mark(&mut state, exporter);
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

    /// What the process that is connected, or was, reported last. It does not repeat that after a lost connection.
    #[must_use]
    pub(crate) fn last_report(&self, exporter: &str) -> Option<ExporterPhase> {
        self.lock().entries.get(exporter)?.phase
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

    /// Notes what an exporter is in the store, whoever it told so.
    pub(crate) fn noticed(&self, exporter: &str, phase: ExporterPhase) {
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
    fn in_session(&self, exporter: &str, session: Session) {
        let mut state = self.lock();
        let entry = state.entries.entry(exporter.to_owned()).or_default();
        entry.reports = true;
        entry.session = session;
        entry.owes_since = Some(Instant::now());
        self.mark(&mut state, exporter);
    }

    /// Notes that the exporter said that it has no session.
    fn torn_down(&self, exporter: &str, heard: Option<Word>) {
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

    /// Forgets an exporter that was deleted; an open stream is ended.
    pub(crate) fn forget(&self, exporter: &str) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.remove(exporter)
            && let Some((_, stream)) = entry.stream
        {
            state.open -= 1;
            stream.cancel();
        }
    }

    /// What is known of an exporter, and when that changes by time alone.
    #[must_use]
    pub(crate) fn sight(&self, exporter: &str) -> (Sight, Option<Instant>) {
        let state = self.lock();
        let now = Instant::now();
        let Some(entry) = state.entries.get(exporter) else {
            return (Sight { online: false, owes_tear_down: false, overdue: false }, None);
        };
        let mut next = None;
        let online = !entry.left && entry.stream.is_some()
            || entry.last_sign.is_some_and(|at| {
                let until = at + self.grace;
                next = (now < until).then_some(until);
                now < until
            });
        let mut overdue = false;
        let owes = entry.owes_since.is_some_and(|since| {
            // While a session may run the debt stands; the limit counts from the last word.
            if entry.told.is_some() {
                return true;
            }
            let until = since
                + match entry.session {
                    Session::Serving => self.tear_down,
                    Session::Closing => self.hook_limit,
                    Session::Failed => AFTER_FAILED_HOOK.min(self.tear_down),
                };
            if now < until {
                next = Some(next.map_or(until, |soonest: Instant| soonest.min(until)));
            }
            overdue = now >= until;
            !overdue
        });
        (Sight { online, owes_tear_down: owes, overdue }, next)
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

    /// Time since the last sign of life; nothing when there never was one.
    #[must_use]
    pub(crate) fn silence(&self, exporter: &str) -> Option<Duration> {
        let state = self.lock();
        let entry = state.entries.get(exporter)?;
        if entry.stream.is_some() {
            return Some(Duration::ZERO);
        }
        entry.last_sign.map(|at| at.elapsed())
    }

    /// Whether a stream was ever open here.
    #[must_use]
    pub(crate) fn was_attended(&self, exporter: &str) -> bool {
        self.lock().entries.get(exporter).is_some_and(|entry| entry.attended)
    }

    /// Whether a stream is open now.
    #[must_use]
    pub(crate) fn is_connected(&self, exporter: &str) -> bool {
        self.lock().entries.get(exporter).is_some_and(|entry| entry.stream.is_some())
    }

    /// Number of exporters that something is known of.
    #[must_use]
    pub(crate) fn entries(&self) -> usize {
        let state = self.lock();
        state.entries.len() + state.changed.len()
    }

    /// Number of exporters with an open stream.
    #[must_use]
    pub(crate) fn online_count(&self) -> usize {
        self.lock().open
    }

    /// Exporters whose presence changed since the last call.
    #[must_use]
    pub(crate) fn take_changed(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().changed).into_iter().collect()
    }

    /// Waits for a change to take.
    ///
    /// # Cancel safety
    /// Cancel safe: the changed set is kept until taken.
    pub(crate) async fn changed(&self) {
        loop {
            let notified = self.changed.notified();
            if !self.lock().changed.is_empty() {
                return;
            }
            notified.await;
        }
    }
}

/// An open Status stream; dropping it starts the grace.
pub(crate) struct Attendance {
    presence: Presence,
    exporter: String,
    id: u64,
    replaced: CancellationToken,
}

impl Attendance {
    /// Fires when a newer stream of the same exporter took over, or the exporter was deleted.
    #[must_use]
    pub(crate) fn replaced(&self) -> &CancellationToken {
        &self.replaced
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut state = self.presence.lock();
        if let Some(entry) = state.entries.get_mut(&self.exporter)
            && entry.stream.as_ref().is_some_and(|(id, _)| *id == self.id)
        {
            entry.stream = None;
            if entry.last_sign.is_some() {
                entry.last_sign = Some(Instant::now());
            }
            state.open -= 1;
            self.presence.mark(&mut state, &self.exporter);
        }
    }
}
