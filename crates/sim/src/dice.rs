//! Chance, from one seed: whatever is drawn in a run is drawn from here.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::RangeInclusive,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// A stream of chance. Every actor has its own, named after it, so that what one draws does not depend on how often
/// another has drawn.
#[derive(Debug)]
pub(crate) struct Dice(StdRng);

impl Dice {
    /// The stream of this name.
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        // Its keys are fixed, unlike those of a map's hasher.
        let mut hasher = DefaultHasher::new();
        (seed, name).hash(&mut hasher);
        Self(StdRng::seed_from_u64(hasher.finish()))
    }

    /// True in this share of cases.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.0.random_bool(share.min(1.0))
    }

    /// A number of the range.
    pub(crate) fn number(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// A time of the range, in milliseconds.
    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.0.random_range(range))
    }

    /// A time around this mean: most are shorter, few much longer.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        let uniform: f64 = self.0.random_range(0.001..1.0);
        mean.mul_f64(-uniform.ln())
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.random_range(0..from.len())]
    }
}
