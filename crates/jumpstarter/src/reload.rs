//! Follows the ConfigMap while the service runs: what may change at once does, the rest is said to need a restart, and
//! what is wrong changes nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jumpstarter_cluster_config::{CONFIG_MAP, Change, ClusterConfig, Effect, Faults, Keepalive, changes};
use jumpstarter_controller::{Changeable, Live, RouterTarget, TelemetryTarget};
use jumpstarter_store::{Event, EventKind, EventRecorder, Kind, ListOptions, Object, ObjectEvent, Store, StoreError};
use jumpstarter_transport::ServeLimits;
use k8s_openapi::api::core::v1::ConfigMap;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Pauses between attempts to watch, doubled after each failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Peers are not pinged more often, as gRPC servers have it.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Longest text of an event; Kubernetes takes 1024 bytes.
const MAX_EVENT: usize = 1000;
/// The part of the service that tells events.
const COMPONENT: &str = "jumpstarter-controller";

/// The part of a configuration that takes effect at once.
pub(crate) fn changeable(config: &ClusterConfig) -> Changeable {
    let router = |router: &jumpstarter_cluster_config::Router| RouterTarget {
        endpoint: router.endpoint.clone(),
        labels: router.labels.clone(),
        probe: router.probe,
    };
    let telemetry = |telemetry: &jumpstarter_cluster_config::Telemetry| TelemetryTarget {
        endpoint: telemetry.endpoint.clone(),
        certificate: telemetry.certificate.clone(),
        min_severity: telemetry.min_severity.as_str().to_owned(),
    };
    Changeable {
        routers: config.routers.values().map(router).collect(),
        max_tags: config.max_tags,
        hidden_labels: config.hidden_labels.clone(),
        deprecated_labels: config.deprecated_labels.clone(),
        token_lifetime: Some(config.internal.token_lifetime),
        telemetry: config.telemetry.iter().map(telemetry).collect(),
    }
}

/// What listeners take from the keepalive settings; `drain_grace` is the caller's. Two of them need nothing: pings of
/// peers are answered however often they come, with a call or without.
pub(crate) fn serve_limits(keepalive: &Keepalive, drain_grace: Duration) -> ServeLimits {
    let Keepalive {
        min_time: _,
        permit_without_stream: _,
        timeout,
        interval,
        max_connection_idle,
        max_connection_age,
        max_connection_age_grace,
    } = keepalive;
    let usual = ServeLimits::default();
    ServeLimits {
        keepalive_interval: interval.map_or(usual.keepalive_interval, |interval| interval.max(SHORTEST_INTERVAL)),
        keepalive_timeout: timeout.unwrap_or(usual.keepalive_timeout),
        max_connection_idle: *max_connection_idle,
        max_connection_age: *max_connection_age,
        max_connection_age_grace: *max_connection_age_grace,
        drain_grace,
        ..usual
    }
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReloadMetrics {
    applied: Counter,
    rejected: Counter,
    /// 1 while the ConfigMap as it is now is in use, 0 while it is wrong and an older state holds.
    valid: Gauge,
    /// Settings whose change waits for a restart.
    restart_needed: Gauge,
}

impl ReloadMetrics {
    /// Makes the metrics known. Once for each process.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.valid.set(1);
        let Self { applied, rejected, valid, restart_needed } = &metrics;
        registry.register("jumpstarter_config_reloads_applied", "Changes of the ConfigMap taken over", applied.clone());
        registry.register("jumpstarter_config_reloads_rejected", "States of the ConfigMap refused", rejected.clone());
        registry.register("jumpstarter_config_valid", "Whether the ConfigMap can be used as it is now", valid.clone());
        registry.register(
            "jumpstarter_config_restart_needed",
            "Settings whose change takes effect only after a restart",
            restart_needed.clone(),
        );
        metrics
    }
}

/// The task that follows the ConfigMap. One for each process, leader or not: it keeps `live` right for the term to come.
pub(crate) struct Reload {
    store: Arc<dyn Store>,
    namespace: String,
    events: Arc<dyn EventRecorder>,
    live: Live,
    metrics: ReloadMetrics,
    /// What the process started with: holds for settings that need a restart.
    started: ClusterConfig,
    /// What holds for all others.
    applied: ClusterConfig,
    /// The state that was looked at last; `None` before the first and after the object is gone.
    seen: Option<Object>,
    /// Whether that state is in use.
    valid: bool,
    /// What was said to need a restart.
    waiting: Vec<Change>,
}

