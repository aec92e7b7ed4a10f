//! How much a peer that is far may send ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::{FILLED_RATE, LONGEST_STREAM_WINDOW};

/// Round trips below this need no more than the usual window, and a busy machine takes as long to answer.
const NEAR: Duration = Duration::from_millis(4);

/// What all connections of a server together get beyond the usual window: so much may one stream of each make us keep
/// when its reader is slow.
const IN_FLIGHT: u64 = 512 * 1024 * 1024;

/// No connection gets more than this part of what is left.
const PART: u64 = 4;

/// What is left for peers that are far.
#[derive(Debug)]
pub(super) struct FarWindows {
    left: AtomicU64,
}

/// The window of one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Window {
    /// For each of its streams, in bytes; nought where the usual one will do.
    pub(super) bytes: u32,
    from: Arc<FarWindows>,
}

impl FarWindows {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(IN_FLIGHT) })
    }

    /// For a peer that takes `round_trip` to answer.
    pub(super) fn take(self: &Arc<Self>, round_trip: Duration) -> Window {
        let wanted = u64::from(wanted(round_trip));
        let mut bytes = 0;
        // Never fails: the closure always gives a value.
        let _ = self.left.fetch_update(Relaxed, Relaxed, |left| {
            bytes = wanted.min(left / PART);
            Some(left - bytes)
        });
        let bytes = u32::try_from(bytes).expect("no more than was wanted");
        Window { bytes, from: Arc::clone(self) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.from.left.fetch_add(u64::from(self.bytes), Relaxed);
    }
}

/// The window that lets one stream fill a link of [`FILLED_RATE`] with this round trip: twice the bytes under way,
/// since room is given back only when half of a window was read.
fn wanted(round_trip: Duration) -> u32 {
    if round_trip < NEAR {
        return 0;
    }
    let under_way = u128::from(FILLED_RATE) * round_trip.as_micros() / 1_000_000;
    u32::try_from(2 * under_way).unwrap_or(u32::MAX).min(LONGEST_STREAM_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn windows_grow_with_the_way_to_the_peer() {
        assert_eq!(wanted(millis(0)), 0);
        assert_eq!(wanted(millis(3)), 0);
        assert_eq!(wanted(millis(20)), 5_000_000);
        assert_eq!(wanted(Duration::from_hours(1)), LONGEST_STREAM_WINDOW);
    }

    #[test]
    fn all_together_have_a_limit_and_give_back() {
        let far = FarWindows::new();
        let windows: Vec<Window> = (0..10_000).map(|_| far.take(millis(500))).collect();
        assert_eq!(windows[0].bytes, LONGEST_STREAM_WINDOW);
        assert!(windows[9_999].bytes < 1024, "{:?}", windows[9_999]);
        assert!(windows.iter().map(|window| u64::from(window.bytes)).sum::<u64>() <= IN_FLIGHT);
        drop(windows);
        assert_eq!(far.left.load(Relaxed), IN_FLIGHT);
    }
}
