//! Exporters that listen on a port of their own, without a service between.
use jumpstarter_transport::{
    ChannelOptions, ChannelTls,
    connect::{connect, connect_plain},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    service::Interceptor,
};

use crate::{ClientError, Session};

/// Name of the passphrase on the wire.
const HEADER: &str = "x-jumpstarter-passphrase";

/// How a standalone exporter is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectTls {
    /// No TLS at all: only for development.
    Plaintext,
    /// TLS; trust in exactly these PEM certificates, or in the system's when there are none.
    Tls {
        /// The PEM bundle.
        ca_pem: Option<String>,
    },
}

impl Session {
    /// A session with the exporter that listens on `address` (`host:port`).
    ///
    /// Keepalives are off: old exporters count them as abuse.
    pub async fn direct(address: &str, tls: &DirectTls, passphrase: Option<&str>) -> Result<Self, ClientError> {
        let passphrase = Passphrase::new(passphrase)?;
        let options = ChannelOptions { keepalive_interval: None, ..ChannelOptions::default() };
        let channel = match tls {
            DirectTls::Plaintext => connect_plain(address, &options).await,
            DirectTls::Tls { ca_pem } => {
                connect(address, &ChannelTls { ca_pem: ca_pem.clone(), ..ChannelTls::default() }, &options).await
            }
        };
        let channel =
            channel.map_err(|source| ClientError::Connect { endpoint: address.to_owned(), source: source.into() })?;
        Ok(Self::over(channel).with_passphrase(passphrase))
    }
}

/// The passphrase of a standalone exporter, or nothing.
#[derive(Clone, Default)]
pub(crate) struct Passphrase(Option<MetadataValue<Ascii>>);

impl Passphrase {
    fn new(text: Option<&str>) -> Result<Self, ClientError> {
        let Some(text) = text else { return Ok(Self(None)) };
        let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| ClientError::Unsendable("passphrase"))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    pub(crate) fn add_to(&self, metadata: &mut MetadataMap) {
        if let Some(value) = &self.0 {
            metadata.insert(HEADER, value.clone());
        }
    }
}

impl Interceptor for Passphrase {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.add_to(request.metadata_mut());
        Ok(request)
    }
}
