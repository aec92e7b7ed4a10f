//! Carries out what the core decided.

use std::{collections::HashSet, sync::Arc};

use futures::future::join_all;
use jumpstarter_model::Timestamp;
use jumpstarter_scheduler::{
    Action, Change,
    transition::{self, Transition},
};
use jumpstarter_store::{Key, Kind, Object, StoreError, Write};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Runtime;
use crate::metrics::Acquisition;

/// Rounds of decide and commit in one pass: each round follows from the one before, so few are ever needed; the rest
/// waits for the next pass, so that calls are not kept waiting by a flaw.
const ROUNDS: usize = 64;

impl Runtime {
    /// Asks the core and commits its answer until it has nothing more to say.
    pub(super) async fn carry_out_decisions(&mut self) {
        if self.rest_until.is_some_and(|rest| Instant::now() < rest) {
            return;
        }
        self.rest_until = None;
        for _ in 0..ROUNDS {
            let decisions = self.lab.decide(Timestamp::now());
            self.wake_at = decisions.wake_at;
            if decisions.actions.is_empty() {
                return;
            }
            let mut actions = decisions.actions;
            while !actions.is_empty() {
                actions = self.commit_actions(actions).await;
            }
            self.observe_tear_downs();
            if self.rest_until.is_some() {
                self.wake_at = Some(Timestamp::now());
                return;
            }
        }
        debug!("more decisions wait for the next pass");
        self.wake_at = Some(Timestamp::now());
    }

    /// Tells the core of each exporter just written whether it still owes a tear-down.
    fn observe_tear_downs(&mut self) {
        for name in &self.look_at {
            let (sight, _) = self.presence.sight(name);
            self.lab.observe(Change::TearDown { exporter: name, pending: sight.owes_tear_down });
        }
    }

    /// Commits the actions that touch different objects; returns those put off to the next round.
    async fn commit_actions(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let now = Timestamp::now();
        let mut touched: HashSet<Key> = HashSet::new();
        let mut later = Vec::new();
        let mut jobs = Vec::new();
        for action in actions {
            let keys = self.keys_of(&action);
            if keys.iter().any(|key| touched.contains(key)) {
                later.push(action);
                continue;
            }
            let lease = self.world.lease(action.lease());
            let exporter = action
                .exporter()
                .map(str::to_owned)
                .or_else(|| lease.as_ref().and_then(|lease| lease.assigned_exporter().map(str::to_owned)));
            let exporter = exporter.and_then(|name| self.world.exporter(&name));
            let Some(changes) = transition::apply(&action, lease.as_deref(), exporter.as_deref(), now) else {
                self.lab.settle(&action);
                // The objects moved on; what is true now is observed again.
                self.observe_again(&keys);
                continue;
            };
            let writes = writes_of(changes);
            if writes.is_empty() {
                self.lab.settle(&action);
                continue;
            }
            touched.extend(keys.iter().cloned());
            jobs.push((action, keys, writes));
        }
        let store = Arc::clone(&self.store);
        let results = join_all(jobs.into_iter().map(|(action, keys, writes)| {
            let store = Arc::clone(&store);
            async move { (action, keys, store.transact(writes).await) }
        }))
        .await;
        for (action, keys, result) in results {
            self.lab.settle(&action);
            match result {
                Ok(objects) => {
                    for object in &objects {
                        self.absorb(object);
                    }
                    self.observe_again(&keys);
                    self.look_at.extend(action.exporter().map(str::to_owned));
                    self.note(&action);
                }
                Err(StoreError::Conflict { .. } | StoreError::NotFound(_)) => {
                    self.metrics.conflicts.inc();
                    for key in &keys {
                        self.refresh(key).await;
                    }
                    self.observe_again(&keys);
                }
                Err(error) => {
                    warn!(?action, %error, "a decision could not be stored, it will be taken again");
                    self.rest_until = Some(Instant::now() + super::STORE_RETRY);
                    for key in &keys {
                        self.refresh(key).await;
                    }
                    self.observe_again(&keys);
                }
            }
        }
        later
    }

    /// The objects that an action may write.
    fn keys_of(&self, action: &Action) -> Vec<Key> {
        let namespace = &self.config.namespace;
        let mut keys = Vec::with_capacity(2);
        keys.push(Key::new(Kind::Lease, namespace, action.lease()));
        if let Some(exporter) = action.exporter() {
            keys.push(Key::new(Kind::Exporter, namespace, exporter));
        } else if let Some(lease) = self.world.lease(action.lease())
            && let Some(exporter) = lease.assigned_exporter()
        {
            keys.push(Key::new(Kind::Exporter, namespace, exporter));
        }
        keys
    }

    /// Tells the core the truth about objects on which its assumption failed.
    fn observe_again(&mut self, keys: &[Key]) {
        for key in keys {
            match key.kind {
                Kind::Lease => match self.world.lease(&key.name) {
                    Some(lease) => self.lab.observe(Change::Lease(&lease)),
                    None => self.lab.observe(Change::LeaseDeleted(&key.name)),
                },
                Kind::Exporter => match self.world.exporter(&key.name) {
                    Some(exporter) => self.lab.observe(Change::Exporter(&exporter)),
                    None => self.lab.observe(Change::ExporterDeleted(&key.name)),
                },
                _ => {}
            }
        }
    }

    /// Logs and counts what has become durable.
    fn note(&self, action: &Action) {
        match action {
            Action::Assign { lease, exporter, .. } => {
                self.metrics.acquisition(Acquisition::success);
                info!(%lease, %exporter, "lease assigned");
            }
            Action::Refuse { lease, reason, message, .. } => {
                self.metrics.acquisition(Acquisition::failure);
                info!(%lease, %reason, %message, "lease refused");
            }
            Action::End { lease, cause, .. } => info!(%lease, ?cause, "lease ended"),
            Action::MakeReady { lease } => info!(%lease, "lease ready"),
            Action::Wait { lease, reason, .. } => debug!(%lease, %reason, "lease waits"),
            other => warn!(action = ?other, "a half-done change was completed"),
        }
    }
}

/// Claim before lease, and release the lease before the claim: on a backend without transactions every prefix is a
/// state that the core completes at restart.
fn writes_of(transition: Transition) -> Vec<Write> {
    let Transition { exporter_status, lease_status, lease_metadata } = transition;
    let ends = lease_status.iter().chain(&lease_metadata).any(jumpstarter_model::Lease::is_ended);
    let exporter = exporter_status.map(|exporter| Write::UpdateStatus(Object::from_resource(&exporter)));
    let lease = match (lease_status, lease_metadata) {
        (_, Some(both)) => Some(Write::Replace(Object::from_resource(&both))),
        (Some(status), None) => Some(Write::UpdateStatus(Object::from_resource(&status))),
        (None, None) => None,
    };
    if ends { lease.into_iter().chain(exporter).collect() } else { exporter.into_iter().chain(lease).collect() }
}
