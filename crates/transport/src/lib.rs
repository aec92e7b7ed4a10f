//! Sockets, TLS and HTTP/2 with the numbers that the rest relies on: how we listen, serve and connect.
//!
//! * [`listen`]: TCP and Unix listeners, inherited ones included.
//! * [`tls`]: the certificate that we present, made by ourselves or brought by the operator, reloaded while serving.
//! * [`serve`]: one tower service behind many listeners, HTTP/1.1 and HTTP/2, with limits and a graceful end.
//! * [`connect`]: channels of our own clients and exporters.
//! * [`direct`]: from a client to an exporter without a router.
//!
//! Facts come from `reference/protocol.md` §9.

pub mod connect;
pub mod direct;
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

/// Room for one stream's bytes that nobody has read yet, when we serve and the peer is near: small, because a reader
/// that is slow makes the router keep as much.
pub const SERVER_STREAM_WINDOW: u32 = 256 * 1024;
/// The same at most, for peers that are far.
pub const LONGEST_STREAM_WINDOW: u32 = 8 * 1024 * 1024;
/// What one stream can fill, whatever the round trip (up to [`LONGEST_STREAM_WINDOW`]): 1 Gbit/s, in bytes a second.
pub const FILLED_RATE: u32 = 125_000_000;
/// The same for our clients and exporters, which have few streams and do not know how far the peer is: 1 Gbit/s and
/// 30 ms, given that room is given back only when half of a window was read.
pub const CLIENT_STREAM_WINDOW: u32 = 8 * 1024 * 1024;
/// Room for all streams of a connection. h2 gives unread frames below 256 bytes a budget of half of it and ends the
/// connection with `ENHANCE_YOUR_CALM` beyond. 32 times the longest window of a stream: flow control stops a sender of
/// frames of 16 bytes first even there, and one of single bytes where windows are near ones. More than the windows of
/// 256 near streams together, so that readers that are slow never stop others on their connection.
pub const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;
/// Larger frames pay more than anything else in the data plane.
pub const MAX_FRAME_SIZE: u32 = 64 * 1024;
/// Bound on the headers of one message. Tokens have up to 8 KiB; what is larger is refused as it arrives.
pub const MAX_HEADER_LIST_SIZE: u32 = 32 * 1024;

/// Bytes that may wait in the kernel to be sent for the first time. They wait in front of everything that comes later:
/// a console's answer behind a flash image. Bytes under way are not among them, so that long links still fill.
const UNSENT: u32 = 128 * 1024;

/// Time for a peer's system to acknowledge what was sent. A peer that is gone without a word is given up after it, and
/// pings see to it that there is always something to acknowledge; a slow link that is full goes on acknowledging, while
/// its answers to pings wait behind everything that was sent before.
const UNACKNOWLEDGED: std::time::Duration = std::time::Duration::from_secs(20);

/// Gives up on peers that are gone. Fails as [`keep_unsent_small`] does.
fn give_up_the_gone(stream: &tokio::net::TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// Keeps the queue in front of the network short. Fails only on a dead socket, which reading reports, or where the
/// system has no such setting.
fn keep_unsent_small(stream: &tokio::net::TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}
