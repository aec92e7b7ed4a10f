//! Router tickets: what a peer shows a router to open one half of a stream (`reference/protocol.md` §3.3).

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::jwt::{Audience, CLOCK_SKEW, Fault, NumericDate, Unverified};
use crate::key_file::{self, KeyError};
use crate::secret::SecretBytes;

/// `iss` of every ticket.
pub const TICKET_ISSUER: &str = "https://jumpstarter.dev/stream";
/// `aud` of every ticket.
pub const TICKET_AUDIENCE: &str = "https://jumpstarter.dev/router";
/// How long tickets of today's controllers are good for: longer than the longest beforeLease hook, because exporters
/// hold theirs until that hook has ended.
pub const DEFAULT_LIFETIME: SignedDuration = SignedDuration::from_mins(30);
/// Longer tickets are refused unread. Ours have about 450 bytes.
pub const MAX_TICKET_BYTES: usize = 4 * 1024;
/// Random bytes of a key that we make: the block of SHA-256.
const KEY_BYTES: usize = 32;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const ALGORITHMS: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Which half of a stream a ticket opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The half that dialled.
    Client,
    /// The half that listened.
    Exporter,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Exporter => "exporter",
        })
    }
}

/// Why a ticket was refused; always UNAUTHENTICATED. The text never says `expired`, which would make a client log in
/// again for nothing (`reference/protocol.md` §10.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Larger than [`MAX_TICKET_BYTES`].
    #[error("the stream ticket is larger than {MAX_TICKET_BYTES} bytes")]
    TooLarge,
    /// Not a JWT, or one without what every ticket has.
    #[error("the stream ticket is not usable: {0}")]
    Malformed(&'static str),
    /// Not HS256, HS384 or HS512.
    #[error("the stream ticket is signed with an algorithm that routers do not take")]
    Algorithm,
    /// No key of this router made the signature.
    #[error("the stream ticket was not issued for this router: check that controller and router share their key")]
    Signature,
    /// Not a stream ticket at all, such as an identity token.
    #[error("the stream ticket has another issuer")]
    Issuer,
    /// Meant for something else than a router.
    #[error("the stream ticket is meant for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the stream ticket ended at {0}: dial again")]
    Ended(Timestamp),
    /// `iat` or `nbf` lies in the future by more than a minute.
    #[error("the stream ticket is not valid before {0}: check the clocks of controller and router")]
    NotYetValid(Timestamp),
}

impl From<Fault> for TicketError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge => Self::TooLarge,
            Fault::Shape(reason) => Self::Malformed(reason),
            Fault::Algorithm => Self::Algorithm,
            Fault::Signature => Self::Signature,
        }
    }
}

/// An HMAC key shared by controller and routers. Does not print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketKey(SecretBytes);

impl TicketKey {
    /// A key of exactly these bytes, as today's routers take it from `ROUTER_KEY`.
    ///
    /// # Errors
    /// [`KeyError::Empty`]: with an empty key everybody could issue tickets.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, KeyError> {
        let bytes = SecretBytes::new(bytes);
        if bytes.is_empty() { Err(KeyError::Empty) } else { Ok(Self(bytes)) }
    }

    /// Makes a new key of 32 random bytes, in a form that may also be put into `ROUTER_KEY`.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
        Self::from_bytes(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Loads the key from `path`, or makes one and writes it there, readable to its owner only. White space around
    /// the text does not count, so the file's content can be given to another process as `ROUTER_KEY`.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let content = key_file::load_or_create(path, || {
            let mut text = Self::generate()?.0.expose().to_vec();
            text.push(b'\n');
            Ok(text)
        })?;
        Self::from_bytes(content.trim_ascii()).map_err(|error| error.in_file(path))
    }

    /// Whether the key has fewer bytes than a good one has bits of eight: worth a warning.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.expose().len() < KEY_BYTES
    }
}

/// The keys in use: the first signs, all verify. To rotate, put the new key first on every router, then on the
/// controller, and drop the old one when its last ticket has ended.
#[derive(Debug, Clone)]
pub struct TicketKeys {
    first: TicketKey,
    others: Vec<TicketKey>,
}

impl TicketKeys {
    /// One key.
    #[must_use]
    pub fn new(key: TicketKey) -> Self {
        Self { first: key, others: Vec::new() }
    }

    /// Also accepts tickets of `key`.
    #[must_use]
    pub fn accepting(mut self, key: TicketKey) -> Self {
        self.others.push(key);
        self
    }
}

