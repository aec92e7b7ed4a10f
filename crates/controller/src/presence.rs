//! Who is online now, known from open Status streams (architecture: liveness without write storms).
//!
//! Held in memory. The lab runtime is told which exporters changed and writes conditions on transitions only.

mod debt;
mod process;
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

pub(crate) use self::debt::Word;
use self::debt::{Debt, Session};

/// Takeovers of one exporter's stream within [`CONTEST_WINDOW`] before newcomers are held off: two processes with one
/// identity would otherwise push each other out for ever.
const CONTESTED_AFTER: usize = 3;
/// Window in which takeovers are counted.
const CONTEST_WINDOW: Duration = Duration::from_secs(30);
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

/// Another process holds this exporter's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this exporter is already served by another process with the same credentials: stop one of them")]
pub(crate) struct Contested;

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
        let debt = entry.debt(now, self.tear_down, self.hook_limit);
        if let Debt::Until(until) = debt {
            next = Some(next.map_or(until, |soonest: Instant| soonest.min(until)));
        }
        let owes_tear_down = matches!(debt, Debt::Open | Debt::Until(_));
        (Sight { online, owes_tear_down, overdue: debt == Debt::Overdue }, next)
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
