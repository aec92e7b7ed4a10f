//! The way from a driver to the client's file.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_util::sync::PollSender;

use super::{CHUNK, Encoding, Outgoing, encoding};

/// Sends chunks as they are, or packed.
pub(super) enum Sender {
    Plain(mpsc::Sender<Outgoing>),
    Packed(Box<dyn AsyncWrite + Send + Unpin>),
}

impl Sender {
    pub(super) fn new(outgoing: mpsc::Sender<Outgoing>, encoding: Option<Encoding>) -> Self {
        match encoding {
            None => Self::Plain(outgoing),
            Some(encoding) => Self::Packed(encoding::encoder(encoding, ChunkWriter(PollSender::new(outgoing)))),
        }
    }

    pub(super) async fn send(&mut self, chunk: Bytes) -> io::Result<()> {
        match self {
            Self::Plain(outgoing) => outgoing.send(Outgoing::Data(chunk)).await.map_err(|_| left()),
            Self::Packed(writer) => writer.write_all(&chunk).await,
        }
    }

    /// Says that the file is complete.
    pub(super) async fn end(self) -> io::Result<()> {
        match self {
            Self::Plain(outgoing) => outgoing.send(Outgoing::End).await.map_err(|_| left()),
            Self::Packed(mut writer) => writer.shutdown().await,
        }
    }
}

fn left() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client has closed it")
}

/// Makes chunks of what is written; shutting down says that it was all.
struct ChunkWriter(PollSender<Outgoing>);

impl AsyncWrite for ChunkWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_reserve(cx)).map_err(|_| left())?;
        let n = buf.len().min(CHUNK);
        self.0.send_item(Outgoing::Data(Bytes::copy_from_slice(&buf[..n]))).map_err(|_| left())?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_reserve(cx)).map_err(|_| left())?;
        self.0.send_item(Outgoing::End).map_err(|_| left())?;
        self.0.close();
        Poll::Ready(Ok(()))
    }
}
