//! P-256 public keys, their ids, and the JWKS documents that they travel in.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};

use crate::key_file::KeyError;

/// A JWKS of more keys than this is not the key set of one service.
const MAX_KEYS: usize = 16;
/// Longer documents are refused unread; one key takes some 200 bytes.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Members of a JWK that only its owner may know.
const PRIVATE: [&str; 7] = ["d", "k", "p", "q", "dp", "dq", "qi"];

/// Names a key: its RFC 7638 thumbprint (SHA-256, base64url), the `kid` of our tokens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct KeyId(String);

impl KeyId {
    /// The text, 43 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A P-256 public key.
#[derive(Clone)]
pub struct VerifyingKey {
    /// `04 || x || y`, the uncompressed point.
    point: Vec<u8>,
    decoding: DecodingKey,
}

/// A public key as in a JWKS, members in the order that the thumbprint wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwk {
    crv: String,
    kty: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl VerifyingKey {
    /// Takes `04 || x || y`; refuses what is no point of the curve.
    pub(crate) fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        let uncompressed = point.len() == 65 && point.first() == Some(&4);
        if !uncompressed || ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_err() {
            return Err(KeyError::Invalid("it is not a point of P-256".to_owned()));
        }
        Ok(Self { point: point.to_vec(), decoding: DecodingKey::from_ec_der(point) })
    }

    /// Reads a PEM public key (`PUBLIC KEY`) on P-256.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let key = DecodingKey::from_ec_pem(text)
            .map_err(|_| KeyError::Invalid("it is not a PEM P-256 public key".to_owned()))?;
        let point = key.try_get_as_bytes().map_err(|error| KeyError::Invalid(error.to_string()))?;
        Self::from_point(point)
    }

    /// Reads the keys of a JWKS document, each once. All must be public keys that sign with ES256 on P-256.
    ///
    /// # Errors
    /// When the document is none, has no key or too many, or one of them is of another kind or private. Nothing of the
    /// document is repeated in the text.
    pub fn from_jwks(text: &str) -> Result<Vec<Self>, KeyError> {
        let invalid = |reason: String| KeyError::Invalid(reason);
        if text.len() > MAX_DOCUMENT {
            return Err(invalid(format!("the JWKS is larger than {MAX_DOCUMENT} bytes")));
        }
        let document: Document = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            invalid(format!("not a JWKS document (JSON with a list `keys`), see line {line}, column {column}"))
        })?;
        if document.keys.is_empty() || document.keys.len() > MAX_KEYS {
            return Err(invalid(format!("the JWKS has {} keys, not 1 to {MAX_KEYS}", document.keys.len())));
        }
        let mut keys = Vec::new();
        for (index, jwk) in document.keys.iter().enumerate() {
            let key = from_jwk(jwk).map_err(|reason| invalid(format!("key {} of the JWKS {reason}", index + 1)))?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        // A struct of four texts always serializes.
        let canonical = serde_json::to_vec(&self.to_jwk()).unwrap_or_default();
        KeyId(URL_SAFE_NO_PAD.encode(digest(&SHA256, &canonical)))
    }

    /// The entry for a JWKS document, with `kid`, `use` and `alg`.
    #[must_use]
    pub fn jwks_entry(&self) -> serde_json::Value {
        let Jwk { crv, kty, x, y } = self.to_jwk();
        serde_json::json!({
            "use": "sig", "kty": kty, "kid": self.id(), "crv": crv, "alg": "ES256", "x": x, "y": y,
        })
    }

    pub(crate) fn to_jwk(&self) -> Jwk {
        let (x, y) = self.point[1..].split_at(32);
        Jwk {
            crv: "P-256".to_owned(),
            kty: "EC".to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        }
    }

    pub(crate) fn from_coordinates(jwk: &Jwk) -> Result<Self, KeyError> {
        if jwk.kty != "EC" || jwk.crv != "P-256" {
            return Err(KeyError::Invalid("it is not on the curve P-256".to_owned()));
        }
        let coordinate = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32);
            bytes.ok_or_else(|| KeyError::Invalid("it has a coordinate that is not 32 bytes".to_owned()))
        };
        Self::from_point(&[vec![4], coordinate(&jwk.x)?, coordinate(&jwk.y)?].concat())
    }

    pub(crate) fn decoding_key(&self) -> &DecodingKey {
        &self.decoding
    }
}

