//! How long things last.

use std::time::Duration;

/// Periods of an election; complete and consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Why periods do not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TimingError {
    /// The record holds whole seconds, and at least one.
    #[error("the lease duration of {0:?} is not a whole number of seconds")]
    Lease(Duration),
    /// Then a leader would still lead when others may take over.
    #[error(
        "the renew deadline of {deadline:?} must be at least a second shorter than the lease duration of {lease:?}"
    )]
    Deadline {
        /// As given.
        deadline: Duration,
        /// As given.
        lease: Duration,
    },
    /// Then one lost answer would cost the leadership.
    #[error(
        "the retry period of {retry:?} must be at most a third of the renew deadline of {deadline:?}, and not zero"
    )]
    Retry {
        /// As given.
        retry: Duration,
        /// As given.
        deadline: Duration,
    },
}

impl Timing {
    /// Checks that the periods fit together.
    ///
    /// # Errors
    /// See [`TimingError`].
    pub fn new(lease: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, TimingError> {
        if lease < Duration::from_secs(1) || lease.subsec_nanos() != 0 || i32::try_from(lease.as_secs()).is_err() {
            return Err(TimingError::Lease(lease));
        }
        if renew_deadline + Duration::from_secs(1) > lease {
            return Err(TimingError::Deadline { deadline: renew_deadline, lease });
        }
        if retry.is_zero() || retry * 3 > renew_deadline {
            return Err(TimingError::Retry { retry, deadline: renew_deadline });
        }
        Ok(Self { lease, renew_deadline, retry })
    }

    /// How long others must see the record unchanged before they take over. Whole seconds.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How long after its last accepted write a leader leads.
    #[must_use]
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// Time between two renewals, and between two attempts of those who wait.
    #[must_use]
    pub fn retry(&self) -> Duration {
        self.retry
    }

    /// How long one call may take: so short that a leader has time for a second one, and never more than 5 s.
    #[must_use]
    pub fn call(&self) -> Duration {
        (self.renew_deadline / 2).min(Duration::from_secs(5))
    }

    /// How long a leader waits after a call that failed. Shorter than [`Timing::retry`]: an API server that restarts is
    /// back within seconds, and the deadline runs.
    #[must_use]
    pub fn hurry(&self) -> Duration {
        self.retry / 4
    }

    /// Silence after which one who waits reads the object instead of relying on the watch: a leader renews every
    /// [`Timing::retry`].
    #[must_use]
    pub fn quiet(&self) -> Duration {
        self.retry * 2
    }
}

impl Default for Timing {
    /// Lease 10 s, renew deadline 7 s, retry 2 s: a dead leader is replaced within about 12 s, and an API server may be
    /// away for 5 s without anybody noticing.
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), renew_deadline: Duration::from_secs(7), retry: Duration::from_secs(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lease: u64, deadline: u64, retry: u64, fits: bool) {
        let second = Duration::from_secs;
        assert_eq!(Timing::new(second(lease), second(deadline), second(retry)).is_ok(), fits);
    }

    #[test]
    fn periods_must_fit_together() {
        check(10, 7, 2, true);
        check(15, 10, 2, true);
        check(3, 2, 1, false);
        check(10, 10, 2, false);
        check(10, 7, 3, false);
        check(10, 7, 0, false);
        check(0, 0, 0, false);
        assert_eq!(
            Timing::new(Duration::from_millis(2500), Duration::from_secs(1), Duration::from_millis(200)),
            Err(TimingError::Lease(Duration::from_millis(2500)))
        );
        let usual = Timing::default();
        assert_eq!(Timing::new(usual.lease, usual.renew_deadline, usual.retry), Ok(usual));
    }
}
