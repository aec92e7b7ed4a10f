//! The client's side.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{ALPN, COMING, Digest, DirectStream, LET_IN, Ticket, tend};
use crate::{Endpoint, tls::provider};

/// Addresses that are tried at once.
const MAX_ADDRESSES: usize = 16;

/// Why there is no direct connection; nothing is lost by it while there is a router.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// Nobody who is that exporter answers at any of its addresses; the reason of each.
    #[error("the exporter does not answer directly: {0}")]
    Unreachable(String),
    /// The exporter does not take the ticket.
    #[error("the exporter refused the ticket")]
    Refused,
    /// It took too long.
    #[error("no direct connection within {0:?}")]
    Late(Duration),
    /// The connection broke while the ticket was shown.
    #[error("the exporter's answer to the ticket: {0}")]
    Broken(#[source] io::Error),
    /// TLS cannot be set up on this side.
    #[error("TLS: {0}")]
    Tls(#[source] rustls::Error),
}

/// Connects to whichever of `endpoints` (`host:port`) answers first as the owner of the certificate, shows the ticket
/// there and nowhere else, all within `limit`. Returns the stream and the address that it leads to.
///
/// # Errors
/// See [`DirectError`]. After any of them the exporter does not count this client as let in.
///
/// # Cancel safety
/// Dropping the future closes all connections; the ticket may be used up.
pub async fn connect(
    endpoints: &[String],
    fingerprint: Digest,
    ticket: &Ticket,
    limit: Duration,
) -> Result<(DirectStream, SocketAddr), DirectError> {
    let config = config(fingerprint).map_err(DirectError::Tls)?;
    let attempt = async {
        let (mut stream, address) = first(endpoints, &config).await?;
        let answer = async {
            stream.write_all(ticket.expose()).await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        if answer.await.map_err(DirectError::Broken)? != LET_IN {
            return Err(DirectError::Refused);
        }
        Ok((stream, address))
    };
    let (mut stream, address) = timeout(limit, attempt).await.map_err(|_| DirectError::Late(limit))??;
    // Outside the limit: once this is said there is no other way any more.
    let said = async {
        stream.write_all(&[COMING]).await?;
        stream.flush().await
    };
    said.await.map_err(DirectError::Broken)?;
    Ok((stream.into(), address))
}

/// The first address where the owner of the certificate answers; the others are let go.
async fn first(
    endpoints: &[String],
    config: &Arc<ClientConfig>,
) -> Result<(TlsStream<TcpStream>, SocketAddr), DirectError> {
    let mut attempts: FuturesUnordered<_> = endpoints.iter().map(|endpoint| at(endpoint, config)).collect();
    let mut reasons = Vec::new();
    while let Some(outcome) = attempts.next().await {
        match outcome {
            Ok(found) => return Ok(found),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        reasons.push("it named no address".to_owned());
    }
    Err(DirectError::Unreachable(reasons.join("; ")))
}

async fn at(endpoint: &str, config: &Arc<ClientConfig>) -> Result<(TlsStream<TcpStream>, SocketAddr), String> {
    let parsed: Endpoint = endpoint.parse().map_err(|error: crate::EndpointError| error.to_string())?;
    let found =
        lookup_host((parsed.host.as_str(), parsed.port)).await.map_err(|error| format!("{endpoint}: {error}"))?;
    let mut attempts: FuturesUnordered<_> = found.take(MAX_ADDRESSES).map(|address| secured(address, config)).collect();
    let mut reasons = Vec::new();
    while let Some(outcome) = attempts.next().await {
        match outcome {
            Ok(found) => return Ok(found),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(format!("{endpoint}: {}", reasons.join(", ")))
}

async fn secured(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<(TlsStream<TcpStream>, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    tend(&stream);
    let name = ServerName::from(address.ip());
    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(ALPN) {
        return Ok((stream, address));
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not take direct sessions"))
}

fn config(fingerprint: Digest) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Trusts one certificate, whatever it says, from a peer that has its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Digest::of(leaf) == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("direct connections are TLS 1.3".to_owned()))
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
