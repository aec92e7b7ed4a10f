//! The byte stream under a served connection.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};

use super::records::Records;

/// Length of the HTTP/2 connection preface, and less than the shortest HTTP/1.1 request with a host.
const PREFACE: usize = 24;

pub(super) enum ServerIo {
    Tls(Box<Records>),
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

/// Bytes that are read in one turn, before other connections have theirs. A console waits for no more than this of each
/// flash image beside it, and what was read is still in the processor's cache when it is written.
const TURN: usize = 256 * 1024;

/// A stream in two hands: hyper's, and those of the task that sends off what hyper has written ([`Flush`]). Both are
/// parts of one task, so the lock is never waited for.
type Shared = Arc<Mutex<Turn>>;

struct Turn {
    io: ServerIo,
    /// Bytes that were read since the turn began.
    read: usize,
}

fn lock(io: &Shared) -> MutexGuard<'_, Turn> {
    io.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream whose peer must say something within a time: hyper's own timers start after the first bytes.
pub(super) struct PromptIo {
    io: Shared,
    vectored: bool,
    /// Bytes that may still fail to come in time, and the time.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
}

/// Sends off what was written to the stream beside it.
pub(super) struct Flush(Shared);

impl PromptIo {
    pub(super) fn new(io: ServerIo, limit: Duration) -> (Self, Flush) {
        let vectored = each!(&io, io => io.is_write_vectored());
        let io = Arc::new(Mutex::new(Turn { io, read: 0 }));
        let flush = Flush(Arc::clone(&io));
        (Self { io, vectored, waiting: Some((PREFACE, Box::pin(sleep(limit)))) }, flush)
    }
}

impl Flush {
    /// Ends a turn: to be called whenever the connection has been polled, with the same task's waker.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut turn = lock(&self.0);
        turn.read = 0;
        match &mut turn.io {
            ServerIo::Tls(records) => records.poll_send_off(cx),
            // Nothing is held back there.
            ServerIo::Tcp(_) | ServerIo::Unix(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for PromptIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = {
            let mut turn = lock(&self.io);
            if turn.read >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = each!(&mut turn.io, io => Pin::new(io).poll_read(cx, buf));
            turn.read += buf.filled().len() - before;
            read
        };
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
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut lock(&self.io).io, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut lock(&self.io).io, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut lock(&self.io).io, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut lock(&self.io).io, io => Pin::new(io).poll_shutdown(cx))
    }
}
