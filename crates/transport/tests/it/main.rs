//! Real sockets: TLS, limits, draining, dead peers, and a real Python peer.

#![expect(clippy::disallowed_methods, reason = "the tasks of a test end with its runtime")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod client;
mod direct;
mod kit;
mod lifetime;
mod limits;
mod listen;
mod python;
mod serve;
mod tls;
