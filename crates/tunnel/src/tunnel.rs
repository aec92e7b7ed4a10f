//! One end of a tunnel.
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::PollSender;
use tonic::Status;

use crate::{
    MAX_CHUNK,
    inbound::Inbound,
    outbound::{Outgoing, Side},
    wire::DataMessage,
};

/// One end of a tunnel: an ordinary byte stream with half-close.
///
/// Reading ends at GOAWAY or at a clean end of the call; a call that was cut is an I/O error that carries its status.
/// Shutting down sends GOAWAY; a client's request ends with it, an answer stays open for what still comes in and ends
/// with [`Tunnel::finish`]. What is written is on its way at once, without flushing. Dropping a tunnel that was not
/// finished cuts it, so that the other side never takes a part for the whole.
///
/// Bytes are copied once on the way in or out; [`TunnelReader`] and [`TunnelWriter`] do without.
pub struct Tunnel {
    reader: TunnelReader,
    rest: Bytes,
    outbound: PollSender<Outgoing>,
    shut: bool,
    side: Side,
}

/// The incoming direction, chunk by chunk. Keep it while anything is to be sent: dropping it may cancel the call.
pub struct TunnelReader(Inbound);

/// The outgoing direction, message by message.
pub struct TunnelWriter {
    outbound: mpsc::Sender<Outgoing>,
    side: Side,
}

impl Tunnel {
    pub(crate) fn new(inbound: Inbound, outbound: mpsc::Sender<Outgoing>, side: Side) -> Self {
        Self {
            reader: TunnelReader(inbound),
            rest: Bytes::new(),
            outbound: PollSender::new(outbound),
            shut: false,
            side,
        }
    }

    /// Ends an answer with `status`. A client's request just ends, whatever the status.
    ///
    /// # Errors
    /// When the other side has left.
    pub async fn finish(self, status: Status) -> io::Result<()> {
        match self.outbound.get_ref() {
            Some(outbound) => outbound.send(Outgoing::End(status)).await.map_err(|_| closed()),
            None => Ok(()),
        }
    }

    /// Hands out payloads as they were sent, one message at a time, for datagrams. Parts are gathered then.
    #[must_use]
    pub fn keep_borders(mut self) -> Self {
        self.reader.0.keep_borders();
        self
    }

    /// Both directions, to be driven apart. Nothing may have been read or shut down before.
    pub fn into_split(self) -> (TunnelReader, TunnelWriter) {
        debug_assert!(self.rest.is_empty(), "nothing was read before");
        let outbound = self.outbound.get_ref().cloned();
        // A closed queue in place of one that is shut down already.
        let outbound = outbound.unwrap_or_else(|| mpsc::channel(1).0);
        (self.reader, TunnelWriter { outbound, side: self.side })
    }
}

impl TunnelReader {
    /// The next bytes, never empty; none once the other side has ended its direction.
    ///
    /// # Errors
    /// When the call was cut.
    ///
    /// # Cancel safety
    /// Cancel safe: a chunk is never half taken.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.0.poll_next(cx)).await.transpose()
    }
}

impl Stream for TunnelReader {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.0.poll_next(cx)
    }
}

impl TunnelWriter {
    /// Sends a message, waiting while too many are on their way.
    ///
    /// # Errors
    /// When the other side has left.
    ///
    /// # Cancel safety
    /// Dropping the future before its end loses the message, and nothing else.
    pub async fn send(&self, message: DataMessage) -> io::Result<()> {
        if message.payload().is_empty() {
            return Ok(());
        }
        self.outbound.send(Outgoing::Message(message.into_wire())).await.map_err(|_| closed())
    }

    /// Says that nothing more will be sent. A client's request ends with it; an answer stays open until
    /// [`TunnelWriter::finish`].
    ///
    /// # Errors
    /// When the other side has left.
    pub async fn shutdown(&self) -> io::Result<()> {
        self.outbound.send(Outgoing::Goaway).await.map_err(|_| closed())
    }

    /// Ends an answer with `status`.
    ///
    /// # Errors
    /// When the other side has left.
    pub async fn finish(&self, status: Status) -> io::Result<()> {
        self.outbound.send(Outgoing::End(status)).await.map_err(|_| closed())
    }

    /// Whether the other side still listens can be seen even when there is nothing left to send: an answer stays open
    /// until its end, while a request is over once it is shut down.
    pub(crate) fn outlives_shutdown(&self) -> bool {
        self.side == Side::Server
    }

    /// Resolves when the other side takes no more: the call has ended or was reset, or this side's request is over.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) {
        self.outbound.closed().await;
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.rest.is_empty() {
            match ready!(self.reader.0.poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(chunk) => self.rest = chunk?,
            }
        }
        let n = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..n]);
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    // A frame's header and its payload come apart, and shall travel together.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().fold(0_usize, |sum, buf| sum.saturating_add(buf.len())).min(MAX_CHUNK);
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.shut {
            return Poll::Ready(Err(closed()));
        }
        ready!(self.outbound.poll_reserve(cx)).map_err(|_| closed())?;
        let mut message = DataMessage::with_capacity(length);
        for buf in bufs {
            let room = length - message.payload().len();
            message.buffer().extend_from_slice(&buf[..buf.len().min(room)]);
        }
        self.outbound.send_item(Outgoing::Message(message.into_wire())).map_err(|_| closed())?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut || self.outbound.is_closed() {
            return Poll::Ready(Ok(()));
        }
        // A peer that has left needs no goodbye.
        if ready!(self.outbound.poll_reserve(cx)).is_ok() {
            let _ = self.outbound.send_item(Outgoing::Goaway);
        }
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the tunnel was closed by the other side")
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("side", &self.side).finish_non_exhaustive()
    }
}
