//! A byte stream carried in the frames of `RouterService.Stream`.
//!
//! [`Tunnel`] turns a stream of incoming frames and a queue of outgoing ones into an ordinary
//! `AsyncRead + AsyncWrite`; [`open`] starts one as a gRPC client. Both sides of a router, and both
//! ends of a driver stream, use the same type.

mod connector;
mod frame;
mod io;
mod open;

pub use connector::{ConnectError, Connector};
pub use frame::Frame;
pub use io::{MAX_CHUNK, QUEUE, Tunnel, join};
pub use open::{open, open_with};
