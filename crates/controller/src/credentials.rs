//! Tokens of clients and exporters: Secrets and the status fields that name them (kubernetes.md §2.4, §3.1, §4.8).
//!
//! One watch feeds a view; an object is looked at when something that its credential depends on has changed, and at
//! the times when a verdict changes by itself. All writes are compare-and-swap. Objects are brought in order side by
//! side: thousands come at once when a lab moves in, and each takes two writes one after the other.

mod judge;
mod owner;
mod state;
mod works;
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
    state::{View, holders_of},
    works::Works,
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
        let state = View::default();
        while !stop.is_cancelled() {
            let round = async {
                match self.round(&state).await {
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
    async fn round(&self, state: &View) -> Result<(), CredentialError> {
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
        state.lock().reset(objects);
        let kinds = [Kind::Client, Kind::Exporter, Kind::Secret];
        let mut events = self.store.watch(&kinds, from.unwrap_or_default()).await?;
        let mut pace = tokio::time::interval(RENEWAL_PAUSE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut works = Works::new();
        loop {
            let now = self.config.clock.now();
            let (sleep, renewals, pending) = {
                let state = state.lock();
                (state.next_due(), state.renewals(), state.has_pending())
            };
            let sleep = sleep.map_or(LONGEST_SLEEP, |at| until(at, now));
            tokio::select! {
                // News first: whoever makes a client waits for its token. All are cancel safe.
                biased;
                event = events.next() => match event {
                    Some(event) => self.event(state, event?).await?,
                    None => return Ok(()),
                },
                Some(done) = works.next() => works.settle(&mut state.lock(), done, self.config.clock.now())?,
                _ = pace.tick(), if renewals > 0 && works.has_room() => {
                    let key = state.lock().next_renewal();
                    if let Some(key) = key.and_then(|key| works.admit(key)) {
                        works.begin(key.clone(), true, self.reconcile(state, key, true));
                    }
                }
                () = ready(()), if pending && works.has_room() => {
                    let key = state.lock().next_pending();
                    if let Some(key) = key.and_then(|key| works.admit(key)) {
                        works.begin(key.clone(), false, self.reconcile(state, key, false));
                    }
                    tokio::task::yield_now().await;
                }
                () = tokio::time::sleep(sleep) => state.lock().collect_due(self.config.clock.now()),
            }
        }
    }

    async fn event(&self, state: &View, event: Event) -> Result<(), CredentialError> {
        let object = event.object();
        if object.namespace() != self.config.namespace || !concerns_us(object) {
            return Ok(());
        }
        let news = match &event {
            Event::Added(object) | Event::Modified(object) => state.lock().put(object),
            Event::Deleted(object) => state.lock().remove(object),
        };
        if !news {
            return Ok(());
        }
        if is_keys(object) {
            if matches!(event, Event::Deleted(_)) {
                keys::restore(&*self.store, &self.config.namespace, &self.issuer).await?;
            } else if keys::follow(&self.issuer, object) {
                state.lock().look_at_all();
            }
        } else if object.kind() == Kind::Secret {
            holders_of(object.key()).for_each(|key| state.lock().look_at_first(key));
        } else if !matches!(event, Event::Deleted(_)) {
            state.lock().look_at_first(object.key().clone());
        }
        Ok(())
    }

    /// Brings one object in order; what is wrong with it alone is told and tried again later. `renew` also replaces a
    /// token that is still good.
    ///
    /// # Errors
    /// When the store is in trouble.
    async fn reconcile(&self, state: &View, key: Key, renew: bool) -> Result<(), CredentialError> {
        let outcome = self.bring_in_order(state, &key, renew).await;
        state.lock().mark_stuck(&key, outcome.is_err());
        outcome
    }

    async fn bring_in_order(&self, state: &View, key: &Key, renew: bool) -> Result<(), CredentialError> {
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
        state.lock().wake_at(key, Timestamp::from_second(later).ok());
        Ok(())
    }

    /// The view may be behind: asks the store itself.
    async fn read_again(&self, state: &View, key: &Key) -> Result<(), CredentialError> {
        let known = state.lock().version(key);
        let object = self.store.get(key).await?;
        let owner = object.as_ref().map(Owner::of).transpose()?.flatten();
        state.lock().replace(key, known, object);
        if let Some(owner) = owner {
            let secret = self.key(&owner.holder());
            let known = state.lock().version(&secret);
            let object = self.store.get(&secret).await?;
            state.lock().replace(&secret, known, object);
        }
        Ok(())
    }

    fn key(&self, holder: &Holder<'_>) -> Key {
        Key::new(Kind::Secret, &self.config.namespace, holder.secret_name())
    }

    /// Level-triggered: looks at what is and writes what is missing.
    async fn step(&self, state: &View, key: &Key, renew: bool) -> Result<(), CredentialError> {
        let object = state.lock().get(key);
        let Some(object) = object else { return Ok(()) };
        // The name alone tells the Secret, so that a settled object is not decoded.
        let suffix = if key.kind == Kind::Client { "client" } else { "exporter" };
        let secret_key = Key::new(Kind::Secret, &self.config.namespace, format!("{}-{suffix}", key.name));
        let mut secret = state.lock().get(&secret_key);
        let (endpoint, generation) = (&self.config.endpoint, self.issuer.generation());
        let mark = fingerprint(&object, secret.as_ref(), endpoint, generation);
        if !renew && state.lock().is_settled(key, mark) {
            return Ok(());
        }
        let owner = match Owner::of(&object) {
            Ok(Some(owner)) => owner,
            Ok(None) => return Ok(()),
            Err(error) => {
                // Until somebody changes it.
                state.lock().settle(key, mark, None);
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
                state.lock().put(&written);
                secret = Some(written);
                debug!(secret = %secret_key, "token adopted");
                expires
            }
            Verdict::Renew { expires } if !renew => {
                state.lock().renew_later(key);
                expires
            }
            Verdict::Renew { .. } | Verdict::Issue => {
                let issued = self.issuer.issue(&holder.subject.to_string(), now)?;
                let written = self.write_secret(typed, &holder, Some(&issued)).await?;
                state.lock().put(&written);
                secret = Some(written);
                info!(secret = %secret_key, expires = %issued.expires_at, "token issued");
                issued.expires_at
            }
            Verdict::Taken { by } => {
                let message = format!(
                    "the Secret {} belongs to {by}: rename or delete it, then a token is made",
                    holder.secret_name()
                );
                self.tell(&object, EventKind::Warning, "CredentialTaken", message);
                state.lock().settle(key, mark, None);
                return Ok(());
            }
        };
        let object = self.write_status(state, object, &owner, expires, now).await?;
        // Of the Secret that was judged or written: one that came meanwhile is looked at for itself.
        let mark = fingerprint(&object, secret.as_ref(), endpoint, generation);
        let mut state = state.lock();
        if state.version(key).is_some() {
            state.settle(key, mark, Some(next_change(expires, now)));
        }
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
