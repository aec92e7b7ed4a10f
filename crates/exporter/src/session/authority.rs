//! Lets requests in whose `:authority` is a percent-encoded socket path.
//!
//! gRPC's C core names a Unix socket so (`tmp%2Fdir%2Fsocket`), also for the connections that a Python client
//! sends through a tunnel. Our HTTP/2 library takes `%` for a protocol error and resets the call. Nobody reads
//! the authority here, so each `%` in it becomes a `.` before the library sees it: the same length, hence the
//! same frames and the same HPACK table. Huffman-coded values are left alone: the C core does not send them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// The client's first bytes, before any frame.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Bytes asked for at a time.
const READ: usize = 64 * 1024;
/// A header block larger than this is passed on as it is; the library will refuse it.
const MAX_BLOCK: usize = 128 * 1024;

/// A server's HTTP/2 connection with its clients' authorities made harmless.
pub(super) struct LenientAuthority<IO> {
    io: IO,
    /// Bytes read; the first `ready` of them may be handed on.
    buffer: BytesMut,
    ready: usize,
    /// Bytes of the current frame (or the preface) that are passed on unseen.
    skip: usize,
    ended: bool,
}

impl<IO> LenientAuthority<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, buffer: BytesMut::new(), ready: 0, skip: PREFACE, ended: false }
    }

    /// Reads straight into `buf`, which is where most bytes stay. None when there was nothing to release yet.
    fn read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Option<()>>>
    where
        IO: AsyncRead + Unpin,
    {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = &mut buf.filled_mut()[start..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(Some(())));
        }
        let ready = judge(fresh, &mut self.skip);
        // The beginning of a frame that must be seen whole waits here for its rest.
        self.buffer.extend_from_slice(&fresh[ready..]);
        buf.set_filled(start + ready);
        Poll::Ready(Ok((ready > 0).then_some(())))
    }
}

/// How many of the first bytes may be handed on; `skip` are passed on unseen, and authorities behind them are mended.
fn judge(bytes: &mut [u8], skip: &mut usize) -> usize {
    let mut ready = 0;
    loop {
        let pass = (*skip).min(bytes.len() - ready);
        ready += pass;
        *skip -= pass;
        let rest = &mut bytes[ready..];
        let Some(header) = rest.first_chunk::<FRAME_HEADER>() else { return ready };
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, flags) = (header[3], header[4]);
        if kind != HEADERS || length > MAX_BLOCK {
            *skip = FRAME_HEADER + length;
            continue;
        }
        let Some(payload) = rest.get_mut(FRAME_HEADER..FRAME_HEADER + length) else { return ready };
        let prefix = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
        if let Some(block) = payload.get_mut(prefix..) {
            mend(block);
        }
        ready += FRAME_HEADER + length;
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for LenientAuthority<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.buffer.is_empty()
            && !this.ended
            && let Some(()) = ready!(this.read_through(cx, buf))?
        {
            return Poll::Ready(Ok(()));
        }
        while this.ready == 0 && !this.ended {
            this.buffer.reserve(READ);
            if ready!(poll_read_buf(Pin::new(&mut this.io), cx, &mut this.buffer))? == 0 {
                this.ended = true;
                this.ready = this.buffer.len();
            } else {
                let fresh = &mut this.buffer[this.ready..];
                this.ready += judge(fresh, &mut this.skip);
            }
        }
        let n = this.ready.min(buf.remaining());
        buf.put_slice(&this.buffer[..n]);
        this.buffer.advance(n);
        this.ready -= n;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for LenientAuthority<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Replaces `%` in the plain literal value of `:authority` in an HPACK block (RFC 7541 §6). Stops at what it
/// does not understand: judging that is the library's business.
fn mend(block: &mut [u8]) {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let (prefix, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let Some(index) = integer(block, &mut at, prefix) else { return };
        if !literal {
            continue;
        }
        let is_authority = if index == 0 {
            let Some((start, end, _)) = string(block, &mut at) else { return };
            &block[start..end] == b":authority"
        } else {
            index == 1
        };
        let Some((start, end, huffman)) = string(block, &mut at) else { return };
        if is_authority && !huffman {
            for byte in &mut block[start..end] {
                if *byte == b'%' {
                    *byte = b'.';
                }
            }
        }
    }
}

/// An integer with an `n`-bit prefix (RFC 7541 §5.1); moves `at` behind it.
fn integer(block: &[u8], at: &mut usize, n: u32) -> Option<usize> {
    let max = (1_usize << n) - 1;
    let mut value = usize::from(*block.get(*at)?) & max;
    *at += 1;
    if value < max {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Start and end of a string (RFC 7541 §5.2) and whether it is Huffman-coded; moves `at` behind it.
fn string(block: &[u8], at: &mut usize) -> Option<(usize, usize, bool)> {
    let huffman = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let start = *at;
    let end = start.checked_add(length).filter(|&end| end <= block.len())?;
    *at = end;
    Some((start, end, huffman))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn block(authority: &[u8], value: &[u8]) -> Vec<u8> {
        // Indexed `:method: POST`, then the authority, then a literal header that has a % of its own.
        let mut block = vec![0x83];
        block.extend_from_slice(authority);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value);
        block.extend_from_slice(b"\x00\x01x\x03a%b");
        block
    }

    async fn through(input: Vec<u8>, chunk: usize) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let write = async move {
            for part in input.chunks(chunk) {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let read = async {
            let mut out = Vec::new();
            LenientAuthority::new(server).read_to_end(&mut out).await.unwrap();
            out
        };
        tokio::join!(write, read).1
    }

    #[tokio::test]
    async fn percent_signs_leave_the_authority_and_nothing_else() {
        let preface = vec![b'%'; PREFACE];
        let data = frame(0, 0, b"50%\x41\x03a%b");
        for (flags, prefix) in [(0x4, &b""[..]), (0x4 | PADDED, b"\x00"), (0x4 | PRIORITY, b"%%%%%")] {
            // By static index with and without indexing, and by name.
            for name in [&b"\x41"[..], b"\x01", b"\x40\x0a:authority"] {
                let block = |value: &[u8]| [prefix, &block(name, value)].concat();
                let whole = |value: &[u8]| {
                    [preface.clone(), data.clone(), frame(HEADERS, flags, &block(value)), data.clone()].concat()
                };
                for chunk in [1, 7, 1 << 20] {
                    assert_eq!(through(whole(b"tmp%2Fs.sock"), chunk).await, whole(b"tmp.2Fs.sock"));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_keeps_its_length_and_never_panics(input in proptest::collection::vec(any::<u8>(), 0..400), chunk in 1_usize..50) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let length = input.len();
            prop_assert_eq!(runtime.block_on(through(input, chunk)).len(), length);
        }

        #[test]
        fn hostile_blocks_never_panic(mut block in proptest::collection::vec(any::<u8>(), 0..200)) {
            mend(&mut block);
        }
    }
}
