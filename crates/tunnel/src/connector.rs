//! How an endpoint is reached.
use std::{error::Error, fmt, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use jumpstarter_config::{ConfigError, GrpcOptions, TlsConfig};
use jumpstarter_transport::{ChannelOptions, ChannelTls};
use tonic::transport::Channel;

/// Why an endpoint could not be reached.
pub type ConnectError = Box<dyn Error + Send + Sync>;

type Connect = dyn Fn(String) -> BoxFuture<'static, Result<Channel, ConnectError>> + Send + Sync;

/// A connection attempt that takes longer has failed: peers give up on a whole dial after 20 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Servers count more frequent pings as abuse.
const MIN_KEEPALIVE: Duration = Duration::from_secs(10);

/// Unread bytes of one stream: a connection to a router carries one tunnel, and this fills 1 Gbit/s over 30 ms.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// Opens a channel to the `host:port` of a controller or router.
#[derive(Clone)]
pub struct Connector(Arc<Connect>);

impl Connector {
    /// A connector that calls `connect`.
    pub fn new<F, Fut>(connect: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Channel, ConnectError>> + Send + 'static,
    {
        Self(Arc::new(move |endpoint| connect(endpoint).boxed()))
    }

    /// TLS as a configuration file asks for it, with the channel arguments that have a meaning here.
    pub fn from_config(tls: &TlsConfig, arguments: Option<&GrpcOptions>) -> Result<Self, ConfigError> {
        let ca_pem = tls.ca_pem()?.map(|pem| String::from_utf8_lossy(&pem).into_owned());
        let argument = |name| arguments.and_then(|all| all.get(name));
        let milliseconds = |name| {
            let value = argument(name)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok()).map(Duration::from_millis)
        };
        let server_name = argument("grpc.ssl_target_name_override").and_then(|name| name.as_str()).map(str::to_owned);
        let tls = ChannelTls { ca_pem, insecure: tls.insecure, server_name };
        let mut options = ChannelOptions { stream_window: STREAM_WINDOW, ..ChannelOptions::default() };
        if let Some(interval) = milliseconds("grpc.keepalive_time_ms") {
            options.keepalive_interval = Some(interval.max(MIN_KEEPALIVE));
        }
        if let Some(limit) = milliseconds("grpc.keepalive_timeout_ms") {
            options.keepalive_timeout = limit.max(MIN_KEEPALIVE);
        }
        Ok(Self::new(move |endpoint| {
            let (tls, options) = (tls.clone(), options.clone());
            async move { Ok(jumpstarter_transport::connect::connect(&endpoint, &tls, &options).await?) }
        }))
    }

    /// HTTP/2 without TLS, for a router or controller on the same machine.
    #[must_use]
    pub fn plaintext() -> Self {
        Self::new(|endpoint| async move {
            let options = ChannelOptions { stream_window: STREAM_WINDOW, ..ChannelOptions::default() };
            Ok(jumpstarter_transport::connect::connect_plain(&endpoint, &options).await?)
        })
    }

    /// The same channel for every endpoint.
    #[must_use]
    pub fn shared(channel: Channel) -> Self {
        Self::new(move |_| futures::future::ready(Ok(channel.clone())))
    }

    /// Opens a channel to `endpoint`.
    pub async fn connect(&self, endpoint: &str) -> Result<Channel, ConnectError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, (self.0)(endpoint.to_owned())).await {
            Ok(channel) => channel,
            Err(_) => Err(format!("no connection to {endpoint} within {} s", CONNECT_TIMEOUT.as_secs()).into()),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}
