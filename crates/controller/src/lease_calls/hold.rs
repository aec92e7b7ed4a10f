//! Answers that wait: unmodified clients look at a lease every 5 s, so the service answers when there is news.
//!
//! A first look at an undecided lease answers at once. A repeated look, which would tell the same again, is held until
//! the lease changes. An assigned lease is held for the moment that its exporter needs, also on the first look.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jumpstarter_model::{Client, Lease, condition::lease as condition};
use tokio::time::Instant;
use tonic::Status;

use super::{LeaseCalls, is_decided, is_preparing, name_of};
use crate::{caller::Peer, status, world::Subscription};

/// How long a create waits for the first decision.
const FIRST_DECISION: Duration = Duration::from_millis(200);
/// How long a look at an assigned lease waits for its exporter: the core calls one without hooks ready after 3 s at the
/// latest, and most set-up hooks are done by then.
const PREPARING: Duration = Duration::from_millis(3500);
/// Left of a caller's own deadline for the answer to travel.
const MARGIN: Duration = Duration::from_millis(500);
/// Looks remembered; the oldest are forgotten, which only costs a hold.
const MAX_REMEMBERED: usize = 50_000;

/// The version that was told, and over which connection.
type Told = (String, Option<Peer>);

/// What each owner was told last of each undecided lease, and over which connection: another program of the same owner
/// that looks for the first time has not been told.
#[derive(Clone, Default)]
pub(crate) struct Polls {
    told: Arc<Mutex<HashMap<String, Told>>>,
}

impl Polls {
    fn told(&self, lease: &str, peer: Option<Peer>) -> Option<String> {
        let told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.get(lease).filter(|(_, told)| *told == peer).map(|(version, _)| version.clone())
    }

    fn tell(&self, lease: &Lease, peer: Option<Peer>) {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = name_of(&lease.metadata);
        if is_decided(lease) {
            told.remove(name);
            return;
        }
        if told.len() >= MAX_REMEMBERED {
            told.clear();
        }
        told.insert(name.to_owned(), (version(lease).to_owned(), peer));
    }
}

fn version(lease: &Lease) -> &str {
    lease.metadata.resource_version.as_deref().unwrap_or_default()
}

impl LeaseCalls {
    /// The lease, as soon as there is news for this caller.
    pub(crate) async fn look(
        &self,
        caller: &Client,
        name: &str,
        limit: Option<Duration>,
        peer: Option<Peer>,
    ) -> Result<Arc<Lease>, Status> {
        let lease = self.world.lease(name).ok_or_else(|| status::not_found("lease", name))?;
        if lease.spec.client_ref.name != name_of(&caller.metadata) {
            return Ok(lease);
        }
        let mut changes = self.world.lease_topics.subscribe(name);
        // Read again: what changed before the subscription would be missed.
        let mut lease = self.world.lease(name).ok_or_else(|| status::not_found("lease", name))?;
        let told = self.polls.told(name, peer);
        let started = Instant::now();
        loop {
            let hold = self.hold_for(&lease, told.as_deref());
            let hold = limit.map_or(hold, |limit| hold.min(limit.saturating_sub(MARGIN)));
            let until = started + hold;
            if Instant::now() >= until || !self.wait(&mut changes, until).await {
                break;
            }
            match self.world.lease(name) {
                Some(now) => lease = now,
                None => return Err(status::not_found("lease", name)),
            }
        }
        self.polls.tell(&lease, peer);
        Ok(lease)
    }

    /// The most that a look at this lease may wait, counted from its begin.
    fn hold_for(&self, lease: &Lease, told: Option<&str>) -> Duration {
        if is_decided(lease) {
            Duration::ZERO
        } else if told == Some(version(lease)) {
            self.config.limits.repeated_look
        } else if is_preparing(lease) {
            PREPARING
        } else {
            Duration::ZERO
        }
    }

    /// Waits until the lease changed; `false` when the time is up or the service stops.
    async fn wait(&self, changes: &mut Subscription, until: Instant) -> bool {
        tokio::select! {
            // All three are cancel safe.
            biased;
            () = self.stop.cancelled() => false,
            () = changes.changed() => true,
            () = tokio::time::sleep_until(until) => false,
        }
    }

    /// Waits a moment until a new lease is ready or its wait has a reason.
    pub(super) async fn first_decision(&self, lease: Arc<Lease>, mut changes: Subscription) -> Arc<Lease> {
        let until = Instant::now() + FIRST_DECISION;
        let name = name_of(&lease.metadata).to_owned();
        let mut latest = self.world.lease(&name).unwrap_or(lease);
        while !is_decided(&latest) && (is_preparing(&latest) || !has_reason(&latest)) {
            if !self.wait(&mut changes, until).await {
                break;
            }
            if let Some(lease) = self.world.lease(&name) {
                latest = lease;
            }
        }
        latest
    }
}

/// Whether the wait of a lease has been explained. Whoever creates a group knows that the rest of it is on its way.
fn has_reason(lease: &Lease) -> bool {
    let last = lease.status.as_ref().and_then(|status| status.conditions.last());
    last.is_some_and(|last| last.reason != condition::GROUP_INCOMPLETE)
}
