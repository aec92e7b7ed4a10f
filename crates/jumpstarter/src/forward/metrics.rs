//! What a standby counts.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Metrics of a [`super::Forwarder`].
#[derive(Clone, Default)]
pub(crate) struct ForwardMetrics {
    /// Connections that were passed on.
    pub(crate) forwarded: Counter<u64, AtomicU64>,
    /// Connections that were closed for want of a leader.
    pub(crate) given_up: Counter<u64, AtomicU64>,
    /// Connections that were closed at once, because there were too many.
    pub(crate) refused: Counter<u64, AtomicU64>,
    /// Connections that are passed on now.
    pub(crate) open: Gauge<i64, AtomicI64>,
    /// Connections that wait for a leader now.
    pub(crate) held: Gauge<i64, AtomicI64>,
    /// Bytes passed on, both ways.
    pub(crate) bytes: Counter<u64, AtomicU64>,
}

impl ForwardMetrics {
    /// Registers everything under the prefix `jumpstarter_standby`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("jumpstarter_standby");
        registry.register("connections", "Connections passed on to the leader", metrics.forwarded.clone());
        registry.register("given_up", "Connections closed because no leader came", metrics.given_up.clone());
        registry.register("refused", "Connections closed because there were too many", metrics.refused.clone());
        registry.register("connections_open", "Connections passed on at the moment", metrics.open.clone());
        registry.register("connections_held", "Connections waiting for a leader", metrics.held.clone());
        registry.register("bytes", "Bytes passed on, both ways", metrics.bytes.clone());
        metrics
    }
}

/// Counts one more in a gauge for as long as it lives.
pub(crate) struct Counted(Gauge<i64, AtomicI64>);

impl Counted {
    pub(crate) fn new(gauge: &Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
