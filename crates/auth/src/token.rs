//! Identity tokens of clients and exporters: issued and verified by the service itself (`reference/protocol.md` §3.1).

use std::fmt;
use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use crate::jwt::{Audience, CLOCK_SKEW, Fault, NumericDate, Unverified};
use crate::key_file::KeyError;
use crate::public_key::VerifyingKey;
use crate::ring::{KeyRing, TokenKey};
use crate::secret::SecretString;
use crate::signing::SigningKey;

/// `iss` of every internal token, whatever address the service has.
pub const INTERNAL_ISSUER: &str = "https://localhost:8085";
/// `aud` of every internal token.
pub const INTERNAL_AUDIENCE: &str = "jumpstarter";
/// How long a token is good for unless configured: 365 days.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Longer tokens are refused unread. Ours have about 350 bytes, those of identity providers up to 4 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token was refused. The text is what the peer reads: clients log in again when it holds `token is expired`,
/// and only the two variants for which that helps may hold `expired`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// `exp` has passed.
    #[error("token is expired since {0}: log in again or ask for a new token")]
    Expired(Timestamp),
    /// The key that signed it is no longer taken.
    #[error("token is expired: the key that signed it was taken until {0}: log in again or ask for a new token")]
    KeyEnded(Timestamp),
    /// Larger than [`MAX_TOKEN_BYTES`].
    #[error("failed to authenticate token: it is larger than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// Not a JWT, or one without what every token has.
    #[error("failed to authenticate token: {0}")]
    Malformed(&'static str),
    /// Signed with an algorithm that this issuer never uses.
    #[error("failed to authenticate token: its algorithm is not the issuer's")]
    Algorithm,
    /// Another issuer's token: let the next authenticator look at it.
    #[error("failed to authenticate token: no authenticator knows its issuer")]
    UnknownIssuer,
    /// No trusted key made the signature: a foreign key, or a changed token.
    #[error("oidc: failed to verify the token's signature: it was made by another service or changed on the way")]
    Signature,
    /// Not meant for this service.
    #[error("oidc: the token's audience does not include {INTERNAL_AUDIENCE:?}")]
    Audience,
    /// `iat` or `nbf` lies in the future by more than a minute.
    #[error("oidc: the token is not valid before {0}: check the clocks of both machines")]
    NotYetValid(Timestamp),
}

impl From<Fault> for TokenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge => Self::TooLarge,
            Fault::Shape(reason) => Self::Malformed(reason),
            Fault::Algorithm => Self::Algorithm,
            Fault::Signature => Self::Signature,
        }
    }
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The subject, `client:<namespace>:<name>:<uid>` or `exporter:…`.
    pub sub: String,
    /// When the token was issued, if it says so.
    pub issued_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The key that signed it.
    pub key: Arc<TokenKey>,
}

/// A new token.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// The compact JWS.
    pub token: SecretString,
    /// When it ends, in whole seconds.
    pub expires_at: Timestamp,
}

/// The internal issuer: signs with one key of its ring, takes tokens of all. Clones share the ring.
#[derive(Clone)]
pub struct TokenIssuer {
    keys: Arc<RwLock<Arc<Keys>>>,
    /// Whole seconds.
    lifetime: Arc<AtomicI64>,
    leeway: SignedDuration,
}

/// A ring made ready for use.
pub(crate) struct Keys {
    ring: KeyRing,
    verifiers: Vec<(Arc<TokenKey>, VerifyingKey)>,
    header: String,
    /// Differs between any two of a process.
    pub(crate) generation: u64,
}

impl Keys {
    fn new(ring: KeyRing) -> Self {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        let verifiers = ring.verifiers().map(|(key, verifying)| (Arc::new(key), verifying.clone())).collect();
        let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{}"}}"#, ring.signing_id());
        Self { ring, verifiers, header, generation: GENERATIONS.fetch_add(1, Ordering::Relaxed) }
    }
}

/// Field order is the order on the wire.
#[derive(Serialize)]
struct Written<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: [&'a str; 1],
    exp: i64,
    iat: i64,
}

#[derive(Deserialize)]
struct Read {
    sub: Option<String>,
    #[serde(default)]
    aud: Audience,
    exp: Option<NumericDate>,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
}

#[derive(Deserialize)]
struct Issuer {
    iss: Option<String>,
}

