//! The trait that every driver implements.
use std::{collections::BTreeMap, io};

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Arguments and results; numbers arrive as doubles.
pub type Value = serde_json::Value;

/// Values of a streaming call.
pub type ValueStream = BoxStream<'static, Result<Value, DriverError>>;

/// A two-way byte stream with half-close.
pub trait DuplexStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> DuplexStream for T {}

/// An open stream of a driver.
pub type ByteStream = Box<dyn DuplexStream>;

/// Why a driver refused or failed; each variant is one gRPC code on the wire.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No such method in this call style.
    #[error("method {0} not found on driver")]
    MethodNotFound(String),
    /// The method exists but this device cannot do it.
    #[error("{0}")]
    Unimplemented(String),
    /// An argument is missing, of the wrong type or out of range.
    #[error("{0}")]
    InvalidArgument(String),
    /// The device did not answer in time.
    #[error("{0}")]
    Timeout(String),
    /// The device cannot be reached.
    #[error("{message}")]
    Connection {
        /// What was tried.
        message: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another failure of the host.
    #[error("{message}")]
    Io {
        /// What was tried.
        message: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
    /// A fault of the driver itself.
    #[error("{0}")]
    Internal(String),
    /// A result larger than a peer takes.
    #[error("{0}")]
    TooLarge(String),
    /// What a driver in another process answered, passed on as it is.
    #[error("{message}")]
    Remote {
        /// The gRPC code.
        code: i32,
        /// The details.
        message: String,
    },
}

impl DriverError {
    /// The method `name` does not exist in the style it was called.
    pub fn not_found(name: &str) -> Self {
        Self::MethodNotFound(name.to_owned())
    }

    /// A connection attempt to `target` that ended in `source`.
    #[must_use]
    pub fn connection(target: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::TimedOut => Self::Timeout(format!("connect {target}: no answer in time")),
            _ => Self::Connection { message: format!("connect {target}: {source}"), source },
        }
    }
}

/// A client file as a driver in another process holds it.
pub struct HostedResource {
    /// What the client is told in the initial metadata of its stream: the handle and the accepted encoding.
    pub metadata: Vec<(String, String)>,
    /// The bytes of the file, in either direction.
    pub stream: ByteStream,
}

/// One driver instance. Calls on it may overlap: a driver locks what it must.
///
/// Every method has a default that answers "not found", so a driver writes only what it has.
pub trait Driver: Send + Sync {
    /// Import path of the client class that knows how to talk to this driver.
    fn client(&self) -> &str;

    /// Labels beyond the usual ones.
    fn extra_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// A unary call. Trailing arguments may be missing.
    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        let _ = args;
        ready(Err(DriverError::not_found(method))).boxed()
    }

    /// A call that answers with a stream of values.
    fn stream_call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<ValueStream, DriverError>> {
        let _ = args;
        ready(Err(DriverError::not_found(method))).boxed()
    }

    /// Opens a byte stream.
    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        ready(Err(DriverError::not_found(method))).boxed()
    }

    /// Opens a client file that the driver keeps itself, because it runs in another process. None: the session
    /// keeps it. `encoding` is how the client's file is packed.
    fn open_resource<'a>(
        &'a self,
        encoding: Option<&'a str>,
    ) -> BoxFuture<'a, Option<Result<HostedResource, DriverError>>> {
        let _ = encoding;
        ready(None).boxed()
    }

    /// Brings the device to its default state; called when a session starts.
    fn reset(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        ready(Ok(())).boxed()
    }

    /// Lets go of the device; called once when the session ends.
    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        ready(Ok(())).boxed()
    }
}
