//! Frames as a byte stream.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures::Stream;
use jumpstarter_protocol::v1::FrameType;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::PollSender;
use tonic::Status;

use crate::Frame;

/// Largest payload of one DATA frame, as all peers send it.
pub const MAX_CHUNK: usize = 64 * 1024;

/// Outgoing frames that may wait for HTTP/2 flow control: 8 × 64 KiB a tunnel.
pub const QUEUE: usize = 8;

/// One end of a tunnel: reads what `inbound` delivers, writes frames of type `Out`.
///
/// Reading ends at GOAWAY or at a clean end of the stream; a status becomes an I/O error that carries it.
/// Shutting down sends GOAWAY and ends the outgoing direction, the other one stays open. Empty, PING
/// and unknown frames are skipped. Dropping a tunnel that is not shut down cuts it.
pub struct Tunnel<S, Out> {
    inbound: Option<Pin<Box<S>>>,
    rest: Bytes,
    ended: bool,
    outbound: PollSender<Out>,
}

impl<S, Out: Frame> Tunnel<S, Out> {
    /// A tunnel over frames that come from `inbound` and go to `outbound`.
    pub fn new(inbound: S, outbound: mpsc::Sender<Out>) -> Self {
        Self { inbound: Some(Box::pin(inbound)), rest: Bytes::new(), ended: false, outbound: PollSender::new(outbound) }
    }
}

impl<S, In, Out> AsyncRead for Tunnel<S, Out>
where
    S: Stream<Item = Result<In, Status>>,
    In: Frame,
    Out: Frame,
{
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !self.rest.is_empty() {
                let n = self.rest.len().min(buf.remaining());
                buf.put_slice(&self.rest[..n]);
                self.rest.advance(n);
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let Some(inbound) = self.inbound.as_mut() else {
                return Poll::Ready(Ok(()));
            };
            match ready!(inbound.as_mut().poll_next(cx)) {
                None => self.inbound = None,
                Some(Err(status)) => {
                    self.inbound = None;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, status)));
                }
                Some(Ok(frame)) => match frame.split() {
                    (Some(FrameType::Data), payload) => self.rest = payload,
                    // The stream itself is kept: dropping it would cancel the call while we may still write.
                    (Some(FrameType::Goaway), _) => self.ended = true,
                    (Some(FrameType::Ping | FrameType::RstStream) | None, _) => {}
                },
            }
        }
    }
}

impl<S, Out: Frame> AsyncWrite for Tunnel<S, Out> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.outbound.poll_reserve(cx)).map_err(|_| closed())?;
        let n = buf.len().min(MAX_CHUNK);
        let frame = Out::new(FrameType::Data, Bytes::copy_from_slice(&buf[..n]));
        self.outbound.send_item(frame).map_err(|_| closed())?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbound.is_closed() {
            return Poll::Ready(Ok(()));
        }
        if ready!(self.outbound.poll_reserve(cx)).is_ok() {
            let _ = self.outbound.send_item(Out::new(FrameType::Goaway, Bytes::new()));
        }
        self.outbound.close();
        Poll::Ready(Ok(()))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the tunnel was closed by the other side")
}

/// Joins two byte streams, each direction with its own end. Returns when both directions ended or one failed.
///
/// # Cancel safety
/// Not cancel safe: dropping the future cuts both streams.
pub async fn join<A, B>(mut left: A, mut right: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    tokio::io::copy_bidirectional_with_sizes(&mut left, &mut right, MAX_CHUNK, MAX_CHUNK).await
}
