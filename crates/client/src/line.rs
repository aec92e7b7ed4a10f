//! A byte stream to an exporter, and the way that it takes.
use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use jumpstarter_transport::direct::DirectStream;
use jumpstarter_tunnel::{Tunnel, join};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

/// Bytes copied at a time.
const COPY: usize = 64 * 1024;

/// How a client reaches an exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Straight to the exporter, at this address (`host:port`).
    Direct(String),
    /// Through the router at this endpoint (`host:port`).
    Router(String),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(address) => write!(f, "directly at {address}"),
            Self::Router(endpoint) => write!(f, "through the router {endpoint}"),
        }
    }
}

/// A byte stream to an exporter. Dropping it cuts it.
pub struct Line {
    stream: Stream,
    way: Way,
}

enum Stream {
    Router(Tunnel),
    Direct(Box<DirectStream>),
}

impl Line {
    pub(crate) fn direct(stream: DirectStream, address: String) -> Self {
        Self { stream: Stream::Direct(Box::new(stream)), way: Way::Direct(address) }
    }

    pub(crate) fn routed(tunnel: Tunnel, endpoint: String) -> Self {
        Self { stream: Stream::Router(tunnel), way: Way::Router(endpoint) }
    }

    /// The way that it takes.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Passes bytes on between this and `local` until both directions have ended.
    ///
    /// # Errors
    /// When either was cut.
    ///
    /// # Cancel safety
    /// Dropping the future cuts both.
    pub async fn join<A>(self, mut local: A) -> io::Result<()>
    where
        A: AsyncRead + AsyncWrite + Unpin,
    {
        match self.stream {
            Stream::Router(tunnel) => join(local, tunnel).await.map(drop),
            Stream::Direct(mut stream) => {
                copy_bidirectional_with_sizes(&mut local, &mut *stream, COPY, COPY).await.map(drop)
            }
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("way", &self.way).finish_non_exhaustive()
    }
}

macro_rules! each {
    ($line:expr, $stream:ident => $call:expr) => {
        match &mut $line.stream {
            Stream::Router($stream) => $call,
            Stream::Direct($stream) => $call,
        }
    };
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Router(stream) => stream.is_write_vectored(),
            Stream::Direct(stream) => stream.is_write_vectored(),
        }
    }
}
