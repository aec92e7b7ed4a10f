//! What is known of one router: a state machine without sockets. What happens and when are arguments.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::choice::{Load, Standing};

/// A dial shows in a router's numbers once a peer has arrived there; a report that is younger by this much has it.
const ARRIVAL: Duration = Duration::from_secs(1);
/// How long a dial counts for a router that reports no numbers.
const UNREPORTED: Duration = Duration::from_mins(1);
/// Dials that are remembered for one router; beyond that it has plenty to do either way.
const MAX_DIALS: usize = 16_384;
/// Traffic is measured over at least this time.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(500);

/// What a router says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterReport {
    /// It takes no new streams.
    pub draining: bool,
    /// Streams that carry bytes.
    pub open: u64,
    /// Halves that wait for their partner.
    pub waiting: u64,
    /// Most streams that it takes, waiting ones included.
    pub max_streams: u64,
    /// Most halves that may wait.
    pub max_waiting: u64,
    /// Bytes passed on since its start.
    pub total_bytes: u64,
}

/// Where a router stands, as its watch has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Health {
    /// Nothing came of the first attempt yet.
    Untested,
    /// It never answered. It may be dead, or out of our reach and within that of peers.
    Unreached,
    /// It takes streams.
    Serving,
    /// It takes no new streams.
    Draining,
    /// The watch broke off, and the router is being asked again.
    Suspect,
    /// It answered once and does so no more.
    Gone,
}

impl Health {
    pub(crate) const ALL: [Self; 6] =
        [Self::Untested, Self::Unreached, Self::Serving, Self::Draining, Self::Suspect, Self::Gone];

    /// For logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Untested => "untested",
            Self::Unreached => "unreached",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Suspect => "suspect",
            Self::Gone => "gone",
        }
    }

    fn after_failure(self) -> Self {
        match self {
            Self::Untested | Self::Unreached => Self::Unreached,
            Self::Serving => Self::Suspect,
            // A router that drains ends sooner or later; that is no surprise to look into.
            Self::Suspect | Self::Draining | Self::Gone => Self::Gone,
        }
    }
}

/// One router.
#[derive(Debug)]
pub(crate) struct Observed {
    health: Health,
    /// The numbers of the last report and when it came.
    report: Option<(Instant, RouterReport)>,
    /// Bytes in total when they were last counted, for the next rate.
    sample: Option<(Instant, u64)>,
    bytes_per_second: u64,
    /// When it last said anything good.
    confirmed_at: Option<Instant>,
    /// When dials were sent there, as far as they matter.
    dials: VecDeque<Instant>,
    dials_total: u64,
}

impl Observed {
    pub(crate) fn new() -> Self {
        Self {
            health: Health::Untested,
            report: None,
            sample: None,
            bytes_per_second: 0,
            confirmed_at: None,
            dials: VecDeque::new(),
            dials_total: 0,
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// It reports its numbers.
    pub(crate) fn reported(&mut self, report: RouterReport, now: Instant) {
        self.health = if report.draining { Health::Draining } else { Health::Serving };
        self.confirmed_at = Some(now);
        self.report = Some((now, report));
        match self.sample {
            // A smaller number is another process.
            Some((then, bytes)) if report.total_bytes >= bytes => {
                let time = now.saturating_duration_since(then);
                if time >= SHORTEST_SAMPLE {
                    let moved = u128::from(report.total_bytes - bytes) * 1000 / time.as_millis().max(1);
                    let rate = u64::try_from(moved).unwrap_or(u64::MAX);
                    // Half of it is the past, so that a pause of a moment does not make a busy router look idle.
                    self.bytes_per_second = self.bytes_per_second / 2 + rate / 2;
                    self.sample = Some((now, report.total_bytes));
                }
            }
            _ => {
                self.bytes_per_second = 0;
                self.sample = Some((now, report.total_bytes));
            }
        }
        self.forget_dials(now);
    }

    /// It answers, and has no numbers to report.
    pub(crate) fn answered(&mut self, serving: bool, now: Instant) {
        self.health = if serving { Health::Serving } else { Health::Draining };
        self.confirmed_at = Some(now);
        self.report = None;
        self.sample = None;
        self.bytes_per_second = 0;
    }

    /// An attempt to reach it came to nothing, or a watch broke off.
    pub(crate) fn failed(&mut self) {
        self.health = self.health.after_failure();
    }

    /// A dial is sent there.
    pub(crate) fn dialled(&mut self, now: Instant) {
        self.dials_total += 1;
        if self.dials.len() == MAX_DIALS {
            self.dials.pop_front();
        }
        self.dials.push_back(now);
    }

    /// Dials sent there since it is known.
    pub(crate) fn dials_total(&self) -> u64 {
        self.dials_total
    }

    /// The last report, if it reports.
    pub(crate) fn report(&self) -> Option<RouterReport> {
        self.report.map(|(_, report)| report)
    }

    /// When it last said anything good.
    pub(crate) fn confirmed_at(&self) -> Option<Instant> {
        self.confirmed_at
    }

    /// Where it stands for the next dial.
    pub(crate) fn standing(&mut self, now: Instant) -> (Standing, Load) {
        self.forget_dials(now);
        let under_way = self.dials.len() as u64;
        let Some((_, report)) = self.report else {
            let load = Load { streams: under_way, bytes_per_second: 0 };
            return (self.plain_standing(), load);
        };
        let streams = report.open.saturating_add(report.waiting).saturating_add(under_way);
        let load = Load { streams, bytes_per_second: self.bytes_per_second };
        let full = streams >= report.max_streams || report.waiting >= report.max_waiting;
        let standing = match self.plain_standing() {
            Standing::Ready if full => Standing::Full,
            standing => standing,
        };
        (standing, load)
    }

    fn plain_standing(&self) -> Standing {
        match self.health {
            Health::Untested => Standing::Untested,
            Health::Serving => Standing::Ready,
            Health::Draining => Standing::Draining,
            Health::Suspect => Standing::Suspect,
            Health::Unreached => Standing::Unreached,
            Health::Gone => Standing::Gone,
        }
    }

    /// Leaves dials that the last report does not show yet; of a router without reports, the latest.
    fn forget_dials(&mut self, now: Instant) {
        let known = match self.report {
            Some((at, _)) => at.checked_sub(ARRIVAL),
            None => now.checked_sub(UNREPORTED),
        };
        let too_old = now.checked_sub(UNREPORTED);
        let forget = known.max(too_old);
        while self.dials.front().is_some_and(|dial| Some(*dial) <= forget) {
            self.dials.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
