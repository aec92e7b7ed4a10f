//! Where the keys of identity tokens are kept: one Secret of the service's namespace, in every kind of store.
//!
//! The Secret is made once, by whoever comes first, and from then on changed by compare-and-swap alone. The running
//! controller follows it and uses what it says; a Secret that is damaged is reported and left as it is.

mod uses;

use jumpstarter_auth::{KeyError, KeyRing, KeyUse, RingError, TokenIssuer};
use jumpstarter_model::Timestamp;
use jumpstarter_store::{DecodeError, Key, Kind, Object, Store, StoreError, Write};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use tracing::{error, info, warn};

pub(crate) use uses::LegacyUses;

/// Name of the Secret.
pub const SECRET_NAME: &str = "jumpstarter-controller-keys";
/// Where in its `data` the keys are, in the form of [`KeyRing::to_json`].
pub const FIELD: &str = "keys.json";
/// How often a change is tried again that somebody else was faster with.
const ATTEMPTS: usize = 16;

/// Why the keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store did not do it.
    #[error("the store refuses")]
    Store(#[from] StoreError),
    /// The Secret is damaged, or the change is not possible.
    #[error("{secret}: {source}")]
    Ring {
        /// The Secret.
        secret: Key,
        /// What is wrong.
        source: RingError,
    },
    /// The Secret does not have the form of one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// There is no Secret.
    #[error("{0} does not exist: it is made when the service starts for the first time")]
    Missing(Key),
    /// Others changed the Secret each time.
    #[error("{0} changes all the time: try again")]
    Contended(Key),
    /// No key could be made.
    #[error("make a signing key")]
    Make(#[from] KeyError),
}

/// The Secret of a namespace.
#[must_use]
pub fn secret_key(namespace: &str) -> Key {
    Key::new(Kind::Secret, namespace, SECRET_NAME)
}

/// Reads the keys out of the Secret.
///
/// # Errors
/// When it holds none, or they are damaged. Nothing that it holds is repeated.
pub fn decode(object: &Object) -> Result<KeyRing, KeysError> {
    let wrong = |source| KeysError::Ring { secret: object.key().clone(), source };
    let secret: Secret = object.decode()?;
    let stored = secret.data.as_ref().and_then(|data| data.get(FIELD));
    let stored = stored.ok_or_else(|| wrong(RingError::Damaged(format!("the Secret has no `{FIELD}`"))))?;
    KeyRing::parse(&stored.0).map_err(wrong)
}

/// The Secret with these keys: `existing` with its version, or a new one.
///
/// # Errors
/// When `existing` does not have the form of a Secret.
pub fn encode(ring: &KeyRing, namespace: &str, existing: Option<&Object>) -> Result<Object, KeysError> {
    let mut secret: Secret = match existing {
        Some(object) => object.decode()?,
        None => Secret {
            metadata: ObjectMeta {
                name: Some(SECRET_NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        },
    };
    secret.data.get_or_insert_default().insert(FIELD.to_owned(), ByteString(ring.to_json().into_bytes()));
    Ok(Object::from_resource(&secret))
}

/// The keys of this namespace; `make` gives those of a first start. Of several that start at once all get the same.
///
/// # Errors
/// When the store cannot be used or the Secret is damaged, which is left as it is.
///
/// # Cancel safety
/// A dropped future may leave new keys stored, which the next call finds.
pub async fn load_or_create(
    store: &dyn Store,
    namespace: &str,
    make: impl FnOnce() -> Result<KeyRing, KeyError>,
) -> Result<KeyRing, KeysError> {
    let key = secret_key(namespace);
    if let Some(object) = store.get(&key).await? {
        return decode(&object);
    }
    let ring = make()?;
    match store.transact(vec![Write::Create(encode(&ring, namespace, None)?)]).await {
        Ok(_) => {
            info!(secret = %key, signing = %ring.signing_id(), "signing keys made");
            Ok(ring)
        }
        Err(StoreError::AlreadyExists(_) | StoreError::Conflict { .. }) => {
            let object = store.get(&key).await?.ok_or_else(|| KeysError::Contended(key.clone()))?;
            decode(&object)
        }
        Err(error) => Err(error.into()),
    }
}

/// Changes the keys by compare-and-swap; `change` is called again for keys that somebody else has changed meanwhile.
///
/// # Errors
/// As [`load_or_create`]; [`KeysError::Missing`] before the first start of the service; what `change` refuses.
///
/// # Cancel safety
/// A dropped future leaves it unknown whether the change was made.
pub async fn edit(
    store: &dyn Store,
    namespace: &str,
    mut change: impl FnMut(&mut KeyRing) -> Result<(), RingError> + Send,
) -> Result<KeyRing, KeysError> {
    let key = secret_key(namespace);
    for _ in 0..ATTEMPTS {
        let object = store.get(&key).await?.ok_or_else(|| KeysError::Missing(key.clone()))?;
        let mut ring = decode(&object)?;
        change(&mut ring).map_err(|source| KeysError::Ring { secret: key.clone(), source })?;
        match store.transact(vec![Write::Update(encode(&ring, namespace, Some(&object))?)]).await {
            Ok(_) => return Ok(ring),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(KeysError::Contended(key))
}

/// Brings `issuer` to what the Secret says. Returns whether its keys are other ones now.
pub(crate) fn follow(issuer: &TokenIssuer, object: &Object) -> bool {
    let ring = match decode(object) {
        Ok(ring) => ring,
        Err(error) => {
            error!(
                error = &error as &dyn std::error::Error,
                "the signing keys in use stay: the stored ones are damaged"
            );
            return false;
        }
    };
    if ring.to_json() == issuer.ring().to_json() {
        return false;
    }
    info!(signing = %ring.signing_id(), keys = ring.keys().len(), "signing keys changed");
    announce(&ring, Timestamp::now());
    issuer.replace_ring(ring);
    true
}

/// Puts the keys in use back where somebody has removed them.
pub(crate) async fn restore(store: &dyn Store, namespace: &str, issuer: &TokenIssuer) -> Result<(), KeysError> {
    let write = Write::Create(encode(&issuer.ring(), namespace, None)?);
    match store.transact(vec![write]).await {
        Ok(_) => {
            warn!(secret = %secret_key(namespace), "the signing keys were missing from the store: stored those in use");
            Ok(())
        }
        // What is there now is followed.
        Err(StoreError::AlreadyExists(_) | StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Says which keys of others are trusted. Called at every start.
pub(crate) fn announce(ring: &KeyRing, now: Timestamp) {
    for key in ring.keys() {
        let (KeyUse::Trusted(name), Some(until)) = (&key.role, key.until) else { continue };
        if key.counts(now) {
            warn!(
                key = name,
                %until,
                "tokens of another service's key are accepted until the date: whoever finds that key can be anybody; \
                 see `jumpstarter_legacy_token_uses_total` and end it with `jumpstarter keys untrust {name}`"
            );
        } else {
            info!(key = name, %until, "tokens of another service's key are no longer accepted");
        }
    }
}
