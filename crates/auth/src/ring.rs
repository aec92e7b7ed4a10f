//! The keys of identity tokens: one signs; older ones of ours and imported public ones verify until a date.
//!
//! A ring is a value: whoever changes one stores the changed copy and hands it to
//! [`TokenIssuer::replace_ring`](crate::TokenIssuer::replace_ring). Its stored form is JSON (`version` 1), the same
//! wherever it is kept:
//!
//! ```json
//! { "version": 1,
//!   "signing": { "id": "…", "created": "2026-01-02T03:04:05Z", "privateKey": "-----BEGIN PRIVATE KEY-----…" },
//!   "retired": [{ "id": "…", "created": "…", "retired": "…", "until": "…", "publicKey": { "crv": "P-256", … } }],
//!   "trusted": [{ "name": "…", "id": "…", "added": "…", "until": "…", "publicKey": { "crv": "P-256", … } }] }
//! ```
//!
//! The private half of a retired key is not kept: nothing needs it.

mod document;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::key_file::KeyError;
use crate::public_key::{KeyId, VerifyingKey};
use crate::signing::SigningKey;

/// Most retired and most trusted keys: each costs a verification for every token of unknown origin.
pub const MAX_KEYS: usize = 16;
/// How long a key past its date stays, so that its tokens are told why they no longer count.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Longest name of a trusted key.
const MAX_NAME: usize = 63;

/// Why a ring could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The stored form is damaged; it was left as it is.
    #[error(
        "the stored keys are not usable: {0}; restore them from a backup, or delete them to have new ones made (every token in use then stops working)"
    )]
    Damaged(String),
    /// Written by a later release.
    #[error("the stored keys have version {0}, this release knows version 1: use the release that wrote them")]
    Version(u64),
    /// A key could not be made or is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The end date is not in the future.
    #[error("the date {0} has passed: give one in the future")]
    Past(Timestamp),
    /// The name does not suit.
    #[error("`{0}` is no name for a key: 1 to {MAX_NAME} characters of a-z, 0-9, `-`, `_` and `.`")]
    Name(String),
    /// The key is one of ours, or trusted under another name.
    #[error("the key {id} is in use already, as {role}")]
    Known {
        /// The key.
        id: KeyId,
        /// What it is.
        role: String,
    },
    /// No trusted key has this name.
    #[error("no trusted key has the name `{name}`; there {}", named(.known))]
    Unknown {
        /// The name asked for.
        name: String,
        /// Names that there are.
        known: Vec<String>,
    },
    /// [`MAX_KEYS`] is reached.
    #[error("there are {MAX_KEYS} {0} keys already: wait until one of them ends, or stop trusting one")]
    TooMany(&'static str),
}

fn named(known: &[String]) -> String {
    if known.is_empty() { "is none".to_owned() } else { format!("are: {}", known.join(", ")) }
}

/// An older signing key of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredKey {
    /// When it was made.
    pub created: Timestamp,
    /// When it stopped signing.
    pub retired: Timestamp,
    /// Until when its tokens are taken.
    pub until: Timestamp,
    /// The public half.
    pub key: VerifyingKey,
}

/// Somebody else's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// What the operator calls it; several keys of one document share it.
    pub name: String,
    /// When it was imported.
    pub added: Timestamp,
    /// Until when its tokens are taken.
    pub until: Timestamp,
    /// The key.
    pub key: VerifyingKey,
}

/// What a key of the ring is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// It signs new tokens.
    Signing,
    /// It signed before.
    Retired,
    /// It was imported under this name.
    Trusted(String),
}

impl fmt::Display for KeyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signing => f.write_str("the signing key"),
            Self::Retired => f.write_str("an older signing key"),
            Self::Trusted(name) => write!(f, "the trusted key `{name}`"),
        }
    }
}

/// A key that verifies tokens, without key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub role: KeyUse,
    /// Until when its tokens are taken; `None` for the signing key.
    pub until: Option<Timestamp>,
}

impl TokenKey {
    /// Whether its tokens are taken at `now`.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// One signing key, and keys that verify until a date.
#[derive(Clone)]
pub struct KeyRing {
    signing: SigningKey,
    created: Timestamp,
    retired: Vec<RetiredKey>,
    trusted: Vec<TrustedKey>,
}

impl KeyRing {
    /// A ring of one new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(now: Timestamp) -> Result<Self, KeyError> {
        Ok(Self::of(SigningKey::generate()?, now))
    }

    /// A ring of this key alone, made at `created`.
    #[must_use]
    pub fn of(signing: SigningKey, created: Timestamp) -> Self {
        Self { signing, created: whole(created), retired: Vec::new(), trusted: Vec::new() }
    }

    /// Reads the stored form, which is checked completely.
    ///
    /// # Errors
    /// [`RingError::Damaged`] or [`RingError::Version`]; neither repeats what was read.
    pub fn parse(stored: &[u8]) -> Result<Self, RingError> {
        document::parse(stored)
    }

    /// The stored form. A secret: it holds the private key.
    #[must_use]
    pub fn to_json(&self) -> String {
        document::write(self)
    }

