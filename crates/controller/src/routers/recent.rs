//! Which lease was sent where a moment ago.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How long it matters: a client dials again at once when a stream did not come about, or after its own limit of 20 s,
/// by when the state of a router is known anyway.
const MEMORY: Duration = Duration::from_secs(10);
/// Dials that are remembered, of all leases together.
const MAX: usize = 4_096;

struct Dial {
    at: Instant,
    lease: String,
    endpoint: String,
}

/// The latest dials of all leases, oldest first.
#[derive(Default)]
pub(crate) struct RecentDials(VecDeque<Dial>);

impl RecentDials {
    /// `lease` is sent to `endpoint`.
    pub(crate) fn push(&mut self, lease: &str, endpoint: &str, now: Instant) {
        self.forget(now);
        if self.0.len() == MAX {
            self.0.pop_front();
        }
        self.0.push_back(Dial { at: now, lease: lease.to_owned(), endpoint: endpoint.to_owned() });
    }

    /// When `lease` was last sent to `endpoint`, if that still matters.
    pub(crate) fn last(&self, lease: &str, endpoint: &str, now: Instant) -> Option<Instant> {
        let mut recent = self.0.iter().rev().take_while(|dial| now.saturating_duration_since(dial.at) < MEMORY);
        recent.find(|dial| dial.lease == lease && dial.endpoint == endpoint).map(|dial| dial.at)
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|dial| now.saturating_duration_since(dial.at) >= MEMORY) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_are_remembered_for_a_moment_and_in_bounds() {
        let start = Instant::now();
        let mut recent = RecentDials::default();
        recent.push("one", "a", start);
        recent.push("one", "b", start + MEMORY / 2);
        assert_eq!(recent.last("one", "a", start), Some(start));
        assert_eq!(recent.last("two", "a", start), None);
        assert_eq!(recent.last("one", "a", start + MEMORY), None);
        assert_eq!(recent.last("one", "b", start + MEMORY), Some(start + MEMORY / 2));
        for n in 0..2 * MAX {
            recent.push(&n.to_string(), "a", start + MEMORY);
        }
        assert_eq!(recent.0.len(), MAX);
        recent.push("one", "a", start + 3 * MEMORY);
        assert_eq!(recent.0.len(), 1);
    }
}
