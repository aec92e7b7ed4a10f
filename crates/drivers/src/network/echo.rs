//! `jumpstarter_driver_network.driver.EchoNetwork`: gives back what it gets.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, SimplexStream};

use crate::{ByteStream, Driver, DriverError};

use super::CLIENT;

/// Bytes on their way back; a writer that does not read is held at this.
const BUFFER: usize = 256 * 1024;

/// An echo for each stream.
pub(crate) struct EchoNetwork;

impl Driver for EchoNetwork {
    fn client(&self) -> &'static str {
        CLIENT
    }

    fn open<'a>(&'a self, method: &'a str) -> BoxFuture<'a, Result<ByteStream, DriverError>> {
        let stream = match method {
            "connect" => Ok(Box::new(Echo::new()) as ByteStream),
            _ => Err(DriverError::not_found(method)),
        };
        ready(stream).boxed()
    }
}

/// A pipe whose two ends are the same peer; shutting down ends the reading side once it is drained.
pub(crate) struct Echo(SimplexStream);

impl Echo {
    pub(crate) fn new() -> Self {
        Self(SimplexStream::new_unsplit(BUFFER))
    }
}

impl AsyncRead for Echo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Echo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
