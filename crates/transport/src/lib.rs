//! Sockets, TLS and HTTP/2 with the numbers that the rest relies on: how we listen, serve and connect.
//!
//! * [`listen`]: TCP and Unix listeners, inherited ones included.
//! * [`tls`]: the certificate that we present, made by ourselves or brought by the operator, reloaded while serving.
//! * [`serve`]: one tower service behind many listeners, HTTP/1.1 and HTTP/2, with limits and a graceful end.
//! * [`connect`]: channels of our own clients and exporters.
//!
//! Facts come from `reference/protocol.md` §9.

pub mod connect;
pub mod listen;
pub mod serve;
pub mod tls;

mod endpoint;

pub use connect::{ChannelOptions, ChannelTls, ConnectError};
pub use endpoint::{DEFAULT_PORT, Endpoint, EndpointError};
pub use listen::{BindOptions, ListenError, Listener};
pub use serve::{PeerAddr, ServeCounters, ServeLimits, Server};
pub use tls::{OwnCa, ServingTls, TlsError};

/// Makes aws-lc-rs the process's TLS provider. Harmless when it already is; call it first in `main` and in tests.
pub fn install_crypto_provider() {
    // An error only says that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Room for one stream's bytes that nobody has read yet, when we serve: small, because thousands of tunnels idle.
pub const SERVER_STREAM_WINDOW: u32 = 256 * 1024;
/// The same for our clients and exporters, which have few streams and want throughput.
pub const CLIENT_STREAM_WINDOW: u32 = 1024 * 1024;
/// Connection window over stream window. h2 gives small unread frames a budget of half the connection window and ends
/// the connection with `ENHANCE_YOUR_CALM` beyond it; 32 × lets flow control stop the sender first.
pub const WINDOW_RATIO: u32 = 32;
/// Larger frames pay more than anything else in the data plane.
pub const MAX_FRAME_SIZE: u32 = 64 * 1024;
/// Bound on the headers of one message. Tokens have up to 8 KiB; what is larger is refused as it arrives.
pub const MAX_HEADER_LIST_SIZE: u32 = 32 * 1024;
