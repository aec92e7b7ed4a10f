//! The exporter's side.

use std::{fmt, io, path::Path, sync::Arc};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::{ServerConfig, server::NoServerSessionStorage, sign::SingleCertAndKey, version::TLS13};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{ALPN, COMING, Digest, DirectStream, LET_IN, REFUSED, Ticket, tend};
use crate::tls::{Pair, TlsError, provider};

/// What errors call the certificate, in place of a file.
const NAME: &str = "the certificate of the direct listener";

/// The identity of an exporter's own listener: a key that never leaves this process, and a certificate that says
/// nothing, since whoever is to trust it has its digest.
#[derive(Clone)]
pub struct DirectServer {
    config: Arc<ServerConfig>,
    fingerprint: Digest,
}

/// A client that has shown a ticket and waits to be let in.
#[derive(Debug)]
pub struct Arrival {
    ticket: Ticket,
    stream: DirectStream,
}

impl DirectServer {
    /// A new key and certificate.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, TlsError> {
        let crypto = |error: rcgen::Error| TlsError::Crypto(error.to_string());
        let key = KeyPair::generate().map_err(crypto)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "Jumpstarter exporter");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.self_signed(&key).map_err(crypto)?;
        let fingerprint = Digest::of(certificate.der());
        let name = Path::new(NAME);
        let pair = Pair::from_pem((name, certificate.pem().as_bytes()), (name, key.serialize_pem().as_bytes()))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Crypto(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.served)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Each connection proves everything anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), fingerprint })
    }

    /// What clients must be told of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Does the handshake and reads the ticket. Has no limit of its own: give it one.
    ///
    /// # Errors
    /// When the peer speaks something else, or leaves.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn receive(&self, stream: TcpStream) -> io::Result<Arrival> {
        tend(&stream);
        let mut stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer did not ask for a direct session"));
        }
        let mut bytes = [0; 32];
        stream.read_exact(&mut bytes).await?;
        let ticket = Ticket::from_bytes(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Arrival { ticket, stream: stream.into() })
    }
}

impl Arrival {
    /// What the client has shown.
    #[must_use]
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Lets the client in, and waits until it has taken notice. Has no limit of its own: give it one.
    ///
    /// # Errors
    /// When the client has given up meanwhile; then it comes by the router.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn let_in(mut self) -> io::Result<DirectStream> {
        self.stream.write_all(&[LET_IN]).await?;
        self.stream.flush().await?;
        match self.stream.read_u8().await? {
            COMING => Ok(self.stream),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the client answered something else")),
        }
    }

    /// Sends the client away.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn refuse(mut self) {
        // A client that has left already needs no answer.
        let _ = self.stream.write_all(&[REFUSED]).await;
        let _ = self.stream.shutdown().await;
    }
}

impl fmt::Debug for DirectServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectServer").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
