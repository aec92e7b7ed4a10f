//! Streams around a port: slow enough for the device, and cut when the driver hangs up.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::ByteStream;

/// Writes at most so many bytes a second, one by one.
pub(super) struct Paced {
    io: ByteStream,
    pause: Duration,
    next: Pin<Box<Sleep>>,
}

impl Paced {
    /// `cps` bytes a second, which must be positive.
    pub(super) fn new(io: ByteStream, cps: f64) -> Self {
        let pause = Duration::try_from_secs_f64(1.0 / cps).unwrap_or(Duration::MAX);
        Self { io, pause, next: Box::pin(sleep_until(Instant::now())) }
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.next.as_mut().poll(cx));
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, &buf[..buf.len().min(1)]))?;
        let next = Instant::now().checked_add(self.pause).unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        self.next.as_mut().reset(next);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A port until the driver hangs up or the device vanishes; both are the end of the stream, not a failure.
pub(super) struct Cut {
    /// None once it is over: the port is closed at once.
    io: Option<ByteStream>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cut {
    pub(super) fn new(io: ByteStream, token: CancellationToken) -> Self {
        Self { io: Some(io), over: Box::pin(token.cancelled_owned()) }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) {
        if self.io.is_some() && self.over.as_mut().poll(cx).is_ready() {
            self.io = None;
        }
    }
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_over(cx);
        let Some(io) = self.io.as_mut() else { return Poll::Ready(Ok(())) };
        let read = ready!(Pin::new(io).poll_read(cx, buf));
        if let Err(err) = read {
            tracing::debug!(%err, "a serial port vanished");
            self.io = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_over(cx);
        match self.io.as_mut() {
            Some(io) => Pin::new(io).poll_write(cx, buf),
            None => Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the serial port was closed"))),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().map_or(Poll::Ready(Ok(())), |io| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().map_or(Poll::Ready(Ok(())), |io| Pin::new(io).poll_shutdown(cx))
    }
}
