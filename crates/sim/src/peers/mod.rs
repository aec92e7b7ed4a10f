//! The people and machines around the service.

pub(crate) mod administrator;
pub(crate) mod client;
pub(crate) mod exporter;
pub(crate) mod group;
pub(crate) mod link;
pub(crate) mod maintainer;
mod sessions;

use std::time::Duration;

use crate::dice::Dice;

/// The machine that decides what an exporter does, from the exporter's own source.
#[path = "../../../exporter/src/lifecycle/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the exporter uses all of it")]
pub(crate) mod lifecycle;

/// Growing pauses between attempts, as peers make them.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn next(&mut self, dice: &mut Dice) -> Duration {
        let full = 200_u64.saturating_mul(1 << self.failures.min(16)).min(10_000);
        self.failures = self.failures.saturating_add(1);
        dice.millis(full / 2..=full)
    }
}
