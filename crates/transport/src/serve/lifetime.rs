//! When a connection has been idle for too long, or is too old.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::ServeLimits;
use super::activity::Activity;

/// A connection's age limit varies by this part of it, so that connections made together do not all end together.
const JITTER: u32 = 10;
/// A peer is not asked to go more often than this, however small the numbers of a configuration are.
const SHORTEST: Duration = Duration::from_millis(100);

/// The clock of one connection.
pub(super) struct Lifetime {
    activity: Arc<Activity>,
    idle: Option<Duration>,
    /// When it is too old.
    old_at: Option<Instant>,
    grace: Option<Duration>,
    /// When calls in flight are cut, once it was told to end for its age.
    cut_at: Option<Instant>,
    draining: bool,
}

/// What to do with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Tell the peer to open another one for further calls; those in flight go on.
    Drain,
    /// End it with whatever is in flight.
    Cut,
}

impl Lifetime {
    pub(super) fn new(limits: &ServeLimits, activity: Arc<Activity>, now: Instant) -> Self {
        let old_at = limits.max_connection_age.map(|age| now + varied(age.max(SHORTEST)));
        Self {
            activity,
            idle: limits.max_connection_idle.map(|idle| idle.max(SHORTEST)),
            old_at,
            grace: limits.max_connection_age_grace,
            cut_at: None,
            draining: false,
        }
    }

    /// Waits until something is to be done; forever if nothing ever is.
    ///
    /// # Cancel safety
    /// Cancel safe: what is due is computed anew.
    pub(super) async fn next(&mut self) -> Verdict {
        loop {
            let now = Instant::now();
            match self.look(now) {
                Ok(verdict) => return verdict,
                Err(Some(at)) => sleep_until(at).await,
                Err(None) => std::future::pending().await,
            }
        }
    }

    /// What is due, else when to look again.
    fn look(&mut self, now: Instant) -> Result<Verdict, Option<Instant>> {
        if self.draining {
            return match self.cut_at {
                Some(at) if at <= now => {
                    self.cut_at = None;
                    Ok(Verdict::Cut)
                }
                at => Err(at),
            };
        }
        if self.old_at.is_some_and(|at| at <= now) {
            self.draining = true;
            self.cut_at = self.grace.map(|grace| now + grace);
            return Ok(Verdict::Drain);
        }
        // While calls are in flight it cannot become idle earlier than a whole period from now.
        let idle_at = self.idle.map(|idle| self.activity.quiet_since().unwrap_or(now) + idle);
        if idle_at.is_some_and(|at| at <= now) {
            self.draining = true;
            return Ok(Verdict::Drain);
        }
        Err([idle_at, self.old_at].into_iter().flatten().min())
    }
}

/// `age`, more or less a tenth of it.
fn varied(age: Duration) -> Duration {
    let span = age / JITTER;
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_mul(2);
    // A hasher with random keys is all the randomness that this needs.
    let random = RandomState::new().hash_one(0_u8);
    age.saturating_sub(span).saturating_add(Duration::from_millis(random % millis.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(idle: u64, age: u64, grace: u64) -> ServeLimits {
        let seconds = |number: u64| (number > 0).then(|| Duration::from_secs(number));
        ServeLimits {
            max_connection_idle: seconds(idle),
            max_connection_age: seconds(age),
            max_connection_age_grace: seconds(grace),
            ..ServeLimits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_told_to_end_and_a_busy_one_is_not() {
        let started = Instant::now();
        let activity = Activity::new(started);
        let call = activity.call();
        let mut lifetime = Lifetime::new(&limits(10, 0, 0), Arc::clone(&activity), started);
        assert!(tokio::time::timeout(Duration::from_secs(1000), lifetime.next()).await.is_err(), "busy");
        drop(call);
        let quiet = Instant::now();
        assert_eq!(lifetime.next().await, Verdict::Drain);
        let waited = quiet.elapsed();
        assert!(waited >= Duration::from_secs(10) && waited <= Duration::from_secs(11), "{waited:?}");
        // It was told once; nothing else follows from being idle.
        assert!(tokio::time::timeout(Duration::from_secs(1000), lifetime.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_is_told_to_end_then_cut() {
        let started = Instant::now();
        let activity = Activity::new(started);
        let _call = activity.call();
        let mut lifetime = Lifetime::new(&limits(0, 100, 7), activity, started);
        assert_eq!(lifetime.next().await, Verdict::Drain);
        let age = started.elapsed();
        assert!(age >= Duration::from_secs(90) && age <= Duration::from_secs(111), "{age:?}");
        let told = Instant::now();
        assert_eq!(lifetime.next().await, Verdict::Cut);
        assert!(told.elapsed() >= Duration::from_secs(7), "{:?}", told.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_ever_is_due() {
        let now = Instant::now();
        let mut lifetime = Lifetime::new(&limits(0, 0, 5), Activity::new(now), now);
        assert!(tokio::time::timeout(Duration::from_hours(1000), lifetime.next()).await.is_err());
    }

    #[test]
    fn ages_vary_by_a_tenth() {
        for _ in 0..1000 {
            let age = varied(Duration::from_secs(100));
            assert!(age >= Duration::from_secs(90) && age <= Duration::from_secs(110), "{age:?}");
        }
    }
}
