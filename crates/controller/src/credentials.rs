//! Tokens of clients and exporters: Secrets and the status fields that name them (kubernetes.md §2.4, §3.1, §4.8).
//!
//! One watch feeds a view; an object is looked at when something that its credential depends on has changed, and at
//! the times when a verdict changes by itself. All writes are compare-and-swap; one is made at a time.

mod judge;
mod owner;
mod state;
mod write;

use std::{future::ready, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jumpstarter_auth::TokenIssuer;
use jumpstarter_model::Timestamp;
use jumpstarter_store::{
    Event, EventKind, EventRecorder, Key, Kind, ListOptions, Object, ResourceVersion, Store, StoreError,
};
use k8s_openapi::api::core::v1::Secret;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    judge::{Holder, Verdict, fingerprint, judge, next_change},
    owner::Owner,
    state::{State, holders_of},
};
use crate::{
    config::ControllerConfig,
    keys::{self, KeysError},
};

/// Pause between two tokens that are replaced only because of their key: 10,000 take half an hour.
const RENEWAL_PAUSE: Duration = Duration::from_millis(200);
/// Longest sleep: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
/// After which a store in trouble is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// After which an object is tried again that cannot be written or read.
const RETRY_OBJECT: Duration = Duration::from_secs(30);
/// How often a write is tried at once that somebody else was faster with.
const ATTEMPTS: usize = 8;

