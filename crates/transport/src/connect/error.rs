//! Why there is no connection.

use std::io;
use std::time::Duration;

use crate::EndpointError;
use crate::serve::BoxError;

/// Why a connection could not be made. `target` is the endpoint, or the path of a Unix socket.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The CA bundle, or the name to expect, is not usable.
    #[error("the TLS settings are not usable: {0}")]
    Trust(String),
    /// A setting of the channel is not usable.
    #[error("the channel's settings are not usable: {0}")]
    Options(#[source] BoxError),
    /// The host has no address.
    #[error("cannot find the address of {target}: {source}; check the endpoint and the name service")]
    Resolve {
        /// Where to.
        target: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nothing answers.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// Where to.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// No TLS with this peer: a certificate that is not trusted or has another name, or a peer without TLS.
    #[error("no secure connection to {target}: {source}")]
    Tls {
        /// Where to.
        target: String,
        /// What rustls said.
        source: io::Error,
    },
    /// The peer does not select HTTP/2.
    #[error("{target} does not speak HTTP/2 over TLS: is it a Jumpstarter service?")]
    NotHttp2 {
        /// Where to.
        target: String,
    },
    /// It took too long.
    #[error("no connection to {target} within {limit:?}")]
    Timeout {
        /// Where to.
        target: String,
        /// The limit.
        limit: Duration,
    },
    /// The connection was there, HTTP/2 was not.
    #[error("{target} does not speak HTTP/2: {source}")]
    Http {
        /// Where to.
        target: String,
        /// What hyper said.
        source: BoxError,
    },
}
