//! Connections from a client straight to an exporter, without a router between.
//!
//! The controller tells the client where the exporter listens, the SHA-256 of its certificate, and a [`Ticket`]; it
//! tells the exporter the ticket's digest. Then, over TLS 1.3 with the protocol [`ALPN`]:
//!
//! 1. the client goes on only with a peer that has the key of exactly that certificate; names and dates in it mean
//!    nothing,
//! 2. it sends the 32 bytes of the ticket,
//! 3. the exporter answers one byte, [`LET_IN`] or [`REFUSED`],
//! 4. the client answers one byte, [`COMING`]. From here on both have the same idea of the way: one that gave up waiting
//!    for step 3 has closed the connection instead, and comes by the router.
//!
//! What follows are the bytes of the session, as a tunnel would carry them.

mod client;
mod server;
mod ticket;

pub use client::{DirectError, connect};
pub use server::{Arrival, DirectServer};
pub use ticket::{Digest, Ticket};

/// The protocol that both sides must select.
pub const ALPN: &[u8] = b"jumpstarter-direct/1";
/// The exporter's answer to a good ticket.
const LET_IN: u8 = 1;
/// Its answer to any other.
const REFUSED: u8 = 0;
/// The client's last word before the session.
const COMING: u8 = 2;

/// The bytes of a session.
pub type DirectStream = tokio_rustls::TlsStream<tokio::net::TcpStream>;

/// Keeps an idle connection honest: a peer that is gone is noticed after about a minute.
fn tend(stream: &tokio::net::TcpStream) {
    use std::time::Duration;
    // Fails only on a dead socket, which reading reports.
    let _ = stream.set_nodelay(true);
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&probes);
    crate::keep_unsent_small(stream);
    crate::give_up_the_gone(stream);
}
