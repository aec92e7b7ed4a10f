//! From an endpoint to a byte stream.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_ok;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ChannelOptions, ChannelTls, ConnectError, trust};
use crate::Endpoint;

/// A client's byte stream.
pub(crate) enum Io {
    Tls(Box<TlsStream<TcpStream>>),
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Everything needed to connect, as often as it takes.
pub(super) struct Dialer {
    target: Target,
    limit: Duration,
}

enum Target {
    Tls { endpoint: Endpoint, config: Arc<ClientConfig>, name: ServerName<'static> },
    Plain(Endpoint),
    Unix(PathBuf),
}

impl Dialer {
    pub(super) fn tls(endpoint: Endpoint, tls: &ChannelTls, options: &ChannelOptions) -> Result<Self, ConnectError> {
        let config = trust::client_config(tls)?;
        let name = tls.server_name.as_deref().unwrap_or(&endpoint.host).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|error| ConnectError::Trust(format!("no certificate can be expected for this name: {error}")))?;
        Ok(Self { target: Target::Tls { endpoint, config, name }, limit: options.connect_timeout })
    }

    pub(super) fn plain(endpoint: Endpoint, options: &ChannelOptions) -> Self {
        Self { target: Target::Plain(endpoint), limit: options.connect_timeout }
    }

    pub(super) fn unix(path: &Path, options: &ChannelOptions) -> Self {
        Self { target: Target::Unix(path.to_owned()), limit: options.connect_timeout }
    }

    /// Where this leads, for people.
    pub(super) fn target(&self) -> String {
        match &self.target {
            Target::Tls { endpoint, .. } | Target::Plain(endpoint) => endpoint.to_string(),
            Target::Unix(path) => path.display().to_string(),
        }
    }

    /// `:authority` of requests.
    pub(super) fn authority(&self) -> String {
        match &self.target {
            Target::Tls { endpoint, .. } | Target::Plain(endpoint) => endpoint.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        }
    }

    /// `:scheme` of requests.
    pub(super) fn scheme(&self) -> &'static str {
        match &self.target {
            Target::Tls { .. } => "https",
            Target::Plain(_) | Target::Unix(_) => "http",
        }
    }

    /// Connects once.
    pub(super) async fn dial(&self) -> Result<Io, ConnectError> {
        let limit = self.limit;
        timeout(limit, self.dial_unlimited())
            .await
            .unwrap_or_else(|_| Err(ConnectError::Timeout { target: self.target(), limit }))
    }

    async fn dial_unlimited(&self) -> Result<Io, ConnectError> {
        let target = || self.target();
        match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                stream.map(Io::Unix).map_err(|source| ConnectError::Connect { target: target(), source })
            }
            Target::Plain(endpoint) => connect_tcp(endpoint).await.map(Io::Tcp),
            Target::Tls { endpoint, config, name } => {
                let tcp = connect_tcp(endpoint).await?;
                let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp).await;
                let tls = tls.map_err(|source| ConnectError::Tls { target: target(), source })?;
                if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(ConnectError::NotHttp2 { target: target() });
                }
                Ok(Io::Tls(Box::new(tls)))
            }
        }
    }
}

/// Tries all addresses at once: one that swallows packets must not use up the time of the others.
async fn connect_tcp(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
    let unresolved = |source| ConnectError::Resolve { target: endpoint.to_string(), source };
    let found = lookup_host((endpoint.host.as_str(), endpoint.port)).await.map_err(unresolved)?;
    let attempts: Vec<_> = found.map(|address| TcpStream::connect(address).boxed()).collect();
    if attempts.is_empty() {
        return Err(unresolved(io::ErrorKind::NotFound.into()));
    }
    let (stream, _) =
        select_ok(attempts).await.map_err(|source| ConnectError::Connect { target: endpoint.to_string(), source })?;
    // Fails only on a dead socket, which the handshake reports.
    let _ = stream.set_nodelay(true);
    crate::keep_unsent_small(&stream);
    crate::give_up_the_gone(&stream);
    Ok(stream)
}

macro_rules! each {
    ($io:expr, $inner:ident => $call:expr) => {
        match $io {
            Io::Tls($inner) => $call,
            Io::Tcp($inner) => $call,
            Io::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut *self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, io => io.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, io => Pin::new(io).poll_shutdown(cx))
    }
}
