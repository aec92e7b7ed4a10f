//! What is written for a credential: the Secret, the status that names it, and what is told of both.

use jumpstarter_auth::IssuedToken;
use jumpstarter_model::{Client, Timestamp, identity::Subject};
use jumpstarter_store::{EventKind, Kind, Object, ObjectEvent, StoreError, Write};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use tracing::{debug, warn};

use super::{
    ATTEMPTS, CredentialError, Credentials,
    judge::{Holder, TOKEN_KEY, token_life},
    owner::Owner,
    state::View,
};

impl Credentials {
    /// Names the Secret in the status, and warns of its end. Returns the object as it is then.
    pub(super) async fn write_status(
        &self,
        state: &View,
        object: Object,
        owner: &Owner,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Object, CredentialError> {
        let holder = owner.holder();
        let secret = holder.secret_name();
        let change = owner.status(&secret, &self.config.endpoint, expires, now);
        let (mut first, mut warn_client) = (false, false);
        let object = match change {
            None => object,
            Some(change) => {
                (first, warn_client) = (change.first_credential, change.expires_soon);
                let written = self.store.transact(vec![Write::UpdateStatus(change.object)]).await?;
                let written = written.into_iter().next().unwrap_or(object);
                state.lock().put(&written);
                written
            }
        };
        if first && holder.kind == Kind::Client {
            self.tell(
                &object,
                EventKind::Normal,
                "CredentialCreated",
                format!("made the Secret {secret} with a token"),
            );
        }
        let (expiring, reason, message) = token_life(expires, now);
        let news = state.lock().warn(object.key(), expiring.then_some(reason));
        // A client's condition remembers across restarts what was told; an exporter has none.
        if warn_client || holder.kind == Kind::Exporter && news {
            let (kind, name) = (holder.subject.kind, holder.name());
            let message = format!(
                "{kind} {name}: {message} ({expires}); a new one is put into the Secret {secret} then, but those who \
                 copied the token need it before"
            );
            self.tell(&object, EventKind::Warning, "TokenExpiringSoon", message);
        }
        Ok(object)
    }

    pub(super) fn tell(&self, object: &Object, kind: EventKind, reason: &'static str, message: String) {
        match kind {
            EventKind::Normal => debug!(object = %object.key(), reason, "{message}"),
            EventKind::Warning => warn!(object = %object.key(), reason, "{message}"),
        }
        let component = if object.kind() == Kind::Client { "client-controller" } else { "exporter-controller" };
        self.events.record(ObjectEvent::new(object, kind, component, reason, message));
    }

    /// Writes a Secret with its owner, and with this token if there is one.
    pub(super) async fn write_secret(
        &self,
        existing: Option<Secret>,
        holder: &Holder<'_>,
        issued: Option<&IssuedToken>,
    ) -> Result<Object, CredentialError> {
        let exists = existing.is_some();
        let mut secret = existing.unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(holder.secret_name()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        });
        let owners = secret.metadata.owner_references.get_or_insert_default();
        owners.retain(|owner| owner.controller != Some(true) && Some(&owner.uid) != holder.metadata.uid.as_ref());
        owners.push(holder.reference());
        if let Some(issued) = issued {
            let token = ByteString(issued.token.expose().as_bytes().to_vec());
            secret.data.get_or_insert_default().insert(TOKEN_KEY.to_owned(), token);
        }
        let object = Object::from_resource(&secret);
        let write = if exists { Write::Update(object.clone()) } else { Write::Create(object.clone()) };
        let written = self.store.transact(vec![write]).await?;
        Ok(written.into_iter().next().unwrap_or(object))
    }

    /// Signs a new token for a client and stores it; the old one stays good until its end.
    pub(crate) async fn rotate_client(&self, client: &Client) -> Result<IssuedToken, CredentialError> {
        let holder = Holder { kind: Kind::Client, metadata: &client.metadata, subject: Subject::of_client(client) };
        let key = self.key(&holder);
        let issued = self.issuer.issue(&holder.subject.to_string(), self.config.clock.now())?;
        let mut attempts = 1;
        loop {
            let existing = self.store.get(&key).await?.as_ref().map(Object::decode).transpose()?;
            match self.write_secret(existing, &holder, Some(&issued)).await {
                Err(CredentialError::Store(StoreError::Conflict { .. } | StoreError::AlreadyExists(_)))
                    if attempts < ATTEMPTS =>
                {
                    attempts += 1;
                }
                Err(error) => return Err(error),
                Ok(_) => return Ok(issued),
            }
        }
    }
}
