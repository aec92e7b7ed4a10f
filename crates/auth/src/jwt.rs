//! The compact JWS form shared by identity tokens and router tickets: split, check the header, verify, read claims.
//!
//! Signatures are the library's. What a token may claim is decided here and by the callers, because the library's own
//! checks are lenient (60 s of leeway on `exp`, `iat` not looked at) and take the time from the system.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How far another machine's clock may run ahead before what it issued "now" is refused.
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// A token that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLarge,
    Shape(&'static str),
    Algorithm,
    Signature,
}

/// A token split at its dots, with a header that could be read. Nothing is verified yet.
pub(crate) struct Unverified<'a> {
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Which key signed, as the token says; whatever its form, it is a hint and no reason to refuse.
    kid: Option<serde_json::Value>,
    /// Extensions that a verifier must understand or refuse (RFC 7515 §4.1.11). We know none.
    crit: Option<serde_json::Value>,
}

impl<'a> Unverified<'a> {
    /// Splits `token`; refuses anything over `limit` bytes before looking at it, and any algorithm outside `allowed`.
    pub(crate) fn parse(token: &'a str, limit: usize, allowed: &[Algorithm]) -> Result<Self, Fault> {
        if token.len() > limit {
            return Err(Fault::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Fault::Shape("it is not a JWT"))?;
        let (header, payload) = message.split_once('.').ok_or(Fault::Shape("it is not a JWT"))?;
        if payload.contains('.') {
            return Err(Fault::Shape("it has more than three parts"));
        }
        let header: Header = decode(header).ok_or(Fault::Shape("its header is not a JWT header"))?;
        if header.crit.is_some() {
            return Err(Fault::Shape("its header demands extensions"));
        }
        // `none` and unknown names do not parse, so they end here as well.
        let algorithm = header.alg.parse().ok().filter(|algorithm| allowed.contains(algorithm));
        let algorithm = algorithm.ok_or(Fault::Algorithm)?;
        let key_id = header.kid.and_then(|kid| kid.as_str().map(str::to_owned));
        Ok(Self { message, payload, signature, algorithm, key_id })
    }

    /// The `kid` of the header, unverified: to choose a key, for nothing else.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Claims as written, before any signature was looked at: to choose a key, for nothing else.
    pub(crate) fn unverified_claims<C: DeserializeOwned>(&self) -> Result<C, Fault> {
        decode(self.payload).ok_or(Fault::Shape("its claims cannot be read"))
    }

    /// The claims, if one of the keys made the signature.
    pub(crate) fn verify<'k, C: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = &'k DecodingKey>,
    ) -> Result<C, Fault> {
        self.verify_among(keys.into_iter().map(|key| ((), key))).map(|((), claims)| claims)
    }

    /// The claims and what was given with the key that made the signature, if one of the keys did.
    pub(crate) fn verify_among<'k, K, C: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = (K, &'k DecodingKey)>,
    ) -> Result<(K, C), Fault> {
        let signer = keys.into_iter().find(|(_, key)| {
            jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key, self.algorithm) == Ok(true)
        });
        let (signer, _) = signer.ok_or(Fault::Signature)?;
        Ok((signer, self.unverified_claims()?))
    }
}

fn decode<T: DeserializeOwned>(segment: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
}

/// Signs `claims` under `header`, which must name `algorithm`.
pub(crate) fn sign(
    header: &str,
    claims: &impl Serialize,
    key: &EncodingKey,
    algorithm: Algorithm,
) -> Result<String, jsonwebtoken::errors::Error> {
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
    let signature = jsonwebtoken::crypto::sign(token.as_bytes(), key, algorithm)?;
    token.push('.');
    token.push_str(&signature);
    Ok(token)
}

/// Seconds since the epoch, whole or not.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum NumericDate {
    Whole(i64),
    Fractional(f64),
}

impl NumericDate {
    /// The instant; `None` beyond the years that can be written.
    pub(crate) fn timestamp(self) -> Option<Timestamp> {
        match self {
            Self::Whole(seconds) => Timestamp::from_second(seconds).ok(),
            Self::Fractional(seconds) => {
                let duration = SignedDuration::try_from_secs_f64(seconds).ok()?;
                Timestamp::from_duration(duration).ok()
            }
        }
    }
}

/// `aud`: one name or several.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    #[default]
    Absent,
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(crate) fn includes(&self, name: &str) -> bool {
        match self {
            Self::Absent => false,
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}
