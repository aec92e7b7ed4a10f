//! What the fuzz targets run: each body reads outside bytes and panics only when a promise of the parser is broken.
//!
//! The targets of `fuzz/` and the smoke test `tests/fuzz_smoke.rs` share these bodies, so that a stable toolchain runs
//! them as well.

#![expect(clippy::missing_panics_doc, reason = "to panic on a broken promise is what they are for")]

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

use crate::public_key::VerifyingKey;
use crate::ring::KeyRing;
use crate::signing::SigningKey;
use crate::token::{TokenIssuer, unverified_issuer};

/// Longest error text that a peer may get (protocol.md §10.3 row 16).
const LONGEST_MESSAGE: usize = 4096;

fn issuer() -> Option<&'static TokenIssuer> {
    static ISSUER: OnceLock<Option<TokenIssuer>> = OnceLock::new();
    let make = || {
        let mut ring = KeyRing::of(SigningKey::generate().ok()?, Timestamp::UNIX_EPOCH);
        ring.rotate(Timestamp::UNIX_EPOCH, SignedDuration::from_hours(1)).ok()?;
        Some(TokenIssuer::with_ring(ring))
    };
    ISSUER.get_or_init(make).as_ref()
}

/// No text is a token of a key that was made a moment ago.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(issuer) = issuer() else { return };
    let refused = issuer.verify(text, Timestamp::UNIX_EPOCH);
    assert!(refused.is_err_and(|error| error.to_string().len() <= LONGEST_MESSAGE), "a made up token passes");
    let _ = unverified_issuer(text);
}

/// Keys that a JWKS document holds are written as a document that holds the same.
pub fn jwks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(keys) = VerifyingKey::from_jwks(text) else { return };
    let entries: Vec<_> = keys.iter().map(VerifyingKey::jwks_entry).collect();
    let again = VerifyingKey::from_jwks(&serde_json::json!({ "keys": entries }).to_string());
    assert!(again.is_ok_and(|again| again == keys), "the keys are others");
}

/// A ring that parses is written as it parses, and can be used.
pub fn key_ring(data: &[u8]) {
    let _ = SigningKey::from_pem(data);
    let _ = VerifyingKey::from_pem(data);
    let Ok(ring) = KeyRing::parse(data) else { return };
    let stored = ring.to_json();
    let again = KeyRing::parse(stored.as_bytes());
    assert!(again.is_ok_and(|again| again.to_json() == stored && again.keys() == ring.keys()), "the ring is another");
    let issuer = TokenIssuer::with_ring(ring);
    let issued = issuer.issue("client:a:b:c", Timestamp::UNIX_EPOCH);
    let passes = issued.is_ok_and(|issued| issuer.verify(issued.token.expose(), Timestamp::UNIX_EPOCH).is_ok());
    assert!(passes, "its own token is refused");
}
