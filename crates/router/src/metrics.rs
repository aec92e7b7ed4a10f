//! What a router counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::{Refusal, Side};

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both sides ended their requests.
    Complete = 1,
    /// One side went away first; the ordinary end of a Python client.
    Cut,
    /// Ended because the router stops.
    Drained,
    /// A side sent something that is no message.
    Faulty,
    /// The only half ended its requests while it waited.
    HalfClosed,
    /// The only half waited its time.
    Lapsed,
    /// The only half went away while it waited.
    Abandoned,
}

impl Outcome {
    const ALL: [Self; 7] =
        [Self::Complete, Self::Cut, Self::Drained, Self::Faulty, Self::HalfClosed, Self::Lapsed, Self::Abandoned];

    pub(crate) fn from_repr(repr: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| *outcome as u8 == repr)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Drained => "drained",
            Self::Faulty => "faulty",
            Self::HalfClosed => "half_closed",
            Self::Lapsed => "lapsed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    FromClient,
    FromExporter,
    /// Tickets that name no side.
    Unknown,
}

impl From<Option<Side>> for Direction {
    fn from(sender: Option<Side>) -> Self {
        match sender {
            Some(Side::Client) => Self::FromClient,
            Some(Side::Exporter) => Self::FromExporter,
            None => Self::Unknown,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SenderLabel {
    sender: &'static str,
}

/// The counters of one router.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Tunnels that exist, joined or not.
    pub(crate) tunnels: Gauge,
    /// Halves that wait for their partner.
    pub(crate) waiting: Gauge,
    /// Tunnels whose halves were joined.
    pub(crate) joined: Counter,
    /// From the first half to the second; hooks of exporters are in it.
    pub(crate) setup_seconds: Histogram,
    ended: Family<OutcomeLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    bytes: Family<SenderLabel, Counter>,
    // The same counters, without the look-up: they are touched for every chunk.
    from_client: Counter,
    from_exporter: Counter,
    from_unknown: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let ended = Family::<OutcomeLabel, Counter>::default();
        for outcome in Outcome::ALL {
            drop(ended.get_or_create(&OutcomeLabel { outcome: outcome.name() }));
        }
        let refused = Family::<ReasonLabel, Counter>::default();
        for refusal in Refusal::ALL {
            drop(refused.get_or_create(&ReasonLabel { reason: refusal.reason() }));
        }
        let bytes = Family::<SenderLabel, Counter>::default();
        let sender = |sender| bytes.get_or_create(&SenderLabel { sender }).clone();
        let (from_client, from_exporter, from_unknown) = (sender("client"), sender("exporter"), sender("unknown"));
        Self {
            tunnels: Gauge::default(),
            waiting: Gauge::default(),
            joined: Counter::default(),
            // From a millisecond to half an hour, which is as long as tickets live.
            setup_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 12)),
            ended,
            refused,
            bytes,
            from_client,
            from_exporter,
            from_unknown,
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("jumpstarter_router");
        registry.register("streams", "Streams that exist, waiting ones included", self.tunnels.clone());
        registry.register("streams_waiting", "Streams that wait for their second half", self.waiting.clone());
        registry.register("streams_joined", "Streams whose halves were joined", self.joined.clone());
        registry.register_with_unit(
            "stream_setup",
            "Time from the first half of a stream to the second",
            Unit::Seconds,
            self.setup_seconds.clone(),
        );
        registry.register("streams_ended", "Streams that ended, by outcome", self.ended.clone());
        registry.register("refusals", "Calls that were not let in, by reason", self.refused.clone());
        registry.register("forwarded_bytes", "Bytes passed on, by who sent them", self.bytes.clone());
    }

    pub(crate) fn count_bytes(&self, direction: Direction, bytes: usize) {
        let counter = match direction {
            Direction::FromClient => &self.from_client,
            Direction::FromExporter => &self.from_exporter,
            Direction::Unknown => &self.from_unknown,
        };
        counter.inc_by(bytes as u64);
    }

    pub(crate) fn count_end(&self, outcome: Outcome) {
        self.ended.get_or_create(&OutcomeLabel { outcome: outcome.name() }).inc();
    }

    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        self.refused.get_or_create(&ReasonLabel { reason: refusal.reason() }).inc();
    }

    pub(crate) fn stats(&self) -> Stats {
        let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        let waiting = gauge(&self.waiting);
        Stats {
            open: gauge(&self.tunnels).saturating_sub(waiting),
            waiting,
            joined: self.joined.get(),
            bytes_from_clients: self.from_client.get(),
            bytes_from_exporters: self.from_exporter.get(),
            bytes_from_unknown: self.from_unknown.get(),
            refused: Refusal::ALL
                .into_iter()
                .map(|refusal| self.refused.get_or_create(&ReasonLabel { reason: refusal.reason() }).get())
                .sum(),
        }
    }
}

/// A look at a router's counters; the parts may be a moment apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Streams that carry bytes now.
    pub open: u64,
    /// Halves that wait for their partner now.
    pub waiting: u64,
    /// Streams whose halves were joined since the start.
    pub joined: u64,
    /// Bytes that clients sent.
    pub bytes_from_clients: u64,
    /// Bytes that exporters sent.
    pub bytes_from_exporters: u64,
    /// Bytes of streams whose tickets name no sides.
    pub bytes_from_unknown: u64,
    /// Calls that were not let in.
    pub refused: u64,
}
