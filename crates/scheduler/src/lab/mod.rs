//! The state machine.

use jumpstarter_model::{GoDuration, Timestamp};

use crate::{AccessError, Change, Decisions, Explanation, Grant, LabConfig};

/// Indexed state of exporters, leases, policies and clients.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,
}

impl Lab {
    /// An empty lab.
    pub fn new(config: LabConfig) -> Self {
        Self { config }
    }

    /// Takes note of one fact. Idempotent; replaces whatever was assumed of that object.
    pub fn observe(&mut self, change: Change<'_>) {
        let _ = (change, &self.config);
    }

    /// Says what to write now. Its own actions are assumed to succeed, so that a second call neither repeats them nor
    /// gives a device out twice; after a failed write, observe the true objects again.
    pub fn decide(&mut self, now: Timestamp) -> Decisions {
        let _ = now;
        Decisions::default()
    }

    /// Says where a live lease stands, as of the last [`Lab::decide`]; `None` for ended and unknown leases.
    pub fn explain(&self, lease: &str, now: Timestamp) -> Option<Explanation> {
        let _ = (lease, now);
        None
    }

    /// Says whether policies let `client` use `exporter` for `requested`, as for extensions and transfers.
    pub fn check_access(
        &self,
        client: &str,
        exporter: &str,
        requested: GoDuration,
        now: Timestamp,
    ) -> Result<Grant, AccessError> {
        let _ = (client, exporter, requested, now);
        Ok(Grant { priority: 0, spot: false })
    }
}
