//! Tokens of clients and exporters: Secrets and the status fields that name them (kubernetes.md §2.4, §3.1, §4.8).

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use jumpstarter_auth::{IssuedToken, TokenIssuer};
use jumpstarter_model::{
    Client, Exporter, LocalObjectReference, Timestamp,
    condition::set_condition,
    identity::{self, Subject},
};
use jumpstarter_store::{Event, Key, Kind, ListOptions, Object, ResourceVersion, Store, StoreError, Write};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::ControllerConfig;

const TOKEN_KEY: &str = "token";
/// How often every credential is looked at again: conditions about token life move by time alone.
const RECHECK: Duration = Duration::from_hours(1);
const RETRY: Duration = Duration::from_secs(1);
const DAY: i64 = 24 * 3600;

/// Why a credential could not be brought in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("store the credential")]
    Store(#[from] StoreError),
    #[error("sign the token")]
    Sign(#[from] jumpstarter_auth::KeyError),
    #[error("the object cannot be read: {0}")]
    Decode(#[from] jumpstarter_store::DecodeError),
}

/// Keeps every client and exporter supplied with a token.
pub(crate) struct Credentials {
    pub(crate) config: Arc<ControllerConfig>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) issuer: Arc<TokenIssuer>,
}

fn secret_name(kind: identity::Kind, name: &str) -> String {
    format!("{name}-{}", kind.as_str())
}

impl Credentials {
    /// Reconciles until `stop` fires.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let round = async {
                match self.round().await {
                    Ok(()) | Err(CredentialError::Store(StoreError::Gone { .. })) => {}
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "credentials");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                // Dropping a round may leave a Secret without the status that names it; the next round mends that.
                () = round => {}
            }
        }
    }

    /// Looks at everything, then at what changes, until the hour is over or the watch ends.
    async fn round(&self) -> Result<(), CredentialError> {
        let mut from: Option<ResourceVersion> = None;
        for kind in [Kind::Client, Kind::Exporter] {
            let list = self.store.list(kind, &self.config.namespace, ListOptions::default()).await?;
            from = Some(from.map_or(list.resource_version, |v| v.min(list.resource_version)));
            for object in &list.items {
                self.reconcile_logged(object).await;
            }
        }
        let kinds = [Kind::Client, Kind::Exporter, Kind::Secret];
        let mut events = self.store.watch(&kinds, from.unwrap_or_default()).await?;
        let hour = tokio::time::sleep(RECHECK);
        tokio::pin!(hour);
        loop {
            let event = tokio::select! {
                // `next` is cancel safe.
                event = events.next() => event,
                () = &mut hour => return Ok(()),
            };
            let Some(event) = event else { return Ok(()) };
            match event? {
                Event::Added(object) | Event::Modified(object) if object.kind() != Kind::Secret => {
                    self.reconcile_logged(&object).await;
                }
                Event::Deleted(object) | Event::Modified(object) if object.kind() == Kind::Secret => {
                    self.owner_of(&object).await?;
                }
                _ => {}
            }
        }
    }

    /// A Secret changed or is gone: looks at the object it belongs to.
    async fn owner_of(&self, secret: &Object) -> Result<(), CredentialError> {
        for (kind, suffix) in [(Kind::Client, "-client"), (Kind::Exporter, "-exporter")] {
            if let Some(name) = secret.name().strip_suffix(suffix)
                && let Some(object) = self.store.get(&Key::new(kind, &self.config.namespace, name)).await?
            {
                self.reconcile_logged(&object).await;
            }
        }
        Ok(())
    }

    async fn reconcile_logged(&self, object: &Object) {
        if object.namespace() != self.config.namespace {
            return;
        }
        for _ in 0..8 {
            match self.reconcile(object.key()).await {
                Ok(()) | Err(CredentialError::Store(StoreError::NotFound(_))) => return,
                Err(CredentialError::Store(StoreError::Conflict { .. } | StoreError::AlreadyExists(_))) => {}
                Err(error) => {
                    warn!(object = %object.key(), error = &error as &dyn std::error::Error, "bring a credential in order");
                    return;
                }
            }
        }
    }

    /// Level-triggered: reads what is and writes what is missing.
    async fn reconcile(&self, key: &Key) -> Result<(), CredentialError> {
        let Some(object) = self.store.get(key).await? else {
            return Ok(());
        };
        match key.kind {
            Kind::Client => self.reconcile_client(object.decode()?).await,
            Kind::Exporter => self.reconcile_exporter(object.decode()?).await,
            _ => Ok(()),
        }
    }

    async fn reconcile_client(&self, client: Client) -> Result<(), CredentialError> {
        let subject = Subject::of_client(&client);
        let (secret, expires) = self.ensure_secret(&subject, &client.metadata, Kind::Client).await?;
        let mut edited = client.clone();
        let generation = edited.metadata.generation;
        let status = edited.status.get_or_insert_default();
        status.credential = Some(LocalObjectReference::new(secret));
        status.endpoint = Some(self.config.endpoint.clone());
        if let Some(expires) = expires {
            status.token_expires_at = Some(Time(expires));
            let now = Timestamp::now();
            let (expiring, reason, message) = token_life(expires, now);
            set_condition(&mut status.conditions, "TokenExpiring", expiring, reason, &message, generation, now);
        }
        if edited.status != client.status {
            self.store.transact(vec![Write::UpdateStatus(Object::from_resource(&edited))]).await?;
        }
        Ok(())
    }

    async fn reconcile_exporter(&self, exporter: Exporter) -> Result<(), CredentialError> {
        let subject = Subject::of_exporter(&exporter);
        let (secret, _) = self.ensure_secret(&subject, &exporter.metadata, Kind::Exporter).await?;
        let mut edited = exporter.clone();
        let status = edited.status.get_or_insert_default();
        status.credential = Some(LocalObjectReference::new(secret));
        status.endpoint = Some(self.config.endpoint.clone());
        if edited.status != exporter.status {
            self.store.transact(vec![Write::UpdateStatus(Object::from_resource(&edited))]).await?;
        }
        Ok(())
    }

    /// Name of the Secret with a token that verifies for this subject, and when the token ends.
    async fn ensure_secret(
        &self,
        subject: &Subject,
        owner: &ObjectMeta,
        kind: Kind,
    ) -> Result<(String, Option<Timestamp>), CredentialError> {
        let name = secret_name(subject.kind, owner.name.as_deref().unwrap_or_default());
        let key = Key::new(Kind::Secret, &self.config.namespace, &name);
        let existing = self.store.get(&key).await?;
        let now = Timestamp::now();
        if let Some(object) = &existing {
            let secret: Secret = object.decode()?;
            let token = secret.data.as_ref().and_then(|data| data.get(TOKEN_KEY));
            if let Some(token) = token
                && let Ok(token) = std::str::from_utf8(&token.0)
                && let Ok(claims) = self.issuer.verify(token, now)
                && claims.sub == subject.to_string()
            {
                return Ok((name, Some(claims.expires_at)));
            }
        }
        let issued = self.issuer.issue(&subject.to_string(), now)?;
        self.write_secret(&name, existing.as_ref(), Some((kind, owner)), &issued).await?;
        info!(secret = %name, expires = %issued.expires_at, "token issued");
        Ok((name, Some(issued.expires_at)))
    }

    async fn write_secret(
        &self,
        name: &str,
        existing: Option<&Object>,
        owner: Option<(Kind, &ObjectMeta)>,
        issued: &IssuedToken,
    ) -> Result<(), CredentialError> {
        let mut secret: Secret = match existing {
            Some(object) => object.decode()?,
            None => Secret {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    namespace: Some(self.config.namespace.clone()),
                    ..ObjectMeta::default()
                },
                type_: Some("Opaque".to_owned()),
                ..Secret::default()
            },
        };
        if let Some((kind, owner)) = owner {
            secret.metadata.owner_references = Some(vec![OwnerReference {
                api_version: kind.api_version().to_owned(),
                kind: kind.name().to_owned(),
                name: owner.name.clone().unwrap_or_default(),
                uid: owner.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]);
        }
        let token = ByteString(issued.token.expose().as_bytes().to_vec());
        secret.data.get_or_insert_default().insert(TOKEN_KEY.to_owned(), token);
        let object = Object::from_resource(&secret);
        let write = if existing.is_some() { Write::Update(object) } else { Write::Create(object) };
        self.store.transact(vec![write]).await?;
        Ok(())
    }

    /// Signs a new token for a client and stores it; the old one stays good until its end.
    pub(crate) async fn rotate_client(&self, client: &Client) -> Result<IssuedToken, CredentialError> {
        let subject = Subject::of_client(client);
        let name = secret_name(subject.kind, client.metadata.name.as_deref().unwrap_or_default());
        let issued = self.issuer.issue(&subject.to_string(), Timestamp::now())?;
        let key = Key::new(Kind::Secret, &self.config.namespace, &name);
        let mut attempts = 0;
        loop {
            let existing = self.store.get(&key).await?;
            let owner = Some((Kind::Client, &client.metadata));
            match self.write_secret(&name, existing.as_ref(), owner, &issued).await {
                Err(CredentialError::Store(StoreError::Conflict { .. } | StoreError::AlreadyExists(_)))
                    if attempts < 8 =>
                {
                    attempts += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return Ok(issued),
            }
        }
    }
}