fn from_jwk(jwk: &serde_json::Map<String, serde_json::Value>) -> Result<VerifyingKey, String> {
    if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
        return Err("is a private key: give the public one, and treat this one as lost to others".to_owned());
    }
    let text = |member: &str| jwk.get(member).and_then(serde_json::Value::as_str).unwrap_or_default();
    for (member, wanted, optional) in
        [("kty", "EC", false), ("crv", "P-256", false), ("alg", "ES256", true), ("use", "sig", true)]
    {
        let fits = if optional && !jwk.contains_key(member) { true } else { text(member) == wanted };
        if !fits {
            return Err(format!("is not usable: its `{member}` is not `{wanted}`"));
        }
    }
    let part = |member: &str| text(member).to_owned();
    let jwk = Jwk { crv: part("crv"), kty: part("kty"), x: part("x"), y: part("y") };
    VerifyingKey::from_coordinates(&jwk).map_err(|error| match error {
        KeyError::Invalid(reason) => format!("is not usable: {reason}"),
        other => other.to_string(),
    })
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:.8}…)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::SigningKey;

    fn entry() -> Value {
        SigningKey::generate().unwrap().verifying_key().jwks_entry()
    }

    fn with(member: &str, value: Value) -> String {
        let mut entry = entry();
        entry[member] = value;
        json!({ "keys": [entry] }).to_string()
    }

    #[test]
    fn the_id_is_the_thumbprint_of_the_standard() {
        // The base point of P-256; `SHA-256({"crv":"P-256","kty":"EC","x":"axfR…","y":"T-NC…"})` by sha256sum.
        let document = json!({ "keys": [{ "kty": "EC", "crv": "P-256",
            "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
            "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU" }] });
        let keys = VerifyingKey::from_jwks(&document.to_string()).unwrap();
        assert_eq!(keys[0].id().as_str(), "xx0BcA-wMohw8atYDJOe6peGModklG2wRHBlXHMvl0M");
    }

    #[test]
    fn a_jwks_reads_back() {
        let (first, second) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let keys = [first.verifying_key().clone(), second.verifying_key().clone()];
        let entries: Vec<Value> = [0, 1, 0].iter().map(|index: &usize| keys[*index].jwks_entry()).collect();
        assert_eq!(entries[0]["kid"], keys[0].id().as_str());
        let read = VerifyingKey::from_jwks(&json!({ "keys": entries, "more": 1 }).to_string()).unwrap();
        assert_eq!(read, keys, "each once");
    }

    #[test]
    fn unusable_documents_are_refused() {
        let many = json!({ "keys": (0..17).map(|_| entry()).collect::<Vec<_>>() }).to_string();
        let rows = [
            (String::new(), "not a JWKS document"),
            ("[]".to_owned(), "not a JWKS document"),
            ("{}".to_owned(), "not a JWKS document"),
            (r#"{"keys":{}}"#.to_owned(), "not a JWKS document"),
            (r#"{"keys":[]}"#.to_owned(), "0 keys"),
            (many, "17 keys"),
            (" ".repeat(MAX_DOCUMENT + 1), "larger"),
            (with("d", json!("c2VjcmV0")), "private key"),
            (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.to_owned(), "private key"),
            (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#.to_owned(), "`kty` is not `EC`"),
            (with("crv", json!("P-384")), "`crv` is not `P-256`"),
            (with("crv", json!(256)), "`crv` is not `P-256`"),
            (with("alg", json!("ES384")), "`alg` is not `ES256`"),
            (with("use", json!("enc")), "`use` is not `sig`"),
            (with("x", json!("AAAA")), "32 bytes"),
            (with("y", Value::Null), "32 bytes"),
            (with("y", json!(URL_SAFE_NO_PAD.encode([1; 32]))), "point of P-256"),
        ];
        for (text, part) in rows {
            let error = VerifyingKey::from_jwks(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{part:?}: {error}");
            assert!(!error.contains("c2VjcmV0"), "{error}");
        }
    }
}
