//! The routers: which there are, how they fare, and which of them the next dial is sent to.
//!
//! [`watch`] keeps one watch for each router of the configuration and tells this what it sees; [`health`] makes a state
//! of it, and [`choice`] decides.

mod choice;
mod health;
mod metrics;
mod recent;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tracing::{debug, info, warn};

pub(crate) use choice::NoRouter;
use choice::{Candidate, Load, Standing};
pub use health::RouterReport;
use health::{Health, Observed};
pub(crate) use metrics::RouterMetrics;
use recent::RecentDials;
pub(crate) use watch::follow;

use crate::config::RouterTarget;

/// A router in this very process: it is asked directly, at every dial.
#[derive(Clone)]
pub struct LocalRouter {
    /// Its address in the list of routers.
    pub endpoint: String,
    /// Tells how it fares; must not block.
    pub look: Arc<dyn Fn() -> RouterReport + Send + Sync>,
}

impl fmt::Debug for LocalRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRouter").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What is known of all routers. Clones share it.
#[derive(Clone)]
pub(crate) struct Routers {
    local: Option<LocalRouter>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// By endpoint: those that are watched, and those that dials were sent to.
    routers: HashMap<String, Observed>,
    recent: RecentDials,
    dice: Dice,
}

/// Numbers without a pattern, the same in every process, so that what happens can be made to happen again.
#[derive(Default)]
struct Dice(u64);

impl Dice {
    /// A number below `n`; 0 when there is none.
    fn below(&mut self, n: usize) -> usize {
        // SplitMix64, the usual way to make a good sequence of a counter.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // Less than `n`, so it fits.
        usize::try_from(mixed % (n.max(1) as u64)).unwrap_or(0)
    }
}

impl Routers {
    pub(crate) fn new(local: Option<LocalRouter>) -> Self {
        Self { local, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_local(&self, endpoint: &str) -> bool {
        self.local.as_ref().is_some_and(|local| local.endpoint == endpoint)
    }

    /// The router for a dial of `lease`, whose exporter has these labels. Counts as sent there.
    pub(crate) fn route<'a>(
        &self,
        targets: &'a [RouterTarget],
        labels: &BTreeMap<String, String>,
        lease: &str,
        now: Instant,
    ) -> Result<&'a RouterTarget, NoRouter> {
        let mut known = self.known();
        if let Some(local) = &self.local {
            known.at(&local.endpoint).reported((local.look)(), now);
        }
        let candidates: Vec<_> = targets.iter().map(|target| known.candidate(target, lease, now)).collect();
        let dice = &mut known.dice;
        let chosen = choice::choose(&candidates, labels, |n| dice.below(n))?;
        known.at(&chosen.endpoint).dialled(now);
        known.recent.push(lease, &chosen.endpoint, now);
        Ok(chosen)
    }

    /// A watch of this router begins.
    fn begin(&self, endpoint: &str) {
        self.known().at(endpoint);
    }

    /// The router is not in the list any more.
    fn forget(&self, endpoint: &str) {
        self.known().routers.remove(endpoint);
    }

    /// The router told its numbers.
    fn reported(&self, endpoint: &str, report: RouterReport) {
        self.change(endpoint, "", |router| router.reported(report, Instant::now()));
    }

    /// The router answered and has no numbers.
    fn answered(&self, endpoint: &str, serving: bool) {
        self.change(endpoint, "", |router| router.answered(serving, Instant::now()));
    }

    /// The router did not answer, or stopped to.
    fn failed(&self, endpoint: &str, reason: &str) {
        self.change(endpoint, reason, Observed::failed);
    }

    /// Says aloud what has changed. A router that was forgotten meanwhile stays so.
    fn change(&self, endpoint: &str, reason: &str, change: impl FnOnce(&mut Observed)) {
        let mut known = self.known();
        let Some(router) = known.routers.get_mut(endpoint) else { return };
        let before = router.health();
        change(router);
        let after = router.health();
        drop(known);
        if before == after {
            return;
        }
        match after {
            Health::Untested => {}
            Health::Serving => info!(router = endpoint, before = before.name(), "the router takes streams"),
            Health::Draining => info!(router = endpoint, "the router is draining and gets no more dials"),
            Health::Suspect => debug!(router = endpoint, reason, "the watch of the router broke off, asking again"),
            Health::Gone if before == Health::Draining => info!(router = endpoint, "the drained router has ended"),
            Health::Gone => warn!(router = endpoint, reason, "the router does not answer any more"),
            Health::Unreached => warn!(
                router = endpoint,
                reason,
                "the router has never answered: it is handed out by its labels alone, or while no other one answers; if \
                 peers can reach it and the controller cannot, switch its probe off"
            ),
        }
    }
}

impl Known {
    fn at(&mut self, endpoint: &str) -> &mut Observed {
        self.routers.entry(endpoint.to_owned()).or_insert_with(Observed::new)
    }

    fn candidate<'a>(&mut self, target: &'a RouterTarget, lease: &str, now: Instant) -> Candidate<'a> {
        let last = self.recent.last(lease, &target.endpoint, now);
        let Some(router) = self.routers.get_mut(&target.endpoint) else {
            let standing = if target.probe { Standing::Untested } else { Standing::Ready };
            return Candidate { target, standing, load: Load::default(), tried: false };
        };
        let (standing, load) = router.standing(now);
        let standing = if target.probe { standing } else { Standing::Ready };
        let tried = last.is_some_and(|at| router.confirmed_at().is_none_or(|confirmed| confirmed <= at));
        Candidate { target, standing, load, tried }
    }
}

#[cfg(test)]
mod tests;
