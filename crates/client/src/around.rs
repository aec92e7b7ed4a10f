//! Which dials try to do without a router.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jumpstarter_protocol::v1::DirectPath;
use jumpstarter_transport::direct::{self, Digest, DirectError, Ticket};
use tokio::time::Instant;

use crate::line::Line;

/// Time for a direct connection: enough for any network on which it would be worth it.
const LIMIT: Duration = Duration::from_secs(1);
/// How long a lease whose exporter did not answer is dialled without another attempt.
const FORGET: Duration = Duration::from_mins(10);
/// Leases remembered; beyond it all are forgotten, which costs an attempt each.
const MAX_REMEMBERED: usize = 256;

/// What this client knows of direct ways.
pub(crate) struct Around(Mutex<State>);

struct State {
    limit: Duration,
    /// Leases whose exporter did not answer, and when.
    failed: HashMap<String, Instant>,
}

impl Default for Around {
    fn default() -> Self {
        Self(Mutex::new(State { limit: LIMIT, failed: HashMap::new() }))
    }
}

impl Around {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how long an attempt may take; nothing at all turns attempts off.
    pub(crate) fn set_limit(&self, limit: Duration) {
        self.state().limit = limit;
    }

    /// How long an attempt for this lease may take; none when there shall be no attempt.
    pub(crate) fn limit(&self, lease: &str) -> Option<Duration> {
        let state = self.state();
        let failed = state.failed.get(lease).is_some_and(|at| at.elapsed() < FORGET);
        (!state.limit.is_zero() && !failed).then_some(state.limit)
    }

    fn failed(&self, lease: &str) {
        let mut state = self.state();
        if state.failed.len() >= MAX_REMEMBERED {
            state.failed.clear();
        }
        state.failed.insert(lease.to_owned(), Instant::now());
    }

    /// Goes the direct way, if that works; after a failure the dial's router is still there.
    pub(crate) async fn go(&self, lease: &str, path: &DirectPath, limit: Duration) -> Option<Line> {
        match attempt(path, limit).await {
            Ok(line) => Some(line),
            Err(reason) => {
                tracing::debug!(lease, %reason, "no direct way to the exporter; using the router");
                self.failed(lease);
                None
            }
        }
    }
}

async fn attempt(path: &DirectPath, limit: Duration) -> Result<Line, DirectError> {
    let unusable = || DirectError::Unreachable("the service gave a way that cannot be used".to_owned());
    let fingerprint = Digest::from_bytes(&path.certificate_sha256).ok_or_else(unusable)?;
    let ticket = Ticket::from_bytes(&path.ticket).ok_or_else(unusable)?;
    let (stream, address) = direct::connect(&path.endpoints, fingerprint, &ticket, limit).await?;
    Ok(Line::direct(stream, address.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_failed_is_not_tried_again_for_a_while() {
        let around = Around::default();
        assert_eq!(around.limit("one"), Some(LIMIT));
        let nowhere = DirectPath { endpoints: Vec::new(), ..DirectPath::default() };
        assert!(around.go("one", &nowhere, LIMIT).await.is_none());
        assert_eq!((around.limit("one"), around.limit("two")), (None, Some(LIMIT)));
        tokio::time::advance(FORGET).await;
        assert_eq!(around.limit("one"), Some(LIMIT));
        around.set_limit(Duration::ZERO);
        assert_eq!(around.limit("two"), None);
        for n in 0..2 * MAX_REMEMBERED {
            around.failed(&n.to_string());
        }
        assert!(around.state().failed.len() <= MAX_REMEMBERED);
    }
}
