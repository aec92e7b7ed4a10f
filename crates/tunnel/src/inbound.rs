//! What comes in: the body of the other side's request or answer.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::Body as _;
use tonic::{Code, Status, body::Body};

use crate::wire::{Piece, Scanner};

/// Payloads in order, then the end.
pub(crate) struct Inbound {
    source: Source,
    scanner: Scanner,
    /// A server says in trailers how a call ended; a client just ends.
    from_server: bool,
    /// The other side has ended its direction. The body stays open: dropping it would cancel the call while we may
    /// still send.
    ended: bool,
}

enum Source {
    /// The answer's headers have not come yet.
    Opening(BoxFuture<'static, Result<Body, Status>>),
    Open(Body),
    Gone,
}

impl Inbound {
    /// The body of a call that is still being answered.
    pub(crate) fn opening(answer: BoxFuture<'static, Result<Body, Status>>) -> Self {
        Self { source: Source::Opening(answer), scanner: Scanner::default(), from_server: true, ended: false }
    }

    /// The body of an answer.
    pub(crate) fn answer(body: Body) -> Self {
        Self { source: Source::Open(body), scanner: Scanner::default(), from_server: true, ended: false }
    }

    /// The body of a request.
    pub(crate) fn request(body: Body) -> Self {
        Self { source: Source::Open(body), scanner: Scanner::default(), from_server: false, ended: false }
    }

    pub(crate) fn keep_borders(&mut self) {
        self.scanner.keep_borders = true;
    }

    /// The next bytes, never empty; none once the other side has ended its direction. A call that was cut is an error,
    /// which carries the status.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            match self.scanner.next() {
                Ok(Some(Piece::Data(payload))) => return Poll::Ready(Some(Ok(payload))),
                Ok(Some(Piece::Goaway)) => {
                    self.ended = true;
                    continue;
                }
                Ok(None) => {}
                Err(err) => return self.fail(err),
            }
            let frame = match &mut self.source {
                Source::Gone => {
                    self.ended = true;
                    continue;
                }
                Source::Opening(answer) => match ready!(answer.as_mut().poll(cx)) {
                    Ok(body) => {
                        self.source = Source::Open(body);
                        continue;
                    }
                    Err(status) => return self.fail(cut(status)),
                },
                Source::Open(body) => ready!(Pin::new(body).poll_frame(cx)),
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.scanner.put(data),
                    Err(frame) => {
                        let status = frame.trailers_ref().and_then(Status::from_header_map);
                        match status {
                            Some(status) if status.code() != Code::Ok => return self.fail(cut(status)),
                            _ if !self.scanner.at_border() => return self.fail(torn()),
                            Some(_) => {
                                self.source = Source::Gone;
                                self.ended = true;
                            }
                            None => {}
                        }
                    }
                },
                Some(Err(status)) => return self.fail(cut(status)),
                None if !self.scanner.at_border() => return self.fail(torn()),
                None if self.from_server => {
                    return self.fail(cut(Status::unavailable("the call ended without a status")));
                }
                None => {
                    self.source = Source::Gone;
                    self.ended = true;
                }
            }
        }
    }

    fn fail(&mut self, err: io::Error) -> Poll<Option<io::Result<Bytes>>> {
        self.source = Source::Gone;
        self.ended = true;
        Poll::Ready(Some(Err(err)))
    }
}

fn cut(status: Status) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, status)
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended in the middle of a message")
}
