//! Connections of our own clients and exporters: gRPC channels and bare HTTP/2.

mod dial;
mod error;
mod trust;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Uri;
use http_body::Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::transport::Channel;

pub use error::ConnectError;

use crate::serve::BoxError;
use crate::{CLIENT_STREAM_WINDOW, CONNECTION_WINDOW, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE};
use dial::{Dialer, Io};

/// Whom a client trusts; TLS is always used.
#[derive(Debug, Clone, Default)]
pub struct ChannelTls {
    /// PEM bundle that is the only trust; a server's own certificate in it is trusted as well. `None`: the system's.
    pub ca_pem: Option<String>,
    /// Takes any certificate with the right host name, for services that sign their own. Wins over `ca_pem`.
    pub insecure: bool,
    /// Name that the certificate must have instead of the endpoint's host.
    pub server_name: Option<String>,
}

/// Sizes and times of a client's connection.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// For look-up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How often to ask whether the peer is alive, idle or not. `None` inside tunnels, where servers punish it; never
    /// less than 10 s towards Python exporters.
    pub keepalive_interval: Option<Duration>,
    /// Time for the answer; as [`ServeLimits::keepalive_timeout`](crate::ServeLimits::keepalive_timeout).
    pub keepalive_timeout: Duration,
    /// Unread bytes of one stream; the connection's window is [`CONNECTION_WINDOW`].
    pub stream_window: u32,
    /// Goes before the library's own in `user-agent`.
    pub user_agent: Option<String>,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            keepalive_interval: Some(Duration::from_secs(20)),
            keepalive_timeout: Duration::from_mins(1),
            stream_window: CLIENT_STREAM_WINDOW,
            user_agent: None,
        }
    }
}

impl ChannelOptions {
    fn connection_window(&self) -> u32 {
        CONNECTION_WINDOW.max(self.stream_window)
    }
}

/// Connects to `HOST:PORT` (443 without a port) and returns a channel that connects again by itself when the
/// connection is lost.
///
/// # Errors
/// When the first connection fails.
pub async fn connect(endpoint: &str, tls: &ChannelTls, options: &ChannelOptions) -> Result<Channel, ConnectError> {
    connected(Dialer::tls(endpoint.parse()?, tls, options)?, options).await
}

/// As [`connect`], but connects at the first call, which then fails with UNAVAILABLE if it cannot.
///
/// # Errors
/// When the endpoint or the trust is not usable.
pub fn connect_lazy(endpoint: &str, tls: &ChannelTls, options: &ChannelOptions) -> Result<Channel, ConnectError> {
    let dialer = Dialer::tls(endpoint.parse()?, tls, options)?;
    let template = template(&dialer, options)?;
    Ok(template.connect_with_connector_lazy(Connector::new(dialer, None)))
}

/// As [`connect`], without TLS: only for an exporter in direct mode that was told to do without, never for a service.
///
/// # Errors
/// When the first connection fails.
pub async fn connect_plain(endpoint: &str, options: &ChannelOptions) -> Result<Channel, ConnectError> {
    connected(Dialer::plain(endpoint.parse()?, options), options).await
}

/// Connects to a Unix socket, without TLS.
///
/// # Errors
/// When the first connection fails.
pub async fn connect_unix(path: &Path, options: &ChannelOptions) -> Result<Channel, ConnectError> {
    connected(Dialer::unix(path, options), options).await
}

/// As [`connect_unix`], but connects at the first call.
///
/// # Errors
/// When the options are not usable.
pub fn connect_unix_lazy(path: &Path, options: &ChannelOptions) -> Result<Channel, ConnectError> {
    let dialer = Dialer::unix(path, options);
    let template = template(&dialer, options)?;
    Ok(template.connect_with_connector_lazy(Connector::new(dialer, None)))
}

