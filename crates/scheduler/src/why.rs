//! The whole answer to "why does my lease wait, and until when?".

use jumpstarter_model::{GoDuration, Selector, Timestamp};

use crate::Explanation;

/// Leases ahead that are named; the position counts all of them.
pub const MAX_AHEAD: usize = 100;

/// Another request that the asker would make do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// Labels that an exporter must have, in place of the lease's own selector and pinned exporter.
    pub selector: Option<Selector>,
    /// Length of the lease.
    pub duration: Option<GoDuration>,
}

/// Where a lease stands, who is ahead, when it may begin, and what would bring it there sooner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What [`Lab::explain`](crate::Lab::explain) says.
    pub explanation: Explanation,
    /// Leases that come before this one at some exporter, next one first; at most [`MAX_AHEAD`].
    pub ahead: Vec<Ahead>,
    /// When it may begin; `None` when nothing that is known brings it there.
    pub start: Option<Forecast>,
    /// Other requests. The one that was asked for comes first, those that the lab found follow, soonest first.
    pub alternatives: Vec<Alternative>,
}

/// A lease that comes before another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Its name.
    pub lease: String,
    /// Its owner.
    pub client: String,
    /// Priority of the policy rule that lets it in, the highest where several do.
    pub priority: i64,
    /// Since when it waits.
    pub created: Timestamp,
}

/// When a waiting lease may begin if nobody with a better claim comes meanwhile and no device comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// If leases end as early as the quickest tenth of those before; without enough of them, if all end now.
    pub earliest: Timestamp,
    /// If leases last as long as most did; without enough that ended, as long as they may.
    pub likely: Timestamp,
    /// If each lease uses all its time. `None` when only devices that are not ready, and may never be, could serve it.
    pub latest: Option<Timestamp>,
    /// Ended leases that `earliest` and `likely` were learned from; 0 when there were not enough.
    pub learned_from: usize,
}

/// What another request would mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The selector that it has; the original one where only the length differs.
    pub selector: String,
    /// The length that it has.
    pub duration: GoDuration,
    /// Whether the asker named it.
    pub asked: bool,
    /// Connected and enabled exporters that it could have.
    pub devices: usize,
    /// Its place in the queue.
    pub position: usize,
    /// When it may begin.
    pub start: Option<Forecast>,
}
