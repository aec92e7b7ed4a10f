//! Whose certificates a client takes (`reference/protocol.md` §9.1).

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ChannelTls, ConnectError};
use crate::tls::{certificates, provider};

/// The TLS configuration of a client with this trust.
pub(super) fn client_config(tls: &ChannelTls) -> Result<Arc<ClientConfig>, ConnectError> {
    let ChannelTls { ca_pem, insecure, server_name: _ } = tls;
    let trust = match ca_pem {
        _ if *insecure => Trust::Presented,
        Some(bundle) => Trust::bundle(bundle)?,
        None => Trust::Roots { roots: system_roots()?, pinned: Vec::new() },
    };
    let provider = provider();
    let verifier = Verifier { trust, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Trust(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would not look at the certificate again.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Read once: there are hundreds, and a process makes many channels.
fn system_roots() -> Result<Arc<RootCertStore>, ConnectError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a system certificate is not readable");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        let hint = "the system has no trusted certificates: install them (ca-certificates), or set the service's CA";
        return Err(ConnectError::Trust(hint.to_owned()));
    }
    Ok(Arc::clone(roots))
}

#[derive(Debug)]
enum Trust {
    /// Chains to `roots`, and the very certificates in `pinned`.
    Roots { roots: Arc<RootCertStore>, pinned: Vec<CertificateDer<'static>> },
    /// Whatever is presented.
    Presented,
}

impl Trust {
    fn bundle(text: &str) -> Result<Self, ConnectError> {
        let pinned = certificates(Path::new("the CA bundle"), text.as_bytes())
            .map_err(|error| ConnectError::Trust(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pinned.iter().cloned());
        Ok(Self::Roots { roots: Arc::new(roots), pinned })
    }
}

/// Checks trust as configured, the host name always, and that the peer has the key.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        match &self.trust {
            // To fetch the chain first and then to trust just that, as existing clients do, comes to the same.
            Trust::Presented => {}
            Trust::Roots { pinned, .. } if pinned.iter().any(|pinned| pinned == leaf) => in_time(leaf, now)?,
            Trust::Roots { roots, .. } => {
                let algorithms = self.provider.signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
            }
        }
        match verify_server_name(&parsed, name) {
            Err(error) if !common_name_matches(leaf, name) => Err(error),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a pinned certificate is valid now; chains have this checked with the rest.
fn in_time(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < leaf.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > leaf.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// The old way to name a host, which existing clients still take from certificates without alternative names.
fn common_name_matches(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return false };
    if !matches!(leaf.subject_alternative_name(), Ok(None)) {
        return false;
    }
    let name = name.to_str();
    leaf.subject()
        .iter_common_name()
        .filter_map(|common| common.as_str().ok())
        .any(|common| common.eq_ignore_ascii_case(&name))
}
