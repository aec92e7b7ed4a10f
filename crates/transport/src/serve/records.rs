//! TLS records that are full, and sent several at a time.
//!
//! h2 flushes after every DATA frame of 256 bytes or more. A frame of 16 KiB with its head is nine bytes longer than a
//! TLS record, so that each would become a full record, a tiny one and a system call. Here what is written is held
//! back until there is enough for a full record, records until there are several, and `flush` does nothing: the task of
//! the connection sends off what is left whenever hyper has done all it could ([`Records::poll_send_off`]), so that
//! nothing waits for anything that is not there already.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The most that a TLS record carries (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;

/// Bytes in records that are sent off together. What waits here waits in front of everything that comes later.
const TOGETHER: usize = 4 * RECORD;

/// A TLS stream that is written as described above.
pub(super) struct Records {
    tls: TlsStream<TcpStream>,
    /// Written, and less than a record. Given back whenever it is empty: most connections are idle.
    rest: Vec<u8>,
    /// Bytes in records that were not sent off.
    sealed: usize,
}

impl Records {
    pub(super) fn new(mut tls: TlsStream<TcpStream>) -> Self {
        // `sealed` is the limit: rustls' own would break records off.
        tls.get_mut().1.set_buffer_limit(None);
        Self { tls, rest: Vec::new(), sealed: 0 }
    }

    /// Makes a record of what is left, and sends everything.
    pub(super) fn poll_send_off(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            seal(&mut self.tls, &mut [IoSlice::new(&rest)], rest.len())?;
            self.sealed += rest.len();
        }
        if self.sealed > 0 || self.tls.get_ref().1.wants_write() {
            ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
            self.sealed = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Seals full records of the rest and `bufs`, or keeps what is less than a record. Takes something of `bufs`.
    fn take(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        let held = self.rest.len();
        let whole = ((held + offered) / RECORD * RECORD).min(TOGETHER);
        if whole == 0 {
            for buf in bufs {
                self.rest.extend_from_slice(buf);
            }
            return Ok(offered);
        }
        let mut slices = Vec::with_capacity(bufs.len() + 1);
        slices.push(IoSlice::new(&self.rest));
        // `held` is less than a record, and so less than `whole`.
        let mut wanted = whole - held;
        for buf in bufs {
            let part = &buf[..wanted.min(buf.len())];
            slices.push(IoSlice::new(part));
            wanted -= part.len();
        }
        seal(&mut self.tls, &mut slices, whole)?;
        self.rest = Vec::new();
        self.sealed += whole;
        Ok(whole - held)
    }
}

/// Makes records of all of `bufs`, which are `length` bytes together.
fn seal(tls: &mut TlsStream<TcpStream>, mut bufs: &mut [IoSlice<'_>], length: usize) -> io::Result<()> {
    let mut left = length;
    let mut refused = false;
    while left > 0 {
        let taken = tls.get_mut().1.writer().write_vectored(bufs)?;
        // When keys have served for as many records as they may, rustls takes a part or nothing, and has new ones when
        // it is asked again.
        if taken == 0 && std::mem::replace(&mut refused, true) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if taken > 0 {
            refused = false;
            left -= taken;
            IoSlice::advance_slices(&mut bufs, taken);
        }
    }
    Ok(())
}

impl AsyncRead for Records {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Records {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.sealed >= TOGETHER {
            ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
            self.sealed = 0;
        }
        Poll::Ready(self.take(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// See [`Records::poll_send_off`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_off(cx))?;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
