//! What an operator can watch of the API server's side.

use std::{sync::atomic::AtomicU64, time::Duration};

use jumpstarter_store::Kind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RestartLabels {
    resource: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

type Count = Counter<u64, AtomicU64>;

/// The store's metrics: registered once, handed to the store and to the recorder of events. Clones count together.
#[derive(Clone, Debug)]
pub struct KubernetesMetrics {
    requests: Family<RequestLabels, Count>,
    seconds: Family<VerbLabels, Histogram>,
    watch_restarts: Family<RestartLabels, Count>,
    watch_events: Family<KindLabels, Count>,
    undecodable: Family<KindLabels, Count>,
    conflicts: Family<KindLabels, Count>,
    events: Family<OutcomeLabels, Count>,
}

impl Default for KubernetesMetrics {
    /// Metrics that nobody reads.
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15))),
            watch_restarts: Family::default(),
            watch_events: Family::default(),
            undecodable: Family::default(),
            conflicts: Family::default(),
            events: Family::default(),
        }
    }
}

impl KubernetesMetrics {
    /// Registers everything under the prefix `jumpstarter_kubernetes`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // These series exist from the start, so that a rate over them is defined.
        for outcome in ["created", "repeated", "dropped", "failed"] {
            let _ = metrics.events.get_or_create(&OutcomeLabels { outcome });
        }
        let registry = registry.sub_registry_with_prefix("jumpstarter_kubernetes");
        registry.register("requests", "Requests to the API server, by outcome", metrics.requests.clone());
        registry.register_with_unit(
            "request",
            "Time of one request to the API server; of a watch, until it is open",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("watch_restarts", "Upstream watches opened again, by why", metrics.watch_restarts.clone());
        registry.register("watch_events", "Changes that upstream watches have told", metrics.watch_events.clone());
        registry.register("undecodable_objects", "Objects that could not be read", metrics.undecodable.clone());
        registry.register("conflicts", "Writes refused since the object had changed", metrics.conflicts.clone());
        registry.register("events", "Events about objects, by what became of them", metrics.events.clone());
        metrics
    }

    pub(crate) fn request(&self, verb: &'static str, resource: &'static str, outcome: &'static str, time: Duration) {
        self.requests.get_or_create(&RequestLabels { verb, resource, outcome }).inc();
        self.seconds.get_or_create(&VerbLabels { verb }).observe(time.as_secs_f64());
    }

    pub(crate) fn watch_restart(&self, kind: Kind, reason: &'static str) {
        self.watch_restarts.get_or_create(&RestartLabels { resource: kind.plural(), reason }).inc();
    }

    pub(crate) fn watch_event(&self, kind: Kind) {
        self.watch_events.get_or_create(&KindLabels { resource: kind.plural() }).inc();
    }

    pub(crate) fn undecodable(&self, kind: Kind) {
        self.undecodable.get_or_create(&KindLabels { resource: kind.plural() }).inc();
    }

    pub(crate) fn conflict(&self, kind: Kind) {
        self.conflicts.get_or_create(&KindLabels { resource: kind.plural() }).inc();
    }

    pub(crate) fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
