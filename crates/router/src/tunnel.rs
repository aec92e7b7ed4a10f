//! What the two halves of a tunnel know of each other.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;

use crate::input::Input;
use crate::metrics::{Direction, Metrics, Outcome};
use crate::{Side, StreamId};

/// One of the two seats: the half that came first, or the one that joined it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    First,
    Second,
}

impl Seat {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Told to a half from outside.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// End as if the other side were gone.
    End,
    /// Stop waiting, with this status.
    Refuse(Status),
    /// The caller broke the protocol: end with this status.
    Blame(Status),
}

/// A half, as the other one sees it.
#[derive(Default)]
pub(crate) struct Half {
    pub(crate) side: Option<Side>,
    /// Its request body, until the other half takes it.
    pub(crate) input: Option<Input>,
    /// Present once it sat down.
    pub(crate) present: bool,
    /// All of its requests were passed on, and it ended them itself.
    pub(crate) finished: bool,
    /// Nobody reads its responses any more.
    pub(crate) gone: bool,
    pub(crate) order: Option<Order>,
    waker: Option<Waker>,
}

impl Half {
    /// Remembers who is to be woken when something of this changes.
    pub(crate) fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

/// Two halves, or one and an empty seat.
#[derive(Default)]
pub(crate) struct Halves([Half; 2]);

impl Halves {
    pub(crate) fn at(&mut self, seat: Seat) -> &mut Half {
        match seat {
            Seat::First => &mut self.0[0],
            Seat::Second => &mut self.0[1],
        }
    }
}

/// Shared by the responses of both halves; dropped with the later of them.
pub(crate) struct Tunnel {
    pub(crate) stream: StreamId,
    halves: Mutex<Halves>,
    /// Bytes from the first and from the second half.
    bytes: [AtomicU64; 2],
    opened: Instant,
    outcome: AtomicU8,
    metrics: Arc<Metrics>,
    _alive: TaskTrackerToken,
}

impl Tunnel {
    pub(crate) fn new(stream: StreamId, metrics: Arc<Metrics>, alive: TaskTrackerToken) -> Self {
        metrics.tunnels.inc();
        Self {
            stream,
            halves: Mutex::default(),
            bytes: Default::default(),
            opened: Instant::now(),
            outcome: AtomicU8::new(0),
            metrics,
            _alive: alive,
        }
    }

    /// The state of both halves. Held for a few assignments, never while something is awaited.
    pub(crate) fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A half takes its seat.
    pub(crate) fn sit(&self, seat: Seat, side: Option<Side>, input: Input) {
        let mut halves = self.halves();
        let half = halves.at(seat);
        half.side = side;
        half.input = Some(input);
        half.present = true;
        let waker = halves.at(seat.other()).waker.take();
        drop(halves);
        wake(waker);
    }

    /// Changes something about a half and wakes it.
    pub(crate) fn change(&self, seat: Seat, change: impl FnOnce(&mut Half)) {
        let mut halves = self.halves();
        let half = halves.at(seat);
        change(half);
        let waker = half.waker.take();
        drop(halves);
        wake(waker);
    }

    /// Gives an order to both halves, the first to come counts.
    pub(crate) fn order(&self, order: &Order) {
        for seat in [Seat::First, Seat::Second] {
            self.change(seat, |half| {
                half.order.get_or_insert_with(|| order.clone());
            });
        }
    }

    /// Counts what was passed on from `seat`.
    pub(crate) fn count(&self, seat: Seat, side: Option<Side>, bytes: usize) {
        self.bytes[seat as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.count_bytes(Direction::from(side), bytes);
    }

    /// Says how it ends; the first word counts.
    pub(crate) fn ends(&self, outcome: Outcome) {
        let _ = self.outcome.compare_exchange(0, outcome as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let halves = self.halves.get_mut().unwrap_or_else(PoisonError::into_inner);
        let joined = halves.at(Seat::Second).present;
        let finished = halves.at(Seat::First).finished && halves.at(Seat::Second).finished;
        let outcome = Outcome::from_repr(*self.outcome.get_mut()).unwrap_or(match (joined, finished) {
            (true, true) => Outcome::Complete,
            (true, false) => Outcome::Cut,
            (false, _) => Outcome::Abandoned,
        });
        let side = halves.at(Seat::First).side;
        self.metrics.tunnels.dec();
        self.metrics.count_end(outcome);
        let [first, second] = [*self.bytes[0].get_mut(), *self.bytes[1].get_mut()];
        let (from_client, from_exporter) = match side {
            Some(Side::Client) | None => (first, second),
            Some(Side::Exporter) => (second, first),
        };
        let seconds = self.age().as_secs_f64();
        let stream = &self.stream;
        if joined {
            tracing::info!(%stream, outcome = outcome.name(), from_client, from_exporter, seconds, "stream ended");
        } else {
            tracing::debug!(%stream, outcome = outcome.name(), seconds, "stream ended without a partner");
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
