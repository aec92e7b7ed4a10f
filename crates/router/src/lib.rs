//! The data plane: joins the two halves of a tunnel and moves their bytes.
//!
//! Each peer of a tunnel opens `jumpstarter.v1.RouterService/Stream` with a ticket. [`pairing`]
//! decides which two calls belong together; from then on the response body of either call *is* the
//! request body of the other, frame by frame as it arrives. Messages are not decoded: a
//! [`scanner`] keeps sight of their borders so that an end can be told from a cut. HTTP/2 flow
//! control is the only buffer, no task is spawned, and everything that happens on a stream happens
//! when its own response is polled.
//!
//! What a peer sees when the other side stops:
//!
//! | the other side | this side gets |
//! |---|---|
//! | ended its requests | a GOAWAY frame (its own, or ours in its place); the call stays open until this side ends, too |
//! | was cut or cancelled | GOAWAY, then status `OK`, at once |
//! | was cut in the middle of a message | status `UNAVAILABLE`: half a message is out already, so nothing but an error can follow it honestly |
//! | never came | `OK` once this side has ended its requests for [`Config::half_closed_limit`], else GOAWAY and `OK` after [`Config::wait_limit`] |
//!
//! [`Router`] is the handle: mount [`Router::into_axum_router`] beside other services, call
//! [`Router::shut_down`] to end.

mod config;
mod input;
mod metrics;
mod outbound;
pub mod pairing;
mod refusal;
mod relay;
mod router;
pub mod scanner;
mod service;
mod status;
mod ticket;
mod tunnel;

pub use config::Config;
pub use jumpstarter_auth::Side;
pub use metrics::Stats;
pub use refusal::Refusal;
pub use router::Router;
pub use ticket::{StreamId, StreamTicket, TicketCheck};
