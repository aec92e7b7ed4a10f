//! A certificate chain with its key, checked and ready to serve.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TlsError;

/// What is served, and what we need to know about it.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) served: Arc<CertifiedKey>,
    pub(super) facts: Facts,
}

/// What a leaf certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Names and addresses, as written in the certificate.
    pub(super) hosts: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Pair {
    /// Reads PEM texts and checks that they belong together. `certificate` and `key` name the files in errors.
    pub(crate) fn from_pem(
        (certificate, chain): (&Path, &[u8]),
        (key, key_text): (&Path, &[u8]),
    ) -> Result<Self, TlsError> {
        let chain = certificates(certificate, chain)?;
        let private = PrivateKeyDer::from_pem_slice(key_text).map_err(|error| TlsError::Content {
            path: key.to_owned(),
            reason: format!("it holds no unencrypted PEM private key ({error})"),
        })?;
        let facts =
            Facts::read(&chain[0]).map_err(|reason| TlsError::Content { path: certificate.to_owned(), reason })?;
        let served = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            error => TlsError::Content { path: key.to_owned(), reason: error.to_string() },
        })?;
        Ok(Self { served: Arc::new(served), facts })
    }
}

impl Facts {
    pub(super) fn read(leaf: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, leaf) =
            X509Certificate::from_der(leaf).map_err(|error| format!("it is no X.509 certificate: {error}"))?;
        let names = leaf.subject_alternative_name().map_err(|error| error.to_string())?;
        let hosts = names.map(|names| names.value.general_names.iter().filter_map(host).collect());
        let at = |seconds| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        Ok(Self {
            hosts: hosts.unwrap_or_default(),
            not_before: at(leaf.validity().not_before.timestamp())?,
            not_after: at(leaf.validity().not_after.timestamp())?,
        })
    }

    /// Whether less than a third of the certificate's life is left, or its life has not begun.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let life = self.not_after.as_second() - self.not_before.as_second();
        let left = self.not_after.as_second() - now.as_second();
        left < life / 3 || now < self.not_before
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

/// All certificates of a PEM text; at least one.
pub(crate) fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::Content { path: path.to_owned(), reason };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(format!("it is not PEM: {error}")))?;
    if chain.is_empty() { Err(wrong("it holds no PEM certificate".to_owned())) } else { Ok(chain) }
}

/// The provider in use, or ours when `main` has not installed one yet.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    crate::install_crypto_provider();
    CryptoProvider::get_default().map_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()), Arc::clone)
}
