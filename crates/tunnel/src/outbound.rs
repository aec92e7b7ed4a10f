//! What goes out: the body of our request or answer, fed through a short queue.
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tonic::Status;

use crate::wire::GOAWAY;

/// Messages that may wait for HTTP/2 flow control: 8 × 64 KiB a tunnel.
pub(crate) const QUEUE: usize = 8;

/// What the queue holds.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A message as it travels.
    Message(Bytes),
    /// GOAWAY: no more bytes follow. A client's request ends with it.
    Goaway,
    /// Nothing follows. The status is for the client of a call; a client has none to give.
    End(Status),
}

/// A body that ends as its sender says. A sender that is dropped before cuts the call.
pub(crate) struct Outbound {
    queue: mpsc::Receiver<Outgoing>,
    side: Side,
    ended: bool,
}

/// Whose body it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Of a request: it just ends.
    Client,
    /// Of an answer: it ends with a status.
    Server,
}

impl Outbound {
    /// A body and the queue that feeds it.
    pub(crate) fn new(side: Side) -> (mpsc::Sender<Outgoing>, Self) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (sender, Self { queue, side, ended: false })
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.ended = true;
        match self.side {
            Side::Client => Poll::Ready(None),
            Side::Server => {
                let mut trailers = HeaderMap::new();
                // Details that cannot be sent leave the bare code, which is always there.
                if status.add_header(&mut trailers).is_err() {
                    trailers.insert("grpc-status", (status.code() as i32).into());
                }
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.queue.poll_recv(cx)) {
            Some(Outgoing::Message(message)) => Poll::Ready(Some(Ok(Frame::data(message)))),
            Some(Outgoing::Goaway) => {
                self.ended = self.side == Side::Client;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(GOAWAY)))))
            }
            Some(Outgoing::End(status)) => self.end(&status),
            None => match self.side {
                // A reset, so that nobody takes what was sent for everything.
                Side::Client => {
                    self.ended = true;
                    Poll::Ready(Some(Err(h2::Reason::CANCEL.into())))
                }
                Side::Server => self.end(&Status::aborted("the stream was cut")),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}
