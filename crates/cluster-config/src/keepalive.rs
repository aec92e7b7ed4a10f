//! `grpc.keepalive`.

use std::time::Duration;

use jumpstarter_model::GoDuration;

use crate::read::{Fields, Log};

/// How gRPC listeners treat idle and old connections; `None` leaves the listener's own default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Shortest time between pings of a peer that sends no data.
    pub min_time: Duration,
    /// Whether a peer may ping while no call is active.
    pub permit_without_stream: bool,
    /// How long a peer may take to answer our ping.
    pub timeout: Option<Duration>,
    /// Silence after which we ping.
    pub interval: Option<Duration>,
    /// How long a connection may be without calls.
    pub max_connection_idle: Option<Duration>,
    /// How old a connection may get.
    pub max_connection_age: Option<Duration>,
    /// What calls in flight get when it is too old.
    pub max_connection_age_grace: Option<Duration>,
}

impl Keepalive {
    /// Pings that peers may send when nothing is said.
    pub const DEFAULT_MIN_TIME: Duration = Duration::from_secs(1);
}

impl Default for Keepalive {
    /// What holds when `config` says nothing: note that pings without a call are then not permitted.
    fn default() -> Self {
        Self {
            min_time: Self::DEFAULT_MIN_TIME,
            permit_without_stream: false,
            timeout: None,
            interval: None,
            max_connection_idle: None,
            max_connection_age: None,
            max_connection_age_grace: None,
        }
    }
}

pub(crate) fn read(fields: &mut Fields<'_>, log: &mut Log<'_>) -> Keepalive {
    let mut span = |key: &'static str, log: &mut Log<'_>| positive(fields, key, log);
    Keepalive {
        min_time: span("minTime", log).unwrap_or(Keepalive::DEFAULT_MIN_TIME),
        timeout: span("timeout", log),
        interval: span("intervalTime", log),
        max_connection_idle: span("maxConnectionIdle", log),
        max_connection_age: span("maxConnectionAge", log),
        max_connection_age_grace: span("maxConnectionAgeGrace", log),
        permit_without_stream: fields.get("permitWithoutStream").and_then(|at| at.flag(log)).unwrap_or_default(),
    }
}

/// A duration that is not negative; zero is as good as absent.
fn positive(fields: &mut Fields<'_>, key: &'static str, log: &mut Log<'_>) -> Option<Duration> {
    let at = fields.get(key)?;
    let span = at.duration(log)?;
    if span < GoDuration::ZERO {
        at.fault(log, format!("must not be negative, got {span}"));
        return None;
    }
    Some(Duration::from_nanos(span.as_nanos().unsigned_abs())).filter(|span| !span.is_zero())
}
