//! The bytes that one half sends: its request body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;

/// How much of a waiting half is read ahead. Reading is what shows that a half has ended its
/// requests; the first bytes of a tunnel (the settings of the HTTP/2 connection within) are a few
/// dozen. What follows beyond is left to flow control.
const READ_AHEAD: usize = 16 * 1024;

/// Why there is no more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// The peer ended its requests.
    Finished,
    /// The call or its connection broke off.
    Cut,
}

/// A request body, and what was read of it while there was nobody to pass it to.
pub(crate) struct Input {
    body: Body,
    held: BytesMut,
    end: Option<InputEnd>,
}

impl Input {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, held: BytesMut::new(), end: None }
    }

    /// The next bytes, never none.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, InputEnd>> {
        if !self.held.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.held).freeze()));
        }
        self.poll_body(cx)
    }

    /// Reads ahead, and is ready only once the end is known.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<InputEnd> {
        while self.held.len() < READ_AHEAD {
            match ready!(self.poll_body(cx)) {
                // Copied, since a small piece would keep the whole buffer alive that it was read into.
                Ok(chunk) => self.held.extend_from_slice(&chunk),
                Err(end) => return Poll::Ready(end),
            }
        }
        Poll::Pending
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, InputEnd>> {
        if let Some(end) = self.end {
            return Poll::Ready(Err(end));
        }
        loop {
            let end = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // Empty DATA frames mean nothing, and neither do trailers of a request.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) if !chunk.is_empty() => return Poll::Ready(Ok(chunk)),
                    Ok(_) | Err(_) => continue,
                },
                Some(Err(_)) => InputEnd::Cut,
                None => InputEnd::Finished,
            };
            self.end = Some(end);
            return Poll::Ready(Err(end));
        }
    }
}
