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

/// A [`TokenIssuer`] that verifies each token once. Only digests are kept, never tokens.
pub struct VerifiedTokens {
    known: Mutex<HashMap<[u8; 32], Claims>>,
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self { known: Mutex::new(HashMap::new()) }
    }
}

impl VerifiedTokens {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Claims>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`TokenIssuer::verify`] of `issuer`, which must be the same at each call.
    ///
    /// # Errors
    /// Those of [`TokenIssuer::verify`].
    pub fn verify(&self, issuer: &TokenIssuer, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let digest = digest(&SHA256, token.as_bytes());
        let Ok(key) = <[u8; 32]>::try_from(digest.as_ref()) else {
            return issuer.verify(token, now);
        };
        if let Some(claims) = self.lock().get(&key)
            && claims.expires_at > now
        {
            return Ok(claims.clone());
        }
        let claims = issuer.verify(token, now)?;
        let mut known = self.lock();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(key, claims.clone());
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, ToSpan as _};

    use super::*;
    use crate::SigningKey;

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
        let foreign = other.issue("client:a:b:c", now).unwrap().token.into_exposed();
        assert!(verified.verify(&issuer, &foreign, now).is_err());
    }
}