impl Reload {
    /// Follows the ConfigMap of `namespace`; `live` has what `started` says.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        namespace: &str,
        events: Arc<dyn EventRecorder>,
        live: Live,
        metrics: ReloadMetrics,
        started: ClusterConfig,
    ) -> Self {
        Self {
            store,
            namespace: namespace.to_owned(),
            events,
            live,
            metrics,
            applied: started.clone(),
            started,
            seen: None,
            valid: true,
            waiting: Vec::new(),
        }
    }

    /// Follows until `stop` fires. An unreachable store only delays changes.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut pause = RETRY.0;
        loop {
            let round = async {
                match self.round(&mut pause).await {
                    Ok(()) | Err(StoreError::Gone { .. }) => debug!("look at the ConfigMap again"),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        warn!(error, retry_after = ?pause, "watch the ConfigMap `{CONFIG_MAP}`");
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            };
            // A round keeps nothing: what it has applied stands, the next one begins with a look at everything.
            if stop.run_until_cancelled(round).await.is_none() {
                return;
            }
        }
    }

    /// Looks at what is, then at what changes, until the watch ends. A watch that delivers resets `pause`.
    async fn round(&mut self, pause: &mut Duration) -> Result<(), StoreError> {
        let list = self.store.list(Kind::ConfigMap, &self.namespace, ListOptions::default()).await?;
        match list.items.iter().find(|object| self.is_ours(object)) {
            Some(object) => self.look(object),
            None => self.gone(),
        }
        let mut events = self.store.watch(&[Kind::ConfigMap], list.resource_version).await?;
        while let Some(event) = events.next().await {
            let event = event?;
            *pause = RETRY.0;
            if !self.is_ours(event.object()) {
                continue;
            }
            match &event {
                Event::Added(object) | Event::Modified(object) => self.look(object),
                Event::Deleted(_) => self.gone(),
            }
        }
        Ok(())
    }

    fn is_ours(&self, object: &Object) -> bool {
        object.namespace() == self.namespace && object.name() == CONFIG_MAP
    }

    /// Takes over a state of the ConfigMap, or says why not.
    fn look(&mut self, object: &Object) {
        let version = |object: &Object| (object.uid().to_owned(), object.resource_version());
        if self.seen.as_ref().is_some_and(|seen| version(seen) == version(object)) {
            return;
        }
        let first = self.seen.replace(object.clone()).is_none();
        match read(object) {
            Ok(config) => self.accept(object, config, first),
            Err(reason) => self.reject(object, &reason),
        }
    }

    fn accept(&mut self, object: &Object, config: ClusterConfig, first: bool) {
        let found = changes(&self.applied, &config);
        let live: Vec<&Change> = found.iter().filter(|change| change.effect == Effect::Live).collect();
        if !live.is_empty() {
            self.live.set(changeable(&config));
            for change in &live {
                info!(setting = change.key, values = %change.values, "configuration changed");
            }
            let keys: Vec<&str> = live.iter().map(|change| change.key).collect();
            self.tell(object, EventKind::Normal, "ConfigurationApplied", &format!("in use now: {}", keys.join(", ")));
            self.metrics.applied.inc();
        }
        let known: BTreeSet<&String> = self.applied.warnings.iter().collect();
        for warning in config.warnings.iter().filter(|warning| !known.contains(warning)) {
            warn!("ConfigMap `{CONFIG_MAP}`: {warning}");
        }
        if !self.valid && live.is_empty() {
            info!("the ConfigMap `{CONFIG_MAP}` is valid again");
        } else if live.is_empty() && !first {
            debug!("the ConfigMap `{CONFIG_MAP}` says nothing new");
        }
        self.valid = true;
        self.metrics.valid.set(1);
        self.say_what_waits(object, &config);
        self.applied = config;
    }

    /// Settings that differ from those the process started with and take effect only when it starts again.
    fn say_what_waits(&mut self, object: &Object, config: &ClusterConfig) {
        let mut waiting = changes(&self.started, config);
        waiting.retain(|change| change.effect == Effect::Restart);
        self.metrics.restart_needed.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        if waiting == self.waiting {
            return;
        }
        for change in waiting.iter().filter(|change| !self.waiting.contains(change)) {
            let (setting, values) = (change.key, &change.values);
            warn!(setting, %values, "this change takes effect only when the controller is restarted");
        }
        if !waiting.is_empty() {
            let keys: Vec<&str> = waiting.iter().map(|change| change.key).collect();
            let message = format!("restart the controller for changes of: {}", keys.join(", "));
            self.tell(object, EventKind::Warning, "ConfigurationNeedsRestart", &message);
        }
        self.waiting = waiting;
    }

    fn reject(&mut self, object: &Object, reason: &str) {
        warn!("the changed configuration is not used, the one before stays: {reason}");
        self.tell(object, EventKind::Warning, "ConfigurationRejected", &format!("not used: {reason}"));
        self.metrics.rejected.inc();
        self.metrics.valid.set(0);
        self.valid = false;
    }

    fn gone(&mut self) {
        let Some(last) = self.seen.take() else { return };
        self.reject(&last, &format!("ConfigMap {}/{CONFIG_MAP} was deleted", self.namespace));
    }

    fn tell(&self, object: &Object, kind: EventKind, reason: &'static str, message: &str) {
        let end = message.floor_char_boundary(MAX_EVENT);
        let event = ObjectEvent::new(object, kind, COMPONENT, reason, &message[..end]);
        self.events.record(event);
    }
}

fn read(object: &Object) -> Result<ClusterConfig, String> {
    let map: ConfigMap = object.decode().map_err(|error| error.to_string())?;
    ClusterConfig::from_config_map(&map).map_err(|faults: Faults| faults.to_string())
}

#[cfg(test)]
mod tests;