async fn connected(dialer: Dialer, options: &ChannelOptions) -> Result<Channel, ConnectError> {
    let template = template(&dialer, options)?;
    let first = dialer.dial().await?;
    let target = dialer.target();
    let connecting = template.connect_with_connector(Connector::new(dialer, Some(first)));
    let channel = tokio::time::timeout(options.connect_timeout, connecting)
        .await
        .map_err(|_| ConnectError::Timeout { target: target.clone(), limit: options.connect_timeout })?;
    channel.map_err(|error| ConnectError::Http { target, source: error.into() })
}

/// One HTTP/2 connection for callers that handle bodies themselves. The second value drives it: run it in a task that
/// you own; when it ends the connection is gone, and nothing connects again.
///
/// # Errors
/// When the connection fails.
pub async fn connect_raw<B>(
    endpoint: &str,
    tls: &ChannelTls,
    options: &ChannelOptions,
) -> Result<(http2::SendRequest<B>, impl Future<Output = hyper::Result<()>> + Send + 'static), ConnectError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    raw(Dialer::tls(endpoint.parse()?, tls, options)?, options).await
}

/// As [`connect_raw`], to a Unix socket without TLS.
///
/// # Errors
/// When the connection fails.
pub async fn connect_raw_unix<B>(
    path: &Path,
    options: &ChannelOptions,
) -> Result<(http2::SendRequest<B>, impl Future<Output = hyper::Result<()>> + Send + 'static), ConnectError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    raw(Dialer::unix(path, options), options).await
}

async fn raw<B>(
    dialer: Dialer,
    options: &ChannelOptions,
) -> Result<(http2::SendRequest<B>, impl Future<Output = hyper::Result<()>> + Send + 'static), ConnectError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let io = dialer.dial().await?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window())
        .max_frame_size(MAX_FRAME_SIZE)
        .max_header_list_size(MAX_HEADER_LIST_SIZE)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true);
    let target = dialer.target();
    let handshake = tokio::time::timeout(options.connect_timeout, builder.handshake(TokioIo::new(io)));
    match handshake.await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(ConnectError::Http { target, source: error.into() }),
        Err(_) => Err(ConnectError::Timeout { target, limit: options.connect_timeout }),
    }
}

/// tonic's settings. Its own TLS stays off: the connector brings streams that are secured already.
fn template(dialer: &Dialer, options: &ChannelOptions) -> Result<tonic::transport::Endpoint, ConnectError> {
    let ChannelOptions { connect_timeout: _, keepalive_interval, keepalive_timeout, stream_window, user_agent } =
        options;
    let authority = dialer.authority();
    let wrong = |reason: BoxError| ConnectError::Options(reason);
    let origin: Uri = format!("{}://{authority}", dialer.scheme())
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(error.into()))?;
    let mut template = tonic::transport::Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|error| wrong(error.into()))?
        .origin(origin)
        .initial_stream_window_size(*stream_window)
        .initial_connection_window_size(options.connection_window())
        .max_frame_size(MAX_FRAME_SIZE)
        .http2_max_header_list_size(MAX_HEADER_LIST_SIZE)
        .keep_alive_timeout(*keepalive_timeout)
        .keep_alive_while_idle(true);
    if let Some(interval) = keepalive_interval {
        template = template.http2_keep_alive_interval(*interval);
    }
    if let Some(user_agent) = user_agent {
        template = template.user_agent(user_agent).map_err(|error| wrong(error.into()))?;
    }
    Ok(template)
}

/// Gives tonic its connections: the one that is open already, then new ones.
struct Connector {
    dialer: Arc<Dialer>,
    first: Arc<Mutex<Option<Io>>>,
}

impl Connector {
    fn new(dialer: Dialer, first: Option<Io>) -> Self {
        Self { dialer: Arc::new(dialer), first: Arc::new(Mutex::new(first)) }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Io>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (dialer, first) = (Arc::clone(&self.dialer), Arc::clone(&self.first));
        Box::pin(async move {
            let open = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let io = match open {
                Some(io) => io,
                None => dialer.dial().await?,
            };
            Ok(TokioIo::new(io))
        })
    }
}
