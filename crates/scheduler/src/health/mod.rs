//! How leases go, as far as that is the doing of their exporters: what is remembered of it, and for how long a bad one is
//! kept back.
//!
//! Pure edits of `status.health`, made in the very write that tells what has happened: the exporter's report, the loss of
//! its connection, the end of its lease. So each outcome counts once, whoever else notices it, and costs no write of its
//! own. What follows from the score is decided by the [`Lab`](crate::Lab).

mod outcome;
mod sentence;

pub(crate) use outcome::{NEVER_READY_AFTER, check_verdict};
pub use outcome::{connection_lost, lease_ended, reported};
pub(crate) use sentence::{over, quarantined, stays};

use jiff::SignedDuration;
use jumpstarter_model::{ExporterHealth, Timestamp};

/// The worst score.
const WORST: i32 = 100;
/// A failure takes the score a fifth of the way to the worst, a success takes it a fifth of the way to 0.
const STEP: i32 = 5;
/// Failures that are remembered for people.
const KEPT_FAILURES: usize = 5;

/// Limits of quarantines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineConfig {
    /// Score from which on an exporter is quarantined, 1 to 100.
    pub threshold: i32,
    /// The most of a pool that may be quarantined, in percent; one of a pool of at least two always may, unless this is
    /// 0: then nothing is quarantined automatically.
    pub share: u32,
    /// Length of the first quarantine in a row; each further one lasts twice as long.
    pub time: SignedDuration,
    /// The longest quarantine. One that begins within this time after another follows it in a row.
    pub longest: SignedDuration,
    /// Exporters with the same value of this label are a pool; without a key, and those without the label, all are.
    pub pool_label: Option<String>,
    /// Whether an exporter must pass a check before its quarantine ends.
    pub checks: bool,
    /// Checks under way at the same time.
    pub checks_at_once: usize,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self {
            threshold: 45,
            share: 20,
            time: SignedDuration::from_hours(1),
            longest: SignedDuration::from_hours(24),
            pool_label: None,
            checks: true,
            checks_at_once: 4,
        }
    }
}

impl QuarantineConfig {
    /// How long the quarantine that is number `times` in a row lasts.
    pub(crate) fn length(&self, times: i32) -> SignedDuration {
        let doublings = u32::try_from(times.saturating_sub(1).clamp(0, 20)).unwrap_or(0);
        self.time.checked_mul(1 << doublings).unwrap_or(SignedDuration::MAX).min(self.longest.max(self.time))
    }

    /// Which one in a row a quarantine is that begins now, given when the one before ended and which that was.
    pub(crate) fn next_in_row(&self, last: Option<(Timestamp, i32)>, now: Timestamp) -> i32 {
        match last {
            Some((ended, times)) if now.duration_since(ended) < self.longest => times.saturating_add(1),
            _ => 1,
        }
    }

    /// How many exporters of a pool of so many may be quarantined.
    pub(crate) fn most(&self, pool: usize) -> usize {
        if self.share == 0 || pool < 2 {
            return 0;
        }
        let share = usize::try_from(self.share.min(100)).unwrap_or(100);
        (pool.saturating_mul(share) / 100).max(1)
    }

    /// The score of an exporter whose quarantine ended without a check: one more failure is too much.
    pub(crate) fn probation(&self) -> i32 {
        self.threshold - 1
    }
}

/// The score after a failure.
fn worse(score: i32) -> i32 {
    let score = score.clamp(0, WORST);
    // Rounded up, so that it gets there.
    score + (WORST - score + STEP - 1) / STEP
}

/// The score after a success.
fn better(score: i32) -> i32 {
    let score = score.clamp(0, WORST);
    score - (score + STEP - 1) / STEP
}

/// Drops what says nothing.
fn tidy(health: Option<ExporterHealth>) -> Option<ExporterHealth> {
    health.filter(|health| *health != ExporterHealth::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_are_too_many_and_two_are_not() {
        let config = QuarantineConfig::default();
        let twice = worse(worse(0));
        assert!(twice < config.threshold && worse(twice) >= config.threshold, "{twice}");
        assert!(worse(config.probation()) >= config.threshold);
    }

    #[test]
    fn scores_reach_both_ends() {
        let ends = [worse, better].map(|step| (0..100).fold(50, |score, _| step(score)));
        assert_eq!(ends, [WORST, 0]);
    }

    #[test]
    fn quarantines_in_a_row_double_up_to_the_longest() {
        let config = QuarantineConfig::default();
        let hours = [1, 2, 3, 5, 6, 40, i32::MAX].map(|times| config.length(times).as_hours());
        assert_eq!(hours, [1, 2, 4, 16, 24, 24, 24]);
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |hours| now - SignedDuration::from_hours(hours);
        assert_eq!(config.next_in_row(None, now), 1);
        assert_eq!(config.next_in_row(Some((ago(23), 2)), now), 3);
        assert_eq!(config.next_in_row(Some((ago(24), 2)), now), 1);
    }

    #[test]
    fn a_pool_of_two_may_lose_one_and_a_lone_exporter_none() {
        let config = QuarantineConfig::default();
        assert_eq!([0, 1, 2, 9, 10, 100].map(|pool| config.most(pool)), [0, 0, 1, 1, 2, 20]);
        let off = QuarantineConfig { share: 0, ..QuarantineConfig::default() };
        assert_eq!(off.most(100), 0);
    }
}
