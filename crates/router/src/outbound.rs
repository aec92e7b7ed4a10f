//! The response body of a half: what the other half sends, and how it ends.
//!
//! Everything that happens to a half happens in its [`Outbound::poll_frame`], which the server calls
//! as fast as the peer reads. Dropping it tells the other half that nobody reads here any more.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use crate::input::InputEnd;
use crate::metrics::Outcome;
use crate::pairing::Place;
use crate::relay::{Relay, RelayEnd};
use crate::router::Core;
use crate::scanner::GOAWAY;
use crate::tunnel::{Order, Seat, Tunnel};

/// Told to a receiver who got half of a message.
const CUT_SHORT: &str = "the other side of the stream went away in the middle of a message";

enum Stage {
    /// For the partner; the sleep ends the wait.
    Waiting {
        place: Place,
        limit: Pin<Box<Sleep>>,
        /// It ended its requests; the limit is the shorter one since.
        half_closed: bool,
    },
    /// The partner is there, its requests not yet in our hands.
    Joined,
    Forwarding(Box<Relay>),
    /// The partner ended its requests and this half was told; it may go on sending.
    HalfClosed,
    /// A GOAWAY is to be said before the status: Python peers clean up at once when they read it,
    /// whatever the status is.
    Farewell(Status),
    Trailers(Status),
    Done,
}

pub(crate) struct Outbound {
    core: Arc<Core>,
    tunnel: Arc<Tunnel>,
    seat: Seat,
    stage: Stage,
}

impl Outbound {
    /// For the half that came first.
    pub(crate) fn waiting(core: Arc<Core>, tunnel: Arc<Tunnel>, place: Place) -> Self {
        let limit = Box::pin(tokio::time::sleep(core.config.wait_limit));
        Self { core, tunnel, seat: Seat::First, stage: Stage::Waiting { place, limit, half_closed: false } }
    }

    /// For the half that found its partner waiting.
    pub(crate) fn joined(core: Arc<Core>, tunnel: Arc<Tunnel>) -> Self {
        Self { core, tunnel, seat: Seat::Second, stage: Stage::Joined }
    }

