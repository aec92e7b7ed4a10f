//! The stored form of a ring.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{KeyRing, MAX_KEYS, RetiredKey, RingError, TrustedKey, check_name};
use crate::key_file::KeyError;
use crate::public_key::{Jwk, KeyId, VerifyingKey};
use crate::signing::SigningKey;

const VERSION: u64 = 1;
/// A full ring takes some 15 KiB.
const MAX_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    signing: Signing,
    #[serde(default)]
    retired: Vec<Retired>,
    #[serde(default)]
    trusted: Vec<Trusted>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Signing {
    id: String,
    created: Timestamp,
    private_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Retired {
    id: String,
    created: Timestamp,
    #[serde(rename = "retired")]
    since: Timestamp,
    until: Timestamp,
    public_key: Jwk,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Trusted {
    name: String,
    id: String,
    added: Timestamp,
    until: Timestamp,
    public_key: Jwk,
}

pub(super) fn write(ring: &KeyRing) -> String {
    let document = Document {
        version: VERSION,
        signing: Signing {
            id: ring.signing_id().to_string(),
            created: ring.created,
            private_key: ring.signing.to_pem(),
        },
        retired: ring.retired.iter().map(retired).collect(),
        trusted: ring.trusted.iter().map(trusted).collect(),
    };
    // Texts, numbers and dates always serialize.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

fn retired(retired: &RetiredKey) -> Retired {
    let RetiredKey { created, retired, until, key } = retired;
    Retired { id: key.id().to_string(), created: *created, since: *retired, until: *until, public_key: key.to_jwk() }
}

fn trusted(trusted: &TrustedKey) -> Trusted {
    let TrustedKey { name, added, until, key } = trusted;
    Trusted { name: name.clone(), id: key.id().to_string(), added: *added, until: *until, public_key: key.to_jwk() }
}

pub(super) fn parse(stored: &[u8]) -> Result<KeyRing, RingError> {
    if stored.len() > MAX_BYTES {
        return Err(RingError::Damaged(format!("they are larger than {MAX_BYTES} bytes")));
    }
    // The library's own text may repeat a value, so only the place is told.
    let unreadable = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "JSON of another form" } else { "not JSON, or cut short" };
        RingError::Damaged(format!("{what}, see line {line}, column {column}"))
    };
    let Versioned { version } = serde_json::from_slice(stored).map_err(unreadable)?;
    if version != VERSION {
        return Err(RingError::Version(version));
    }
    let document: Document = serde_json::from_slice(stored).map_err(unreadable)?;
    let signing = SigningKey::from_pem(document.signing.private_key.as_bytes())
        .map_err(|error| damaged("the signing key", &error))?;
    check_id("the signing key", &document.signing.id, signing.verifying_key())?;
    let mut ring = KeyRing::of(signing, document.signing.created);
    for entry in document.retired {
        let key = public_key("a retired key", &entry.id, &entry.public_key)?;
        ring.retired.push(RetiredKey { created: entry.created, retired: entry.since, until: entry.until, key });
    }
    for entry in document.trusted {
        check_name(&entry.name).map_err(|error| RingError::Damaged(error.to_string()))?;
        let key = public_key("a trusted key", &entry.id, &entry.public_key)?;
        ring.trusted.push(TrustedKey { name: entry.name, added: entry.added, until: entry.until, key });
    }
    check_whole(&ring)?;
    Ok(ring)
}

fn damaged(what: &str, error: &KeyError) -> RingError {
    RingError::Damaged(format!("{what}: {error}"))
}

fn public_key(what: &str, id: &str, jwk: &Jwk) -> Result<VerifyingKey, RingError> {
    let key = VerifyingKey::from_coordinates(jwk).map_err(|error| damaged(what, &error))?;
    check_id(what, id, &key)?;
    Ok(key)
}

/// The id tells a key that was changed by half.
fn check_id(what: &str, id: &str, key: &VerifyingKey) -> Result<(), RingError> {
    if id == key.id().as_str() {
        return Ok(());
    }
    Err(RingError::Damaged(format!("{what} does not fit its `id`")))
}

fn check_whole(ring: &KeyRing) -> Result<(), RingError> {
    if ring.retired.len() > MAX_KEYS || ring.trusted.len() > MAX_KEYS {
        return Err(RingError::Damaged(format!("there are more than {MAX_KEYS} keys of a kind")));
    }
    let mut ids: Vec<KeyId> = ring.keys().into_iter().map(|key| key.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < count {
        return Err(RingError::Damaged("a key is there twice".to_owned()));
    }
    Ok(())
}
