//! Why a lease waits and until when, where the service can tell.
use std::time::Duration;

use jiff::Timestamp;
use jumpstarter_protocol::client::v1 as pb;

use crate::{Lease, lease::split};

/// Another request that somebody who waits would make do with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// Label selector in place of the lease's own.
    pub selector: Option<String>,
    /// Length in place of the lease's own.
    pub duration: Option<Duration>,
}

/// Where a lease stands, who is ahead, when it may begin, and what would be sooner.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseWhy {
    /// The lease; its `queue` says what is in the way at each exporter.
    pub lease: Lease,
    /// `Scheduled`, `Waiting`, `Preparing`, `Ready` or `Ended`.
    pub standing: String,
    /// Why, in one word.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// Who comes first, next one first; the service names at most 100.
    pub ahead: Vec<LeaseAhead>,
    /// When it may begin, if anything is known that brings it there.
    pub start: Option<StartForecast>,
    /// Other requests: the one that was asked about, then those that the service found to be sooner.
    pub alternatives: Vec<LeaseAlternative>,
}

/// A lease that comes before another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseAhead {
    /// Its bare name.
    pub lease: String,
    /// Bare name of its owner.
    pub client: String,
    /// Priority that policies give it.
    pub priority: i64,
    /// Since when it waits.
    pub since: Option<Timestamp>,
}

/// When a waiting lease may begin if nobody with a better claim comes, and no device comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartForecast {
    /// When those before it end as early as the quickest did.
    pub earliest: Timestamp,
    /// When they end as most did.
    pub likely: Timestamp,
    /// When they use all their time, where that sets a limit.
    pub latest: Option<Timestamp>,
    /// Ended leases that this was learned from; 0: none, so only declared times count.
    pub learned_from: u32,
}

/// What another request would mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseAlternative {
    /// Its selector.
    pub selector: String,
    /// Its length.
    pub duration: Duration,
    /// It was asked about.
    pub asked: bool,
    /// Connected exporters that it could have.
    pub devices: u32,
    /// Its place in the queue.
    pub position: u32,
    /// When it may begin.
    pub start: Option<StartForecast>,
}

impl LeaseWhy {
    pub(crate) fn from_proto(found: pb::ExplainLeaseResponse) -> Result<Self, String> {
        let lease = found.lease.ok_or("the lease is missing from the explanation")?;
        let ahead = |one: pb::LeaseAhead| {
            Ok::<_, String>(LeaseAhead {
                lease: split(&one.lease, "leases")?.1,
                client: split(&one.client, "clients")?.1,
                priority: one.priority,
                since: one.create_time.and_then(moment),
            })
        };
        Ok(Self {
            lease: Lease::from_proto(lease)?,
            standing: found.standing,
            reason: found.reason,
            message: found.message,
            ahead: found.ahead.into_iter().map(ahead).collect::<Result<_, _>>()?,
            start: found.start.and_then(forecast),
            alternatives: found.alternatives.into_iter().map(alternative).collect(),
        })
    }
}

impl WhatIf {
    pub(crate) fn to_proto(&self, name: String) -> pb::ExplainLeaseRequest {
        let span = |duration: Duration| prost_types::Duration {
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
        };
        pb::ExplainLeaseRequest { name, selector: self.selector.clone(), duration: self.duration.map(span) }
    }
}

fn alternative(one: pb::LeaseAlternative) -> LeaseAlternative {
    let duration = one
        .duration
        .and_then(|span| Some(Duration::new(u64::try_from(span.seconds).ok()?, u32::try_from(span.nanos).ok()?)));
    LeaseAlternative {
        selector: one.selector,
        duration: duration.unwrap_or_default(),
        asked: one.asked,
        devices: one.devices,
        position: one.position,
        start: one.start.and_then(forecast),
    }
}

/// A forecast without its two ends says nothing.
fn forecast(from: pb::StartForecast) -> Option<StartForecast> {
    Some(StartForecast {
        earliest: from.earliest.and_then(moment)?,
        likely: from.likely.and_then(moment)?,
        latest: from.latest.and_then(moment),
        learned_from: from.learned_from,
    })
}

fn moment(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}
