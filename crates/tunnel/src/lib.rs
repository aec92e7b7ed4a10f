//! A byte stream carried in the frames of `RouterService.Stream`.
//!
//! [`Tunnel`] is an ordinary `AsyncRead + AsyncWrite` over the body of a request and of its answer; [`open`] starts one
//! as a gRPC client, [`accept`] answers one as a server. Both sides of a router, and both ends of a driver stream, use
//! the same type. Payloads are cut out of the frames that bring them and are put behind headers that are written in
//! place: nothing is encoded, decoded or gathered by copying.

mod accept;
mod connector;
mod inbound;
mod join;
mod open;
mod outbound;
mod tunnel;
mod wire;

pub use accept::accept;
pub use connector::{ConnectError, Connector};
pub use join::{join, join_halves};
pub use open::{open, open_with};
pub use tunnel::{Tunnel, TunnelReader, TunnelWriter};
pub use wire::{DataMessage, MAX_CHUNK};
