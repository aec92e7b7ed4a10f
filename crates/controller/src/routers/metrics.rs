//! What is told of the routers, counted when it is asked for, so that it is about those of now.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{Health, Routers};
use crate::config::Live;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRouter {
    router: String,
}

/// Routers of the settings that are not asked how they fare.
const UNPROBED: &str = "unprobed";

/// The routers of the settings, as they are known.
pub(crate) struct RouterMetrics {
    pub(crate) routers: Routers,
    pub(crate) live: Live,
}

impl fmt::Debug for RouterMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouterMetrics")
    }
}

/// What is told of one router.
struct Row {
    of: OfRouter,
    state: &'static str,
    dials: u64,
    streams: Option<u64>,
}

impl RouterMetrics {
    fn rows(&self) -> Vec<Row> {
        let settings = self.live.get();
        let known = self.routers.known();
        let row = |target: &crate::config::RouterTarget| {
            let router = known.routers.get(&target.endpoint);
            let local = self.routers.is_local(&target.endpoint);
            let state = match router {
                _ if !target.probe => UNPROBED,
                None if local => Health::Serving.name(),
                None => Health::Untested.name(),
                Some(router) => router.health().name(),
            };
            Row {
                of: OfRouter { router: target.endpoint.clone() },
                state,
                dials: router.map_or(0, super::Observed::dials_total),
                streams: router.and_then(super::Observed::report).map(|report| report.open + report.waiting),
            }
        };
        let mut rows: Vec<Row> = settings.routers.iter().map(row).collect();
        // A series that occurs twice makes the whole answer worthless.
        rows.sort_by(|one, other| one.of.router.cmp(&other.of.router));
        rows.dedup_by(|one, other| one.of == other.of);
        rows
    }
}

impl Collector for RouterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let rows = self.rows();
        let mut routers =
            encoder.encode_descriptor("routers", "Routers of the settings, by state", None, MetricType::Gauge)?;
        for state in Health::ALL.map(Health::name).into_iter().chain([UNPROBED]) {
            let count = rows.iter().filter(|row| row.state == state).count();
            let labels = State { state };
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(routers.encode_family(&labels)?)?;
        }
        let help = "Dials sent to each router since it is in the settings";
        let mut dials = encoder.encode_descriptor("router_dials", help, None, MetricType::Counter)?;
        for row in &rows {
            ConstCounter::new(row.dials).encode(dials.encode_family(&row.of)?)?;
        }
        let help = "Streams of each router by its last report, waiting ones included";
        let mut streams = encoder.encode_descriptor("router_reported_streams", help, None, MetricType::Gauge)?;
        for row in &rows {
            if let Some(count) = row.streams {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ConstGauge::new(count).encode(streams.encode_family(&row.of)?)?;
            }
        }
        Ok(())
    }
}
