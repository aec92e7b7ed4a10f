//! Time: one simulated clock, and what the clocks of service processes show of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use jumpstarter_store::Clock;
use tokio::time::Instant;

/// The second at which every simulation begins: 2030-01-01.
const EPOCH: i64 = 1_893_456_000;

/// The true time. It stands still while anything can run, and jumps to the next moment at which something can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    start: Instant,
}

impl Time {
    /// Begins now; only inside a runtime whose time is paused.
    pub(crate) fn begin() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the begin.
    pub(crate) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    /// The true date.
    pub(crate) fn now(self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed()).unwrap_or(SignedDuration::MAX);
        Timestamp::from_second(EPOCH).unwrap_or_default() + elapsed
    }

    /// A clock that shows the true time and what `offset` says on top.
    pub(crate) fn clock(self, offset: &Offset) -> Clock {
        let offset = offset.clone();
        Clock::from_fn(move || self.now() + offset.get())
    }
}

/// How far a clock is ahead of the true time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offset(Arc<AtomicI64>);

impl Offset {
    /// What it is now.
    pub(crate) fn get(&self) -> SignedDuration {
        SignedDuration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Lets the clock jump to this much ahead of (or, if negative, behind) the true time.
    pub(crate) fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}
