//! Identity tokens of clients and exporters: issued and verified by the service itself (`reference/protocol.md` §3.1).

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use crate::jwt::{Audience, CLOCK_SKEW, Fault, NumericDate, Unverified};
use crate::key_file::KeyError;
use crate::secret::SecretString;
use crate::signing::{SigningKey, VerifyingKey};

/// `iss` of every internal token, whatever address the service has.
pub const INTERNAL_ISSUER: &str = "https://localhost:8085";
/// `aud` of every internal token.
pub const INTERNAL_AUDIENCE: &str = "jumpstarter";
/// How long a token is good for unless configured: 365 days.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Longer tokens are refused unread. Ours have about 350 bytes, those of identity providers up to 4 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Exactly the header of tokens in the field: no `kid`.
const HEADER: &str = r#"{"alg":"ES256","typ":"JWT"}"#;

/// Why a token was refused. The text is what the peer reads: clients log in again when it holds `token is expired`,
/// and only that variant may hold `expired`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// `exp` has passed.
    #[error("token is expired since {0}: log in again or ask for a new token")]
    Expired(Timestamp),
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
}

/// A new token.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// The compact JWS.
    pub token: SecretString,
    /// When it ends, in whole seconds.
    pub expires_at: Timestamp,
}

/// The internal issuer: signs with one key, trusts that and possibly more.
#[derive(Clone)]
pub struct TokenIssuer {
    key: SigningKey,
    trusted: Vec<VerifyingKey>,
    lifetime: SignedDuration,
    leeway: SignedDuration,
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
    /// An issuer that signs with `key`, for [`DEFAULT_LIFETIME`], and takes `exp` to the second.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        let trusted = vec![key.verifying_key().clone()];
        Self { key, trusted, lifetime: DEFAULT_LIFETIME, leeway: SignedDuration::ZERO }
    }

    /// Sets how long new tokens are good for.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: SignedDuration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets for how long after `exp` a token is still taken.
    #[must_use]
    pub fn with_leeway(mut self, leeway: SignedDuration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Also accepts tokens of this issuer signed with `key`: an older key of ours, or an existing controller's.
    #[must_use]
    pub fn trusting(mut self, key: VerifyingKey) -> Self {
        if !self.trusted.contains(&key) {
            self.trusted.push(key);
        }
        self
    }

    /// Also accepts tokens signed with any P-256 key of a JWKS document.
    ///
    /// # Errors
    /// When the document holds no usable key; nothing is trusted then.
    pub fn trust_jwks(&mut self, document: &str) -> Result<(), KeyError> {
        for key in VerifyingKey::from_jwks(document)? {
            if !self.trusted.contains(&key) {
                self.trusted.push(key);
            }
        }
        Ok(())
    }

    /// Also accepts tokens signed with this PEM public key.
    ///
    /// # Errors
    /// When it is not a P-256 public key.
    pub fn trust_pem(&mut self, text: &[u8]) -> Result<(), KeyError> {
        let key = VerifyingKey::from_pem(text)?;
        if !self.trusted.contains(&key) {
            self.trusted.push(key);
        }
        Ok(())
    }

    /// Signs a token for `subject`.
    ///
    /// # Errors
    /// Only when the cryptographic library refuses to sign, which no input causes.
    pub fn issue(&self, subject: &str, now: Timestamp) -> Result<IssuedToken, KeyError> {
        let iat = now.as_second();
        let exp = iat.saturating_add(self.lifetime.as_secs()).min(Timestamp::MAX.as_second());
        let claims = Written { iss: INTERNAL_ISSUER, sub: subject, aud: [INTERNAL_AUDIENCE], exp, iat };
        let token = crate::jwt::sign(HEADER, &claims, self.key.encoding_key(), Algorithm::ES256)
            .map_err(|error| KeyError::Invalid(error.to_string()))?;
        let expires_at = Timestamp::from_second(exp).unwrap_or(Timestamp::MAX);
        Ok(IssuedToken { token: token.into(), expires_at })
    }

    /// Checks a token and returns its claims.
    ///
    /// # Errors
    /// [`TokenError::UnknownIssuer`] says that another authenticator may know it; every other error is final.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        // The issuer goes first: a token of another issuer may well use another algorithm.
        if unverified_issuer(token)? != INTERNAL_ISSUER {
            return Err(TokenError::UnknownIssuer);
        }
        let unverified = Unverified::parse(token, MAX_TOKEN_BYTES, &[Algorithm::ES256])?;
        let claims: Read = unverified.verify(self.trusted.iter().map(VerifyingKey::decoding_key))?;

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
        Ok(Claims { sub, issued_at, expires_at })
    }

    /// The signing key's public half as JWKS, for verifiers elsewhere.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.key.jwks()
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key: _, trusted, lifetime, leeway } = self;
        f.debug_struct("TokenIssuer")
            .field("trusted", trusted)
            .field("lifetime", lifetime)
            .field("leeway", leeway)
            .finish_non_exhaustive()
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