/// Field order is the order on the wire.
#[derive(Serialize)]
struct Written<'a> {
    iss: &'a str,
    sub: String,
    aud: [&'a str; 1],
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    side: Side,
}

#[derive(Deserialize)]
pub(crate) struct Read {
    iss: Option<String>,
    sub: Option<String>,
    #[serde(default)]
    aud: Audience,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    jti: Option<String>,
    side: Option<Side>,
}

/// Signs tickets.
#[derive(Clone)]
pub struct TicketIssuer {
    key: EncodingKey,
}

impl TicketIssuer {
    /// Signs with the first of `keys`.
    #[must_use]
    pub fn new(keys: &TicketKeys) -> Self {
        Self { key: EncodingKey::from_secret(keys.first.0.expose()) }
    }

    /// Signs other claims with the same key; they must differ from a ticket's in issuer and audience.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        crate::jwt::sign(HEADER, claims, &self.key, Algorithm::HS256)
            .map_err(|error| KeyError::Invalid(error.to_string()))
    }

    /// A ticket for one side of one stream, good from `now` for `lifetime`.
    ///
    /// # Errors
    /// Only when the cryptographic library refuses to sign, which no input causes.
    pub fn issue(
        &self,
        stream_id: Uuid,
        side: Side,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<String, KeyError> {
        let iat = now.as_second();
        let claims = Written {
            iss: TICKET_ISSUER,
            sub: stream_id.to_string(),
            aud: [TICKET_AUDIENCE],
            exp: iat.saturating_add(lifetime.as_secs()).min(Timestamp::MAX.as_second()),
            nbf: iat,
            iat,
            jti: Uuid::new_v4().to_string(),
            side,
        };
        self.sign(&claims)
    }
}

impl fmt::Debug for TicketIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketIssuer(…)")
    }
}

/// What a verified ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The stream that it opens.
    pub stream_id: String,
    /// Which half of it; tickets of today's controllers do not say.
    pub side: Option<Side>,
    /// The ticket's own name, so that a router can take each one once.
    pub jti: Option<String>,
    /// When it ends. A stream that is open by then goes on.
    pub expires_at: Timestamp,
}

/// Checks tickets.
#[derive(Clone)]
pub struct TicketVerifier {
    keys: Vec<DecodingKey>,
}

impl TicketVerifier {
    /// Accepts tickets of every one of `keys`.
    #[must_use]
    pub fn new(keys: &TicketKeys) -> Self {
        let all = std::iter::once(&keys.first).chain(&keys.others);
        Self { keys: all.map(|key| DecodingKey::from_secret(key.0.expose())).collect() }
    }

    /// Checks a ticket. Cheap for garbage: nothing is decoded before the size and the dots are right, and the claims
    /// only after the signature.
    ///
    /// # Errors
    /// Every error means UNAUTHENTICATED.
    pub fn verify(&self, ticket: &str, now: Timestamp) -> Result<Ticket, TicketError> {
        let (claims, expires_at) = self.claims(ticket, now, TICKET_ISSUER, TICKET_AUDIENCE)?;
        let stream_id = claims.sub.filter(|sub| !sub.is_empty()).ok_or(TicketError::Malformed("it has no `sub`"))?;
        Ok(Ticket { stream_id, side: claims.side, jti: claims.jti, expires_at })
    }

    /// The claims of a token of this issuer for this audience, good now, and when it ends.
    pub(crate) fn claims(
        &self,
        token: &str,
        now: Timestamp,
        issuer: &str,
        audience: &str,
    ) -> Result<(Read, Timestamp), TicketError> {
        let unverified = Unverified::parse(token, MAX_TICKET_BYTES, ALGORITHMS)?;
        let claims: Read = unverified.verify(&self.keys)?;

        if claims.iss.as_deref() != Some(issuer) {
            return Err(TicketError::Issuer);
        }
        if !claims.aud.includes(audience) {
            return Err(TicketError::Audience);
        }
        let at = |date: NumericDate| date.timestamp().ok_or(TicketError::Malformed("it names an impossible time"));
        let expires_at = at(claims.exp.ok_or(TicketError::Malformed("it has no `exp`"))?)?;
        if expires_at <= now {
            return Err(TicketError::Ended(expires_at));
        }
        let latest = now.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        for start in [claims.iat, claims.nbf].into_iter().flatten() {
            let start = at(start)?;
            if start > latest {
                return Err(TicketError::NotYetValid(start));
            }
        }
        Ok((claims, expires_at))
    }
}

impl fmt::Debug for TicketVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketVerifier({} keys)", self.keys.len())
    }
}