impl TokenIssuer {
    /// An issuer whose ring is this one key, for [`DEFAULT_LIFETIME`], and takes `exp` to the second.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self::with_ring(KeyRing::of(key, Timestamp::UNIX_EPOCH))
    }

    /// An issuer with these keys, for [`DEFAULT_LIFETIME`], and takes `exp` to the second.
    #[must_use]
    pub fn with_ring(ring: KeyRing) -> Self {
        Self {
            keys: Arc::new(RwLock::new(Arc::new(Keys::new(ring)))),
            lifetime: Arc::new(AtomicI64::new(DEFAULT_LIFETIME.as_secs())),
            leeway: SignedDuration::ZERO,
        }
    }

    /// Sets how long new tokens of this issuer and later clones of it are good for.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: SignedDuration) -> Self {
        self.lifetime = Arc::new(AtomicI64::new(lifetime.as_secs()));
        self
    }

    /// Changes how long tokens issued from now on are good for; those in use keep theirs.
    pub fn set_lifetime(&self, lifetime: SignedDuration) {
        self.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// Sets for how long after `exp` a token is still taken.
    #[must_use]
    pub fn with_leeway(mut self, leeway: SignedDuration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Uses other keys from now on; what [`VerifiedTokens`](crate::VerifiedTokens) remembers ends with the old ones.
    pub fn replace_ring(&self, ring: KeyRing) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Keys::new(ring));
    }

    /// The keys in use.
    #[must_use]
    pub fn ring(&self) -> KeyRing {
        self.keys().ring.clone()
    }

    /// Changes with every [`TokenIssuer::replace_ring`]: a verdict of another generation must be asked for again.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.keys().generation
    }

    pub(crate) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Signs a token for `subject`.
    ///
    /// # Errors
    /// Only when the cryptographic library refuses to sign, which no input causes.
    pub fn issue(&self, subject: &str, now: Timestamp) -> Result<IssuedToken, KeyError> {
        let iat = now.as_second();
        let exp = iat.saturating_add(self.lifetime.load(Ordering::Relaxed)).min(Timestamp::MAX.as_second());
        let claims = Written { iss: INTERNAL_ISSUER, sub: subject, aud: [INTERNAL_AUDIENCE], exp, iat };
        let keys = self.keys();
        let token = crate::jwt::sign(&keys.header, &claims, keys.ring.signing_key().encoding_key(), Algorithm::ES256)
            .map_err(|error| KeyError::Invalid(error.to_string()))?;
        let expires_at = Timestamp::from_second(exp).unwrap_or(Timestamp::MAX);
        Ok(IssuedToken { token: token.into(), expires_at })
    }

    /// Checks a token and returns its claims.
    ///
    /// # Errors
    /// [`TokenError::UnknownIssuer`] says that another authenticator may know it; every other error is final.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        self.verify_with(&self.keys(), token, now)
    }

    pub(crate) fn verify_with(&self, keys: &Keys, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        // The issuer goes first: a token of another issuer may well use another algorithm.
        if unverified_issuer(token)? != INTERNAL_ISSUER {
            return Err(TokenError::UnknownIssuer);
        }
        let unverified = Unverified::parse(token, MAX_TOKEN_BYTES, &[Algorithm::ES256])?;
        // A `kid` of the ring binds the token to that key; tokens of older issuers have none, or one of their own.
        let kid = unverified.key_id().filter(|kid| keys.verifiers.iter().any(|(key, _)| key.id.as_str() == *kid));
        let candidates = keys
            .verifiers
            .iter()
            .filter(|(key, _)| kid.is_none_or(|kid| key.id.as_str() == kid))
            .map(|(key, verifying)| (key, verifying.decoding_key()));
        let (key, claims): (&Arc<TokenKey>, Read) = unverified.verify_among(candidates)?;

        if !claims.aud.includes(INTERNAL_AUDIENCE) {
            return Err(TokenError::Audience);
        }
        let at = |date: NumericDate| date.timestamp().ok_or(TokenError::Malformed("it names an impossible time"));
        let expires_at = at(claims.exp.ok_or(TokenError::Malformed("it has no `exp`"))?)?;
        let ended = expires_at.checked_add(self.leeway).is_ok_and(|end| end <= now);
        if ended {
            return Err(TokenError::Expired(expires_at));
        }
        let issued_at = claims.iat.map(at).transpose()?;
        let not_before = claims.nbf.map(at).transpose()?;
        let latest = now.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        if let Some(start) = [issued_at, not_before].into_iter().flatten().find(|start| *start > latest) {
            return Err(TokenError::NotYetValid(start));
        }
        let sub = claims.sub.filter(|sub| !sub.is_empty()).ok_or(TokenError::Malformed("it has no `sub`"))?;
        if let Some(until) = key.until.filter(|until| *until <= now) {
            return Err(TokenError::KeyEnded(until));
        }
        Ok(Claims { sub, issued_at, expires_at, key: Arc::clone(key) })
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys: _, lifetime, leeway } = self;
        f.debug_struct("TokenIssuer")
            .field("ring", &self.keys().ring)
            .field("lifetime", lifetime)
            .field("leeway", leeway)
            .finish()
    }
}

/// The issuer that a token claims, unverified: good for choosing an authenticator, for nothing else.
///
/// # Errors
/// When it is not a JWT of at most [`MAX_TOKEN_BYTES`] with an `iss`.
pub fn unverified_issuer(token: &str) -> Result<String, TokenError> {
    const ANY: &[Algorithm] = &[
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ];
    let Issuer { iss } = Unverified::parse(token, MAX_TOKEN_BYTES, ANY)?.unverified_claims()?;
    iss.ok_or(TokenError::Malformed("it has no `iss`"))
}