    /// Makes a new signing key. Tokens of the one before are taken for `overlap` more; zero ends them at once.
    ///
    /// # Errors
    /// [`RingError::TooMany`] after [`MAX_KEYS`] rotations within their overlaps, or when there is no randomness.
    pub fn rotate(&mut self, now: Timestamp, overlap: SignedDuration) -> Result<(), RingError> {
        self.prune(now);
        if self.retired.len() >= MAX_KEYS {
            return Err(RingError::TooMany("retired"));
        }
        let signing = SigningKey::generate()?;
        let now = whole(now);
        let until = now.checked_add(overlap.max(SignedDuration::ZERO)).map_or(Timestamp::MAX, whole);
        let key = self.signing.verifying_key().clone();
        self.retired.push(RetiredKey { created: self.created, retired: now, until, key });
        self.signing = signing;
        self.created = now;
        Ok(())
    }

    /// Takes tokens of `keys` too, until a date. A name that is in use gets these keys and this date instead.
    ///
    /// # Errors
    /// When the date has passed, the name does not suit, or a key is in the ring already. The ring is as before then.
    pub fn trust(
        &mut self,
        name: &str,
        keys: Vec<VerifyingKey>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), RingError> {
        check_name(name)?;
        let until = whole(until);
        if until <= now {
            return Err(RingError::Past(until));
        }
        let mut changed = self.clone();
        changed.trusted.retain(|trusted| trusted.name != name);
        changed.prune(now);
        for key in keys {
            let id = key.id();
            if let Some(known) = changed.keys().into_iter().find(|known| known.id == id) {
                return Err(RingError::Known { id, role: known.role.to_string() });
            }
            if changed.trusted.len() >= MAX_KEYS {
                return Err(RingError::TooMany("trusted"));
            }
            changed.trusted.push(TrustedKey { name: name.to_owned(), added: whole(now), until, key });
        }
        *self = changed;
        Ok(())
    }

    /// Stops taking tokens of the keys with this name.
    ///
    /// # Errors
    /// [`RingError::Unknown`] when there are none.
    pub fn untrust(&mut self, name: &str) -> Result<(), RingError> {
        let before = self.trusted.len();
        self.trusted.retain(|trusted| trusted.name != name);
        if self.trusted.len() < before {
            return Ok(());
        }
        let mut known: Vec<String> = self.trusted.iter().map(|trusted| trusted.name.clone()).collect();
        known.dedup();
        Err(RingError::Unknown { name: name.to_owned(), known })
    }

    /// Id of the signing key.
    #[must_use]
    pub fn signing_id(&self) -> KeyId {
        self.signing.verifying_key().id()
    }

    /// When the signing key was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// Older keys, oldest first.
    #[must_use]
    pub fn retired(&self) -> &[RetiredKey] {
        &self.retired
    }

    /// Imported keys.
    #[must_use]
    pub fn trusted(&self) -> &[TrustedKey] {
        &self.trusted
    }

    /// Every key, the signing one first, those past their date included.
    #[must_use]
    pub fn keys(&self) -> Vec<TokenKey> {
        self.verifiers().map(|(key, _)| key).collect()
    }

    /// The public halves of our own keys whose tokens count at `now`, as a JWKS document.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> serde_json::Value {
        let retired = self.retired.iter().filter(|retired| now < retired.until).map(|retired| &retired.key);
        let keys = std::iter::once(self.signing.verifying_key()).chain(retired);
        serde_json::json!({ "keys": keys.map(VerifyingKey::jwks_entry).collect::<Vec<_>>() })
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    pub(crate) fn verifiers(&self) -> impl Iterator<Item = (TokenKey, &VerifyingKey)> {
        let entry = |role, until, key: &VerifyingKey| TokenKey { id: key.id(), role, until };
        let signing = self.signing.verifying_key();
        std::iter::once((entry(KeyUse::Signing, None, signing), signing))
            .chain(self.retired.iter().map(move |it| (entry(KeyUse::Retired, Some(it.until), &it.key), &it.key)))
            .chain(
                self.trusted
                    .iter()
                    .map(move |it| (entry(KeyUse::Trusted(it.name.clone()), Some(it.until), &it.key), &it.key)),
            )
    }

    /// Forgets keys that ended long ago, and those that ended at all when there is no room otherwise.
    fn prune(&mut self, now: Timestamp) {
        let kept = |until: Timestamp, full: bool| {
            now < until || !full && until.checked_add(REMEMBERED).is_ok_and(|end| now < end)
        };
        let full = self.retired.len() >= MAX_KEYS;
        self.retired.retain(|retired| kept(retired.until, full));
        let full = self.trusted.len() >= MAX_KEYS;
        self.trusted.retain(|trusted| kept(trusted.until, full));
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signing: _, created, retired, trusted } = self;
        f.debug_struct("KeyRing")
            .field("signing", &self.signing_id())
            .field("created", created)
            .field("retired", retired)
            .field("trusted", trusted)
            .finish()
    }
}

/// Dates are kept and shown in whole seconds.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn check_name(name: &str) -> Result<(), RingError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(RingError::Name(name.chars().take(MAX_NAME).collect()))
}
