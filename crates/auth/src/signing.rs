//! The P-256 key that signs identity tokens.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::EncodingKey;

use crate::key_file::{self, KeyError};
use crate::public_key::VerifyingKey;

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

    /// Reads the key in `path`; `None` when there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        let Some(content) = key_file::read(path)? else { return Ok(None) };
        Self::from_pem(&content).map(Some).map_err(|error| error.in_file(path))
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

    pub(crate) fn encoding_key(&self) -> &EncodingKey {
        &self.private
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
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
    fn private_keys_do_not_print() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
