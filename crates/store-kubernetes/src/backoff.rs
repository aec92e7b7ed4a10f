//! Growing, jittered pauses between attempts.

use std::time::Duration;

use rand::Rng as _;

/// Doubles from a first pause up to a limit; each pause is drawn between half of it and all of it.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.most);
        jittered(pause)
    }

    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Between half of `pause` and all of it, so that replicas do not knock in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for most in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause();
            assert!(pause <= Duration::from_millis(most), "{pause:?} of {most}");
            assert!(pause >= Duration::from_millis(most / 2), "{pause:?} of {most}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
