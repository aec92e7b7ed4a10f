//! Remembers which tokens were verified: a signature costs a hundred times more than a look-up, and an exporter shows
//! the same token with every call.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use crate::token::{Claims, TokenError, TokenIssuer};

/// Tokens remembered; some 2 MB. When there are more, all are forgotten and verified anew.
const MAX_REMEMBERED: usize = 16_384;

/// A [`TokenIssuer`] that verifies each token once. Only digests are kept, never tokens. What is remembered ends with
/// the token, with the key that signed it, and with the ring of the issuer.
#[derive(Default)]
pub struct VerifiedTokens {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Of the keys that gave these verdicts.
    generation: u64,
    claims: HashMap<[u8; 32], Claims>,
}

impl VerifiedTokens {
    /// What is known by keys of this generation.
    fn lock(&self, generation: u64) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation < generation {
            *known = Known { generation, claims: HashMap::new() };
        }
        known
    }

    /// As [`TokenIssuer::verify`] of `issuer`.
    ///
    /// # Errors
    /// Those of [`TokenIssuer::verify`].
    pub fn verify(&self, issuer: &TokenIssuer, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let keys = issuer.keys();
        let digest = digest(&SHA256, token.as_bytes());
        let Ok(key) = <[u8; 32]>::try_from(digest.as_ref()) else {
            return issuer.verify_with(&keys, token, now);
        };
        let known = self.lock(keys.generation);
        if known.generation == keys.generation
            && let Some(claims) = known.claims.get(&key)
            && claims.expires_at > now
            && claims.key.counts(now)
        {
            return Ok(claims.clone());
        }
        drop(known);
        let claims = issuer.verify_with(&keys, token, now)?;
        let mut known = self.lock(keys.generation);
        // The keys may have been replaced meanwhile.
        if known.generation == keys.generation {
            if known.claims.len() >= MAX_REMEMBERED {
                known.claims.clear();
            }
            known.claims.insert(key, claims.clone());
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, ToSpan as _};

    use super::*;
    use crate::{KeyRing, KeyUse, SigningKey};

    #[test]
    fn a_known_token_still_ends_and_an_unknown_one_is_verified() {
        let issuer = TokenIssuer::new(SigningKey::generate().unwrap()).with_lifetime(SignedDuration::from_mins(1));
        let other = TokenIssuer::new(SigningKey::generate().unwrap());
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let verified = VerifiedTokens::default();
        let token = issuer.issue("client:a:b:c", now).unwrap().token.into_exposed();
        for _ in 0..2 {
            assert_eq!(verified.verify(&issuer, &token, now).unwrap().sub, "client:a:b:c");
        }
        let later = now + 61.seconds();
        assert!(matches!(verified.verify(&issuer, &token, later), Err(TokenError::Expired(_))));
        // Another issuer's verdicts are not taken for this one's.
        let foreign = other.issue("client:a:b:c", now).unwrap().token.into_exposed();
        assert!(verified.verify(&issuer, &foreign, now).is_err());
    }

    #[test]
    fn what_is_remembered_ends_with_the_key() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let issuer = TokenIssuer::with_ring(KeyRing::generate(now).unwrap());
        let verified = VerifiedTokens::default();
        let token = issuer.issue("client:a:b:c", now).unwrap().token.into_exposed();
        verified.verify(&issuer, &token, now).unwrap();

        let mut ring = issuer.ring();
        ring.rotate(now, SignedDuration::from_mins(1)).unwrap();
        issuer.replace_ring(ring.clone());
        let claims = verified.verify(&issuer, &token, now + 59.seconds()).unwrap();
        assert_eq!(claims.key.role, KeyUse::Retired);
        let late = verified.verify(&issuer, &token, now + 60.seconds());
        assert_eq!(late, Err(TokenError::KeyEnded(now + 60.seconds())));

        verified.verify(&issuer, &token, now + 59.seconds()).unwrap();
        issuer.replace_ring(KeyRing::generate(now).unwrap());
        assert_eq!(verified.verify(&issuer, &token, now), Err(TokenError::Signature));
    }
}
