//! What an operator can watch.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::keys::LegacyUses;

/// Outcome of a lease request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "label values as existing dashboards know them")]
pub(crate) enum Acquisition {
    /// An exporter was assigned.
    success,
    /// The request can never be satisfied.
    failure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AcquisitionLabels {
    result: Acquisition,
}

/// The controller's metrics; registered once, handed down.
#[derive(Clone)]
pub(crate) struct Metrics {
    acquisitions: Family<AcquisitionLabels, Counter<u64, AtomicU64>>,
    /// Exporters with an open Status stream.
    pub(crate) exporters_online: Gauge<i64, AtomicI64>,
    /// Exporters in service that are quarantined.
    pub(crate) exporters_quarantined: Gauge<i64, AtomicI64>,
    /// Leases that have not ended.
    pub(crate) leases_active: Gauge<i64, AtomicI64>,
    /// Leases that wait for an exporter.
    pub(crate) leases_waiting: Gauge<i64, AtomicI64>,
    /// Time of one pass of the lab runtime, without the commits that it starts.
    pub(crate) pass_seconds: Histogram,
    /// Objects that cannot be read and are left out.
    pub(crate) objects_unreadable: Gauge<i64, AtomicI64>,
    /// Entries in the tables of the lab runtime and of what it feeds.
    pub(crate) table_entries: Gauge<i64, AtomicI64>,
    /// Dials answered with a ticket.
    pub(crate) dials: Counter<u64, AtomicU64>,
    /// Those of them that were also told a way around the router.
    pub(crate) dials_direct: Counter<u64, AtomicU64>,
    /// Dials refused for want of a router.
    pub(crate) dials_unrouted: Counter<u64, AtomicU64>,
    /// Writes refused because the object had changed meanwhile; each is tried again.
    pub(crate) conflicts: Counter<u64, AtomicU64>,
    /// Spot leases that had to make way.
    pub(crate) preemptions: Counter<u64, AtomicU64>,
    /// Calls refused for their credentials.
    pub(crate) authentication_failures: Counter<u64, AtomicU64>,
    /// Calls with tokens of keys that end.
    pub(crate) legacy_uses: LegacyUses,
}

impl Metrics {
    /// Registers everything under the prefix `jumpstarter`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            acquisitions: Family::default(),
            exporters_online: Gauge::default(),
            exporters_quarantined: Gauge::default(),
            leases_active: Gauge::default(),
            leases_waiting: Gauge::default(),
            objects_unreadable: Gauge::default(),
            table_entries: Gauge::default(),
            pass_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 14)),
            dials: Counter::default(),
            dials_direct: Counter::default(),
            dials_unrouted: Counter::default(),
            conflicts: Counter::default(),
            preemptions: Counter::default(),
            authentication_failures: Counter::default(),
            legacy_uses: LegacyUses::default(),
        };
        // Both series exist from the start, so that a rate over them is defined.
        for result in [Acquisition::success, Acquisition::failure] {
            let _ = metrics.acquisitions.get_or_create(&AcquisitionLabels { result });
        }
        let registry = registry.sub_registry_with_prefix("jumpstarter");
        registry.register("lease_acquisitions", "Lease requests decided, by result", metrics.acquisitions.clone());
        registry.register("exporters_online", "Exporters with an open status stream", metrics.exporters_online.clone());
        registry.register("leases_active", "Leases that have not ended", metrics.leases_active.clone());
        registry.register("leases_waiting", "Leases waiting for an exporter", metrics.leases_waiting.clone());
        registry.register(
            "objects_unreadable",
            "Objects that cannot be read and are left out",
            metrics.objects_unreadable.clone(),
        );
        registry.register(
            "table_entries",
            "Entries in the service's tables; in proportion to its objects, or something is never forgotten",
            metrics.table_entries.clone(),
        );
        registry.register_with_unit(
            "scheduler_pass",
            "Time of one scheduling pass without its commits",
            Unit::Seconds,
            metrics.pass_seconds.clone(),
        );
        registry.register("dials", "Dials answered with a ticket", metrics.dials.clone());
        registry.register(
            "dials_direct",
            "Dials answered with a way around the router, too",
            metrics.dials_direct.clone(),
        );
        registry.register("dials_unrouted", "Dials refused for want of a router", metrics.dials_unrouted.clone());
        registry.register(
            "exporters_quarantined",
            "Exporters in service that are kept back since their leases fail, or by hand",
            metrics.exporters_quarantined.clone(),
        );
        registry.register("preemptions", "Spot leases that had to make way", metrics.preemptions.clone());
        registry.register("store_conflicts", "Writes tried again after a conflict", metrics.conflicts.clone());
        registry.register(
            "authentication_failures",
            "Calls refused for their credentials",
            metrics.authentication_failures.clone(),
        );
        metrics.legacy_uses.register(registry);
        metrics
    }

    /// Counts a decided lease.
    pub(crate) fn acquisition(&self, result: Acquisition) {
        self.acquisitions.get_or_create(&AcquisitionLabels { result }).inc();
    }
}