/// Condition `TokenExpiring` for a token that ends at `expires` (kubernetes.md §3.1).
fn token_life(expires: Timestamp, now: Timestamp) -> (bool, &'static str, String) {
    let left = expires.as_second() - now.as_second();
    let date = expires.strftime("%Y-%m-%d");
    match left {
        ..=0 => (true, "Expired", format!("the token expired on {date}")),
        _ if left <= 7 * DAY => {
            (true, "ExpiresWithin7Days", format!("the token expires on {date}, in {} days", left / DAY))
        }
        _ if left <= 30 * DAY => {
            (true, "ExpiresWithin30Days", format!("the token expires on {date}, in {} days", left / DAY))
        }
        // No day count here: it would be a write a day for every client.
        _ => (false, "Valid", format!("the token is valid until {date}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_follows_the_days_left() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let at = |seconds: i64| Timestamp::from_second(now.as_second() + seconds).unwrap();
        for (left, expiring, reason) in [
            (0, true, "Expired"),
            (1, true, "ExpiresWithin7Days"),
            (7 * DAY, true, "ExpiresWithin7Days"),
            (7 * DAY + 1, true, "ExpiresWithin30Days"),
            (30 * DAY, true, "ExpiresWithin30Days"),
            (30 * DAY + 1, false, "Valid"),
        ] {
            let (found, found_reason, _) = token_life(at(left), now);
            assert_eq!((found, found_reason), (expiring, reason), "{left} s left");
        }
    }
}
