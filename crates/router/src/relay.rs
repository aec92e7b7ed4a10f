//! One direction of a tunnel: the bytes of one half on their way to the other.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use crate::input::{Input, InputEnd};
use crate::scanner::{Fault, Scanner};

/// Chunks below this are merged with what else is ready: HTTP/2 writes each frame with a system call
/// of its own, and 16 KiB is the frame that every peer takes.
const MERGED: usize = 16 * 1024;

/// How many chunks are looked at for one merged chunk, so that other streams get their turn.
const MERGE_STEPS: usize = 1_024;

/// Room for as many small chunks to begin with: of console lines there are few, of 1 KiB messages up to 16.
const SOME: usize = 16;

/// How a direction came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// The sender ended its requests.
    Finished,
    /// The sender's call broke off.
    Cut,
    /// The sender sent something that is no message.
    Faulty(Fault),
}

impl From<InputEnd> for RelayEnd {
    fn from(end: InputEnd) -> Self {
        match end {
            InputEnd::Finished => Self::Finished,
            InputEnd::Cut => Self::Cut,
        }
    }
}

pub(crate) struct Relay {
    input: Input,
    scanner: Scanner,
    /// Read, and too large to be merged with what was before it.
    next: Option<Bytes>,
    end: Option<RelayEnd>,
}

impl Relay {
    pub(crate) fn new(input: Input, max_message_bytes: u32) -> Self {
        Self { input, scanner: Scanner::new(max_message_bytes), next: None, end: None }
    }

    /// What has been passed on of the messages so far.
    pub(crate) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// The next bytes to pass on: a chunk as it came, or several small ones that were ready.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, RelayEnd>> {
        let first = match self.next.take() {
            Some(chunk) => chunk,
            None => ready!(self.poll_scanned(cx))?,
        };
        if first.len() >= MERGED {
            return Poll::Ready(Ok(first));
        }
        let mut length = first.len();
        // Gathered before they are copied, so that each byte is copied once, into a buffer that fits.
        let mut small = Vec::new();
        for _ in 0..MERGE_STEPS {
            // An end is kept for the next call.
            let Poll::Ready(Ok(chunk)) = self.poll_scanned(cx) else { break };
            if length + chunk.len() > MERGED {
                self.next = Some(chunk);
                break;
            }
            if small.is_empty() {
                small.reserve(SOME);
            }
            length += chunk.len();
            small.push(chunk);
        }
        if small.is_empty() {
            return Poll::Ready(Ok(first));
        }
        let mut merged = BytesMut::with_capacity(length);
        merged.extend_from_slice(&first);
        for chunk in &small {
            merged.extend_from_slice(chunk);
        }
        Poll::Ready(Ok(merged.freeze()))
    }

    fn poll_scanned(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, RelayEnd>> {
        if let Some(end) = self.end {
            return Poll::Ready(Err(end));
        }
        let end = match ready!(self.input.poll_chunk(cx)) {
            Ok(mut chunk) => match self.scanner.scan(&chunk) {
                Ok(()) => return Poll::Ready(Ok(chunk)),
                Err(broken) => {
                    let end = RelayEnd::Faulty(broken.fault);
                    if broken.sound > 0 {
                        self.end = Some(end);
                        chunk.truncate(broken.sound);
                        return Poll::Ready(Ok(chunk));
                    }
                    end
                }
            },
            Err(end) => end.into(),
        };
        self.end = Some(end);
        Poll::Ready(Err(end))
    }
}