    /// Waits until the partner is there or there is no more reason to wait.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Stage> {
        let Stage::Waiting { place, limit, half_closed } = &mut self.stage else {
            unreachable!("called in this stage only")
        };
        let place = *place;
        let (stage, outcome) = {
            let mut halves = self.tunnel.halves();
            if halves.at(self.seat.other()).present {
                return Poll::Ready(Stage::Joined);
            }
            let half = halves.at(self.seat);
            half.watch(cx);
            if let Some(order) = half.order.take() {
                return Poll::Ready(match order {
                    Order::End => Stage::Farewell(ok()),
                    Order::Refuse(status) => Stage::Farewell(status),
                    Order::Blame(status) => Stage::Trailers(status),
                });
            }
            let end = match &mut half.input {
                Some(input) => input.poll_end(cx),
                None => Poll::Pending,
            };
            if end == Poll::Ready(InputEnd::Finished) && !*half_closed {
                *half_closed = true;
                let ends = Instant::now() + self.core.config.half_closed_limit;
                let ends = ends.min(limit.deadline());
                limit.as_mut().reset(ends);
            }
            match end {
                Poll::Ready(InputEnd::Cut) => (Stage::Trailers(ok()), Outcome::Abandoned),
                // What it sent is kept for its partner meanwhile.
                Poll::Ready(InputEnd::Finished) if limit.as_mut().poll(cx).is_ready() => {
                    (Stage::Trailers(ok()), Outcome::HalfClosed)
                }
                Poll::Pending if limit.as_mut().poll(cx).is_ready() => (Stage::Farewell(ok()), Outcome::Lapsed),
                Poll::Ready(InputEnd::Finished) | Poll::Pending => return Poll::Pending,
            }
        };
        if self.core.leave(&self.tunnel.stream, place).is_some() {
            self.tunnel.ends(outcome);
            Poll::Ready(stage)
        } else {
            // Just joined, or ordered to end: whoever did it will wake us.
            Poll::Pending
        }
    }

    /// Takes the partner's requests over.
    fn poll_joined(&mut self, cx: &mut Context<'_>) -> Poll<Stage> {
        let mut halves = self.tunnel.halves();
        halves.at(self.seat).watch(cx);
        match halves.at(self.seat.other()).input.take() {
            Some(input) => {
                Poll::Ready(Stage::Forwarding(Box::new(Relay::new(input, self.core.config.max_message_bytes))))
            }
            None => Poll::Pending,
        }
    }

    /// Passes on the next bytes, or finds the end of them.
    fn poll_forwarding(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Stage>> {
        let Stage::Forwarding(relay) = &mut self.stage else { unreachable!("called in this stage only") };
        let other = self.seat.other();
        let (order, partner_gone, partner_side) = {
            let mut halves = self.tunnel.halves();
            let half = halves.at(self.seat);
            half.watch(cx);
            let order = half.order.take();
            let partner = halves.at(other);
            (order, partner.gone, partner.side)
        };
        let end = match order {
            Some(Order::Blame(status)) => return Poll::Ready(Err(Stage::Trailers(status))),
            Some(Order::Refuse(_) | Order::End) => RelayEnd::Cut,
            None => match relay.poll_chunk(cx) {
                Poll::Ready(Ok(chunk)) => {
                    self.tunnel.count(other, partner_side, chunk.len());
                    return Poll::Ready(Ok(chunk));
                }
                Poll::Ready(Err(end)) => end,
                // What it sent before it left has been passed on; nothing can follow.
                Poll::Pending if partner_gone => RelayEnd::Cut,
                Poll::Pending => return Poll::Pending,
            },
        };
        let scanner = relay.scanner();
        let (at_border, said_goodbye) = (scanner.at_border(), scanner.saw_goaway());
        match end {
            RelayEnd::Finished => self.tunnel.change(other, |partner| partner.finished = true),
            RelayEnd::Cut => {}
            RelayEnd::Faulty(fault) => {
                self.tunnel.ends(Outcome::Faulty);
                let status = Status::new(Code::InvalidArgument, fault.to_string());
                self.tunnel.change(other, |partner| partner.order = Some(Order::Blame(status)));
            }
        }
        Poll::Ready(Err(match (at_border, end) {
            (false, _) => Stage::Trailers(Status::new(Code::Unavailable, CUT_SHORT)),
            (true, RelayEnd::Finished) if said_goodbye => Stage::HalfClosed,
            (true, RelayEnd::Finished) => return Poll::Ready(Ok(self.goaway_then(Stage::HalfClosed))),
            (true, RelayEnd::Cut | RelayEnd::Faulty(_)) if said_goodbye => Stage::Trailers(ok()),
            (true, RelayEnd::Cut | RelayEnd::Faulty(_)) => Stage::Farewell(ok()),
        }))
    }

    /// Waits for this half to end its requests as well.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<Stage> {
        let mut halves = self.tunnel.halves();
        let partner_gone = halves.at(self.seat.other()).gone;
        let half = halves.at(self.seat);
        half.watch(cx);
        match half.order.take() {
            Some(Order::Blame(status)) => Poll::Ready(Stage::Trailers(status)),
            Some(Order::Refuse(_) | Order::End) => Poll::Ready(Stage::Trailers(ok())),
            None if half.finished || partner_gone => Poll::Ready(Stage::Trailers(ok())),
            None => Poll::Pending,
        }
    }

    /// A GOAWAY, with `stage` to follow.
    fn goaway_then(&mut self, stage: Stage) -> Bytes {
        self.stage = stage;
        Bytes::from_static(GOAWAY)
    }
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            let next = match &this.stage {
                Stage::Waiting { .. } => ready!(this.poll_waiting(cx)),
                Stage::Joined => ready!(this.poll_joined(cx)),
                Stage::Forwarding(_) => match ready!(this.poll_forwarding(cx)) {
                    Ok(chunk) => return data(chunk),
                    Err(stage) => stage,
                },
                Stage::HalfClosed => ready!(this.poll_half_closed(cx)),
                Stage::Farewell(status) => {
                    let status = status.clone();
                    return data(this.goaway_then(Stage::Trailers(status)));
                }
                Stage::Trailers(status) => {
                    let trailers = trailers(status);
                    this.stage = Stage::Done;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Stage::Done => return Poll::Ready(None),
            };
            this.stage = next;
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if let Stage::Waiting { place, .. } = self.stage {
            drop(self.core.leave(&self.tunnel.stream, place));
        }
        if self.seat == Seat::Second {
            self.core.forget(&self.tunnel);
        }
        self.tunnel.halves().at(self.seat).gone = true;
        self.tunnel.change(self.seat.other(), |_| ());
    }
}

fn ok() -> Status {
    Status::new(Code::Ok, "")
}

fn data(chunk: Bytes) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
    Poll::Ready(Some(Ok(Frame::data(chunk))))
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    if status.add_header(&mut trailers).is_err() {
        // Our own texts always fit into a header.
        trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("13"));
    }
    trailers
}

#[cfg(test)]
mod tests;
