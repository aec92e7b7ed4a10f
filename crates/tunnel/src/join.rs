//! A tunnel and a byte stream, joined.
use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{MAX_CHUNK, Tunnel, TunnelReader, TunnelWriter, wire::DataMessage};

/// Time to hand on what a peer sent before it left.
const DRAIN: Duration = Duration::from_secs(10);

/// Joins a byte stream and a tunnel, each direction with its own end. Returns when both directions ended, one failed,
/// or the peer of the tunnel left; then what it sent before is still handed on, for 10 s at most.
///
/// Bytes are read into the messages that carry them, and written from the frames that brought them. An answer's tunnel
/// is left open for its final status: see [`TunnelWriter::finish`].
///
/// # Errors
/// When one direction failed, or the peer left while the other was open.
///
/// # Cancel safety
/// Not cancel safe: dropping the future loses what is on its way.
pub async fn join_halves<A>(stream: A, reader: &mut TunnelReader, writer: &TunnelWriter) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let mut down = std::pin::pin!(down(reader, &mut to));
    let mut up = std::pin::pin!(up(&mut from, writer));
    let sent = tokio::select! {
        // The one that loses is polled on below, or given up because the other one failed.
        sent = up.as_mut() => sent,
        received = down.as_mut() => {
            let received = received?;
            return Ok((up.await?, received));
        }
    };
    match sent {
        Ok(sent) => tokio::select! {
            // As above; `closed` is cancel safe.
            received = down.as_mut() => Ok((sent, received?)),
            () = writer.closed(), if writer.outlives_shutdown() => match timeout(DRAIN, down).await {
                Ok(received) => Ok((sent, received?)),
                Err(_) => Err(gone()),
            },
        },
        Err(err) => {
            if err.kind() == io::ErrorKind::BrokenPipe {
                // The peer left, and `down` ends with what it said before.
                let _ = timeout(DRAIN, down).await;
            }
            Err(err)
        }
    }
}

/// From the stream into the tunnel.
async fn up<R: AsyncRead + Unpin>(from: &mut R, to: &TunnelWriter) -> io::Result<u64> {
    let mut sent = 0;
    loop {
        let mut message = DataMessage::with_capacity(MAX_CHUNK);
        let mut limited = bytes::BufMut::limit(message.buffer(), MAX_CHUNK);
        let n = tokio::select! {
            // Both are cancel safe by their docs.
            n = from.read_buf(&mut limited) => n?,
            () = to.closed() => return Err(gone()),
        };
        if n == 0 {
            to.shutdown().await?;
            return Ok(sent);
        }
        sent += n as u64;
        to.send(message).await?;
    }
}

/// From the tunnel into the stream.
async fn down<W: AsyncWrite + Unpin>(from: &mut TunnelReader, to: &mut W) -> io::Result<u64> {
    let mut received = 0;
    while let Some(chunk) = from.next().await? {
        to.write_all(&chunk).await?;
        to.flush().await?;
        received += chunk.len() as u64;
    }
    to.shutdown().await?;
    Ok(received)
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the other side of the tunnel left")
}

/// Joins a byte stream with a whole tunnel; see [`join_halves`].
///
/// # Errors
/// As [`join_halves`].
///
/// # Cancel safety
/// Dropping the future cuts both.
pub async fn join<A>(stream: A, tunnel: Tunnel) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, writer) = tunnel.into_split();
    join_halves(stream, &mut reader, &writer).await
}