/// Why a credential could not be brought in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("store the credential: {0}")]
    Store(#[from] StoreError),
    #[error("sign the token: {0}")]
    Sign(#[from] jumpstarter_auth::KeyError),
    #[error("the object cannot be read: {0}")]
    Decode(#[from] jumpstarter_store::DecodeError),
    #[error("keep the signing keys: {0}")]
    Keys(#[from] KeysError),
}

/// Keeps every client and exporter supplied with a token, and the issuer with the keys that are stored.
pub(crate) struct Credentials {
    pub(crate) config: Arc<ControllerConfig>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) issuer: Arc<TokenIssuer>,
    pub(crate) events: Arc<dyn EventRecorder>,
}

impl Credentials {
    /// Reconciles until `stop` fires.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        keys::announce(&self.issuer.ring(), self.config.clock.now());
        let mut state = State::default();
        while !stop.is_cancelled() {
            let round = async {
                match self.round(&mut state).await {
                    Ok(()) | Err(CredentialError::Store(StoreError::Gone { .. })) => {}
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "credentials");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Dropping a round may leave a Secret without the status that names it; the next round mends that.
                () = round => {}
            }
        }
    }

    /// Looks at everything, then at what changes, until the watch ends.
    async fn round(&self, state: &mut State) -> Result<(), CredentialError> {
        let mut from: Option<ResourceVersion> = None;
        let mut objects = Vec::new();
        for kind in [Kind::Secret, Kind::Client, Kind::Exporter] {
            let list = self.store.list(kind, &self.config.namespace, ListOptions::default()).await?;
            from = Some(from.map_or(list.resource_version, |v| v.min(list.resource_version)));
            objects.extend(list.items.into_iter().filter(concerns_us));
        }
        match objects.iter().find(|object| is_keys(object)) {
            Some(object) => _ = keys::follow(&self.issuer, object),
            None => keys::restore(&*self.store, &self.config.namespace, &self.issuer).await?,
        }
        state.reset(objects);
        let kinds = [Kind::Client, Kind::Exporter, Kind::Secret];
        let mut events = self.store.watch(&kinds, from.unwrap_or_default()).await?;
        let mut pace = tokio::time::interval(RENEWAL_PAUSE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = self.config.clock.now();
            let sleep = state.next_due().map_or(LONGEST_SLEEP, |at| until(at, now));
            tokio::select! {
                // News first: whoever makes a client waits for its token. All are cancel safe.
                biased;
                event = events.next() => match event {
                    Some(event) => self.event(state, event?).await?,
                    None => return Ok(()),
                },
                _ = pace.tick(), if state.renewals() > 0 => self.renew(state).await?,
                () = ready(()), if state.has_pending() => {
                    if let Some(key) = state.next_pending() {
                        self.reconcile(state, &key, false).await?;
                    }
                    tokio::task::yield_now().await;
                }
                () = tokio::time::sleep(sleep) => state.collect_due(self.config.clock.now()),
            }
        }
    }

    async fn event(&self, state: &mut State, event: Event) -> Result<(), CredentialError> {
        let object = event.object();
        if object.namespace() != self.config.namespace || !concerns_us(object) {
            return Ok(());
        }
        let news = match &event {
            Event::Added(object) | Event::Modified(object) => state.put(object),
            Event::Deleted(object) => state.remove(object),
        };
        if !news {
            return Ok(());
        }
        if is_keys(object) {
            if matches!(event, Event::Deleted(_)) {
                keys::restore(&*self.store, &self.config.namespace, &self.issuer).await?;
            } else if keys::follow(&self.issuer, object) {
                state.look_at_all();
            }
        } else if object.kind() == Kind::Secret {
            for key in holders_of(object.key()) {
                self.reconcile(state, &key, false).await?;
            }
        } else if !matches!(event, Event::Deleted(_)) {
            self.reconcile(state, object.key(), false).await?;
        }
        Ok(())
    }

    /// Replaces the next token that was signed by an older key.
    async fn renew(&self, state: &mut State) -> Result<(), CredentialError> {
        if let Some(key) = state.next_renewal() {
            let outcome = self.reconcile(state, &key, true).await;
            if outcome.is_err() {
                state.renew_later(&key);
            }
            outcome?;
        }
        if state.renewals() == 0 {
            info!("every token that is kept is signed by the current key");
        }
        Ok(())
    }

    /// Brings one object in order; what is wrong with it alone is told and tried again later. `renew` also replaces a
    /// token that is still good.
    ///
    /// # Errors
    /// When the store is in trouble: the same would happen to every object.
    async fn reconcile(&self, state: &mut State, key: &Key, renew: bool) -> Result<(), CredentialError> {
        let outcome = self.bring_in_order(state, key, renew).await;
        state.mark_stuck(key, outcome.is_err());
        outcome
    }

    async fn bring_in_order(&self, state: &mut State, key: &Key, renew: bool) -> Result<(), CredentialError> {
        for attempt in 0..ATTEMPTS {
            let outcome = async {
                if attempt > 0 {
                    self.read_again(state, key).await?;
                }
                self.step(state, key, renew).await
            };
            match outcome.await {
                Ok(()) => return Ok(()),
                Err(CredentialError::Store(
                    StoreError::Conflict { .. } | StoreError::AlreadyExists(_) | StoreError::NotFound(_),
                )) => {}
                Err(CredentialError::Store(StoreError::Invalid(reason))) => {
                    warn!(object = %key, reason, "bring a credential in order");
                    break;
                }
                Err(error @ CredentialError::Decode(_)) => {
                    warn!(object = %key, error = &error as &dyn std::error::Error, "bring a credential in order");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let later = self.config.clock.now().as_second().saturating_add(RETRY_OBJECT.as_secs().cast_signed());
        state.wake_at(key, Timestamp::from_second(later).ok());
        Ok(())
    }

    /// The view may be behind: asks the store itself.
    async fn read_again(&self, state: &mut State, key: &Key) -> Result<(), CredentialError> {
        let object = self.store.get(key).await?;
        let owner = object.as_ref().map(Owner::of).transpose()?.flatten();
        state.replace(key, object);
        if let Some(owner) = owner {
            let secret = self.key(&owner.holder());
            let object = self.store.get(&secret).await?;
            state.replace(&secret, object);
        }
        Ok(())
    }

    fn key(&self, holder: &Holder<'_>) -> Key {
        Key::new(Kind::Secret, &self.config.namespace, holder.secret_name())
    }

    /// Level-triggered: looks at what is and writes what is missing.
    async fn step(&self, state: &mut State, key: &Key, renew: bool) -> Result<(), CredentialError> {
        let Some(object) = state.get(key) else { return Ok(()) };
        // The name alone tells the Secret, so that a settled object is not decoded.
        let suffix = if key.kind == Kind::Client { "client" } else { "exporter" };
        let secret_key = Key::new(Kind::Secret, &self.config.namespace, format!("{}-{suffix}", key.name));
        let secret = state.get(&secret_key);
        let (endpoint, generation) = (&self.config.endpoint, self.issuer.generation());
        let mark = fingerprint(&object, secret.as_ref(), endpoint, generation);
        if !renew && state.is_settled(key, mark) {
            return Ok(());
        }
        let owner = match Owner::of(&object) {
            Ok(Some(owner)) => owner,
            Ok(None) => return Ok(()),
            Err(error) => {
                // Until somebody changes it.
                state.settle(key, mark, None);
                return Err(error.into());
            }
        };
        let holder = owner.holder();
        let now = self.config.clock.now();
        let typed: Option<Secret> = secret.as_ref().map(Object::decode).transpose()?;
        let expires = match judge(typed.as_ref(), &holder, &self.issuer, now) {
            Verdict::Keep { expires } => expires,
            Verdict::Adopt { expires } => {
                let written = self.write_secret(typed, &holder, None).await?;
                state.put(&written);
                debug!(secret = %secret_key, "token adopted");
                expires
            }
            Verdict::Renew { expires } if !renew => {
                state.renew_later(key);
                expires
            }
            Verdict::Renew { .. } | Verdict::Issue => {
                let issued = self.issuer.issue(&holder.subject.to_string(), now)?;
                let written = self.write_secret(typed, &holder, Some(&issued)).await?;
                state.put(&written);
                info!(secret = %secret_key, expires = %issued.expires_at, "token issued");
                issued.expires_at
            }
            Verdict::Taken { by } => {
                let message = format!(
                    "the Secret {} belongs to {by}: rename or delete it, then a token is made",
                    holder.secret_name()
                );
                self.tell(&object, EventKind::Warning, "CredentialTaken", message);
                state.settle(key, mark, None);
                return Ok(());
            }
        };
        let object = self.write_status(state, object, &owner, expires, now).await?;
        let secret = state.get(&secret_key);
        let mark = fingerprint(&object, secret.as_ref(), endpoint, generation);
        state.settle(key, mark, Some(next_change(expires, now)));
        Ok(())
    }
}

/// Whether it is anything but a Secret of others.
fn concerns_us(object: &Object) -> bool {
    object.kind() != Kind::Secret || is_keys(object) || holders_of(object.key()).next().is_some()
}

fn is_keys(object: &Object) -> bool {
    object.kind() == Kind::Secret && object.name() == keys::SECRET_NAME
}

/// Time to a moment, at most [`LONGEST_SLEEP`].
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let left = at.duration_since(now);
    Duration::try_from(left).unwrap_or_default().min(LONGEST_SLEEP)
}

#[cfg(test)]
mod tests;
