//! Growing pauses between attempts.
use std::time::Duration;

use rand::Rng as _;

/// First pause.
const FIRST: Duration = Duration::from_millis(200);
/// Longest pause: short enough that a lab is whole again soon after its service is.
const CAP: Duration = Duration::from_secs(10);

/// Doubles from [`FIRST`] to [`CAP`], each pause shortened at random by up to a half so that many exporters
/// do not come back in step.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Starts again from the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_start_again() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        let late = (0..40).map(|_| backoff.next()).last().unwrap();
        assert!(late >= CAP / 2 && late <= CAP, "{late:?}");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
