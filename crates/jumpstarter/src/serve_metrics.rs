//! What a listening port counts, for whoever scrapes it.

use std::{fmt, sync::Arc};

use jumpstarter_transport::ServeCounters;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::ConstCounter,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Adds what these counters tell. Once for each set of counters.
pub(crate) fn register(registry: &mut Registry, counters: &Arc<ServeCounters>) {
    let registry = registry.sub_registry_with_prefix("jumpstarter");
    // From half a millisecond to the limit of ten seconds.
    let handshakes = Histogram::new(exponential_buckets(0.000_5, 2.0, 15));
    let help = "Time of TLS handshakes that succeeded";
    registry.register_with_unit("tls_handshake", help, Unit::Seconds, handshakes.clone());
    counters.observe_handshakes(move |took| handshakes.observe(took.as_secs_f64()));
    registry.register_collector(Box::new(Totals(Arc::clone(counters))));
}

#[derive(Debug)]
struct Totals(Arc<ServeCounters>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Collector for Totals {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let totals = self.0.totals();
        let help = "Connections that are open, handshakes included";
        let open = encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(totals.open).unwrap_or(i64::MAX)).encode(open)?;
        let help = "Connections that came, by what became of them";
        let mut ever = encoder.encode_descriptor("connections_incoming", help, None, MetricType::Counter)?;
        for (outcome, count) in [("accepted", totals.accepted), ("refused", totals.refused)] {
            ConstCounter::new(count).encode(ever.encode_family(&Outcome { outcome })?)?;
        }
        let help = "TLS handshakes, by outcome; probes that hang up are among those that failed";
        let mut handshakes = encoder.encode_descriptor("tls_handshakes", help, None, MetricType::Counter)?;
        for (outcome, count) in [("ok", totals.handshakes_ok), ("failed", totals.handshakes_failed)] {
            ConstCounter::new(count).encode(handshakes.encode_family(&Outcome { outcome })?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let mut registry = Registry::default();
        register(&mut registry, &Arc::default());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "jumpstarter_connections 0",
            "jumpstarter_connections_incoming_total{outcome=\"refused\"} 0",
            "jumpstarter_tls_handshakes_total{outcome=\"failed\"} 0",
            "jumpstarter_tls_handshake_seconds_count 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }
}
