//! The byte stream under a served connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// Length of the HTTP/2 connection preface, and less than the shortest HTTP/1.1 request with a host.
const PREFACE: usize = 24;

pub(super) enum ServerIo {
    Tls(Box<TlsStream<TcpStream>>),
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! each {
    ($io:expr, $inner:ident => $call:expr) => {
        match $io {
            ServerIo::Tls($inner) => $call,
            ServerIo::Tcp($inner) => $call,
            ServerIo::Unix($inner) => $call,
        }
    };
}

/// A stream whose peer must say something within a time: hyper's own timers start after the first bytes.
pub(super) struct PromptIo {
    io: ServerIo,
    /// Bytes that may still fail to come in time, and the time.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
}

impl PromptIo {
    pub(super) fn new(io: ServerIo, limit: Duration) -> Self {
        Self { io, waiting: Some((PREFACE, Box::pin(sleep(limit)))) }
    }
}

impl AsyncRead for PromptIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = each!(&mut self.io, io => Pin::new(io).poll_read(cx, buf));
        let Some((missing, deadline)) = &mut self.waiting else { return read };
        *missing = missing.saturating_sub(buf.filled().len() - before);
        if *missing == 0 {
            self.waiting = None;
        } else if read.is_pending() {
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for PromptIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut self.io, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.io, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(&self.io, io => io.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.io, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.io, io => Pin::new(io).poll_shutdown(cx))
    }
}
