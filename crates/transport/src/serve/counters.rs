//! What a server counts, for whoever exports it.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counters of one or several servers. Totals only grow; `open` is what there is now.
#[derive(Debug, Default)]
pub struct ServeCounters {
    open: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    handshakes_ok: AtomicU64,
    handshakes_failed: AtomicU64,
    handshake_micros: AtomicU64,
    observer: Observer,
}

/// Told how long each successful handshake took.
#[derive(Default)]
struct Observer(OnceLock<Box<dyn Fn(Duration) + Send + Sync>>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Observer" } else { "None" })
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServeTotals {
    /// Connections that are open, handshakes included.
    pub open: u64,
    /// Connections ever taken.
    pub accepted: u64,
    /// Connections closed at once because the limit was reached.
    pub refused: u64,
    /// TLS handshakes that succeeded.
    pub handshakes_ok: u64,
    /// TLS handshakes that failed or ran out of time; probes that just hang up are among them.
    pub handshakes_failed: u64,
    /// Time that the successful ones took together.
    pub handshake_time: Duration,
}

impl ServeCounters {
    /// Reads all counters.
    #[must_use]
    pub fn totals(&self) -> ServeTotals {
        ServeTotals {
            open: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            handshakes_ok: self.handshakes_ok.load(Relaxed),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
            handshake_time: Duration::from_micros(self.handshake_micros.load(Relaxed)),
        }
    }

    /// Has `observe` told how long each TLS handshake took that succeeded, for a histogram. Must not block; the first one
    /// to come stays.
    pub fn observe_handshakes(&self, observe: impl Fn(Duration) + Send + Sync + 'static) {
        // Whoever comes second would count the same again.
        let _ = self.observer.0.set(Box::new(observe));
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn handshake_ok(&self, took: Duration) {
        self.handshakes_ok.fetch_add(1, Relaxed);
        self.handshake_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        if let Some(observe) = self.observer.0.get() {
            observe(took);
        }
    }

    pub(super) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn open(self: &std::sync::Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        OpenConnection(std::sync::Arc::clone(self))
    }
}

pub(super) struct OpenConnection(std::sync::Arc<ServeCounters>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
