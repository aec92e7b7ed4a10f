//! The P-256 key that signs identity tokens, and public keys that are only trusted.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet};
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::key_file::{self, KeyError};

/// A JWKS of more keys than this is not the key set of one service.
const MAX_TRUSTED_KEYS: usize = 16;

/// A P-256 private key. Does not print.
#[derive(Clone)]
pub struct SigningKey {
    private: EncodingKey,
    public: VerifyingKey,
}

impl SigningKey {
    /// Makes a new key from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::NoRandomness)?;
        Self::from_pair(&pair)
    }

    /// Reads a PEM private key, PKCS#8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), on P-256.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(text).map_err(|error| KeyError::Invalid(format!("not PEM: {error}")))?;
        let block = blocks
            .iter()
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or_else(|| KeyError::Invalid("it holds no PRIVATE KEY block".to_owned()))?;
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, block.contents())
            .map_err(|_| KeyError::Invalid("it is not an unencrypted P-256 (prime256v1) private key".to_owned()))?;
        Self::from_pair(&pair)
    }

    /// Loads the key from `path`, or makes one and writes it there, readable to its owner only.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let content = key_file::load_or_create(path, || Ok(Self::generate()?.to_pem().into_bytes()))?;
        Self::from_pem(&content).map_err(|error| error.in_file(path))
    }

    fn from_pair(pair: &EcdsaKeyPair) -> Result<Self, KeyError> {
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::Invalid("it cannot be written as PKCS#8".to_owned()))?;
        Ok(Self {
            private: EncodingKey::from_ec_der(document.as_ref()),
            public: VerifyingKey::from_point(pair.public_key().as_ref())?,
        })
    }

    /// The key as PKCS#8 PEM. A secret: for a 0600 file only.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("PRIVATE KEY", self.private.as_bytes()), config)
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// The public half as a JWKS document: one key, `kid` `default`, `use` `sig`.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let (x, y) = self.public.coordinates();
        serde_json::json!({ "keys": [{
            "use": "sig", "kty": "EC", "kid": "default", "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    pub(crate) fn encoding_key(&self) -> &EncodingKey {
        &self.private
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// A P-256 public key.
#[derive(Clone)]
pub struct VerifyingKey {
    /// `04 || x || y`, the uncompressed point.
    point: Vec<u8>,
    decoding: DecodingKey,
}

impl VerifyingKey {
    fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        if point.len() != 65 || point[0] != 4 {
            return Err(KeyError::Invalid("it is not an uncompressed P-256 point".to_owned()));
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

    /// Reads the P-256 keys of a JWKS document; keys of other kinds in it are passed over.
    pub fn from_jwks(text: &str) -> Result<Vec<Self>, KeyError> {
        let set: JwkSet =
            serde_json::from_str(text).map_err(|error| KeyError::Invalid(format!("not a JWKS document: {error}")))?;
        if set.keys.len() > MAX_TRUSTED_KEYS {
            return Err(KeyError::Invalid(format!("the JWKS has more than {MAX_TRUSTED_KEYS} keys")));
        }
        let mut keys = Vec::new();
        for jwk in &set.keys {
            let AlgorithmParameters::EllipticCurve(parameters) = &jwk.algorithm else { continue };
            if parameters.curve != EllipticCurve::P256 {
                continue;
            }
            let coordinate = |text: &str| {
                URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32).ok_or_else(|| {
                    KeyError::Invalid("a P-256 key of the JWKS has a coordinate that is not 32 bytes".to_owned())
                })
            };
            let point = [vec![4], coordinate(&parameters.x)?, coordinate(&parameters.y)?].concat();
            keys.push(Self::from_point(&point)?);
        }
        if keys.is_empty() {
            return Err(KeyError::Invalid("the JWKS holds no P-256 key".to_owned()));
        }
        Ok(keys)
    }

    fn coordinates(&self) -> (&[u8], &[u8]) {
        self.point[1..].split_at(32)
    }

    pub(crate) fn decoding_key(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({}…)", URL_SAFE_NO_PAD.encode(&self.point[1..7]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.key");
        let first = SigningKey::load_or_create(&path).unwrap();
        let second = SigningKey::load_or_create(&path).unwrap();
        assert_eq!(first.verifying_key(), second.verifying_key());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_ne!(first.verifying_key(), SigningKey::generate().unwrap().verifying_key());
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        for content in ["", "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let path = directory.path().join("token.key");
            std::fs::write(&path, content).unwrap();
            let error = SigningKey::load_or_create(&path).unwrap_err();
            assert!(matches!(error, KeyError::InvalidFile { .. }), "{content:?}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn sec1_keys_of_openssl_are_read() {
        // `openssl ecparam -name prime256v1 -genkey`, made for this test and used nowhere else.
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let private = "-----BEGIN EC PRIVATE KEY-----\n\
            MHcCAQEEIBzIgSajCgdKhQeAJiDBP7cCRx9WEahF9zkolU7Biqp6oAoGCCqGSM49\n\
            AwEHoUQDQgAE4yjuKPhNtvKBR7M7ULibYwKo7SD/1TOkdq8iagXXBTWrHXzHM25t\n\
            8BlZ5W4t/a/7FZyaDUxTeTB7aHG+YDUYJw==\n-----END EC PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(format!("{parameters}{private}").as_bytes()).unwrap();
        let again = SigningKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(key.verifying_key(), again.verifying_key());
        let error = SigningKey::from_pem(parameters.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("no PRIVATE KEY block"), "{error}");
    }

    #[test]
    fn the_jwks_reads_back() {
        let key = SigningKey::generate().unwrap();
        let document = key.jwks();
        assert_eq!(document["keys"][0]["kid"], "default");
        assert_eq!(document["keys"][0]["use"], "sig");
        let read = VerifyingKey::from_jwks(&document.to_string()).unwrap();
        assert_eq!(read, [key.verifying_key().clone()]);
    }

    #[test]
    fn unusable_jwks_are_refused() {
        let short = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}"#;
        for text in ["", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, short] {
            assert!(VerifyingKey::from_jwks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn private_keys_do_not_print() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
