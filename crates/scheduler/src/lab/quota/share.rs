//! Shares: device time that fades.
//!
//! An hour of use counts half when a half-life has passed. Rather than let every sum fade, whatever is used later counts
//! for more: instants are measured by `2^(t / half-life)`, a lease counts for the difference between its end and its
//! begin on that scale, and sums are compared. All of it is in whole numbers, so that a sum does not depend on the order
//! in which it was made, and a new core comes to the same.

use jiff::SignedDuration;
use jumpstarter_model::{GoDuration, Timestamp};

/// A lease that runs counts this far ahead: otherwise all devices that come free at once would go to whoever has used
/// the least so far, since time must pass before it has used more.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_mins(10);
/// Half-lives after which instants are measured from another one. The scale doubles with each.
const HALF_LIVES: i64 = 16;
/// The scale at the instant from which it is measured. What counts less than one has faded.
const UNIT: f64 = 1_099_511_627_776.0;

/// The scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decay {
    half_life: i64,
    /// The instant from which others are measured, in seconds.
    origin: i64,
    /// The scale of now, for those who use something.
    now: i128,
}

impl Decay {
    pub(super) fn new(half_life: SignedDuration) -> Self {
        Self { half_life: half_life.as_secs().max(1), origin: 0, now: 0 }
    }

    /// So many half-lives.
    pub(super) fn half_lives(&self, count: i64) -> SignedDuration {
        SignedDuration::from_secs(self.half_life.saturating_mul(count))
    }

    /// Notes what time it is. Returns whether everything must be measured anew.
    pub(super) fn set(&mut self, now: Timestamp) -> bool {
        let step = self.half_life.saturating_mul(HALF_LIVES);
        let origin = now.as_second().div_euclid(step).saturating_mul(step);
        let moved = std::mem::replace(&mut self.origin, origin) != origin;
        let ahead = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        self.now = self.measure(ahead);
        moved
    }

    /// The same scale, seen from `now`.
    pub(super) fn at(mut self, now: Timestamp) -> Self {
        self.now = self.measure(now.checked_add(AHEAD).unwrap_or(Timestamp::MAX));
        self
    }

    /// How much time just before `now` counts for as much as this.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "for people, and cut off by the cast"
    )]
    pub(super) fn as_time(&self, amount: i128, now: Timestamp) -> GoDuration {
        // The scale grows by its logarithm of two with each half-life.
        let second = self.measure(now).max(1) as f64 * std::f64::consts::LN_2 / self.half_life as f64;
        GoDuration::from_secs((amount as f64 / second).round() as i64)
    }

    /// An instant on the scale. Always the same for the same origin.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded, and rounded on purpose")]
    pub(super) fn measure(&self, at: Timestamp) -> i128 {
        let half_lives = (at.as_second() - self.origin) as f64 / self.half_life as f64;
        (half_lives.clamp(-60.0, 40.0).exp2() * UNIT) as i128
    }
}

/// What an account has used, on the scale.
#[derive(Debug, Default)]
pub(super) struct Usage {
    ended: i128,
    running: i128,
    begun: i128,
}

impl Usage {
    /// Adds a lease, or takes one away with `sign` -1.
    pub(super) fn count(&mut self, decay: &Decay, begin: Timestamp, end: Option<Timestamp>, sign: i128) {
        let begin = decay.measure(begin);
        match end {
            Some(end) => self.ended += sign * (decay.measure(end) - begin).max(0),
            None => {
                self.running += sign;
                self.begun += sign * begin;
            }
        }
    }

    /// All of it now. Amounts of one lab can be compared, whoever's they are.
    pub(super) fn amount(&self, decay: &Decay) -> i128 {
        (self.ended + self.running * decay.now - self.begun).max(0)
    }
}
