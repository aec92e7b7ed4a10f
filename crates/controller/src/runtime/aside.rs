//! Leases that the store does not take: out of the core's sight for a while, so that they hold nobody up.

use std::time::Duration;

use jumpstarter_scheduler::Change;
use jumpstarter_store::{EventKind, Object, StoreError};
use tokio::time::Instant;

use super::Runtime;

/// How long one stays out of sight, unless it is changed.
const FOR: Duration = Duration::from_mins(1);

/// When a lease came to be out of sight.
pub(super) struct Aside {
    until: Instant,
}

impl Runtime {
    /// Puts a lease that waits out of sight until somebody changes it or a minute has passed. `false` for one that holds
    /// an exporter: while the two belong together the core must know.
    pub(super) fn put_aside(&mut self, name: &str, error: &StoreError) -> bool {
        let Some(lease) = self.world.lease(name).filter(|lease| lease.assigned_exporter().is_none()) else {
            return false;
        };
        let text = format!("the store does not take a decision about this lease: {error}");
        self.tell_lease(Some(&Object::from_resource(&*lease)), EventKind::Warning, "NotWritable", &text);
        self.aside.insert(name.to_owned(), Aside { until: Instant::now() + FOR });
        true
    }

    pub(super) fn is_aside(&self, name: &str) -> bool {
        self.aside.contains_key(name)
    }

    /// Takes leases back into view whose time is over.
    pub(super) fn retry_aside(&mut self) {
        let now = Instant::now();
        let over: Vec<String> =
            self.aside.iter().filter(|(_, aside)| aside.until <= now).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.aside.remove(&name);
            if let Some(lease) = self.world.lease(&name) {
                self.lab.observe(Change::Lease(&lease));
            }
        }
    }
}
