//! Sizes and times of a server.

use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;

use crate::{CONNECTION_WINDOW, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, SERVER_STREAM_WINDOW};

/// What one peer may take from a server. The default holds for controller and router alike.
///
/// How often a peer pings us is not limited: neither hyper nor h2 tells of pings, and h2 holds one answer at a time, so
/// they cost no memory. Servers that count them (gRPC's `too_many_pings`) cut idle streams of peers that mean well.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Connections at one time; further ones are closed at once, which clients answer with a retry.
    pub max_connections: usize,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time from the handshake to the first 24 bytes of HTTP, and for the headers of an HTTP/1.1 request.
    pub request_timeout: Duration,
    /// Silence of an HTTP/2 peer after which we ask whether it is alive.
    pub keepalive_interval: Duration,
    /// Time for its answer, which on a slow link comes after everything that was sent before: a megabyte and a half in
    /// the queue of a home router is 12 s at 1 Mbit/s. Bounds how long a process that hangs goes unnoticed; a machine or a
    /// link that is gone is noticed after the interval and 20 s, since nothing is acknowledged any more.
    pub keepalive_timeout: Duration,
    /// How long a connection may be without a call before its peer is told to go (GOAWAY); forever when absent.
    pub max_connection_idle: Option<Duration>,
    /// How old a connection may get, a tenth more or less, before its peer is told to open another one; forever when
    /// absent.
    pub max_connection_age: Option<Duration>,
    /// What calls in flight get once a connection is too old, before they are cut; forever when absent.
    pub max_connection_age_grace: Option<Duration>,
    /// Requests in flight on one connection.
    pub max_concurrent_streams: u32,
    /// Unread bytes of one stream. On a connection whose handshake showed a long way to the peer it is what
    /// [`FILLED_RATE`](crate::FILLED_RATE) needs, up to [`LONGEST_STREAM_WINDOW`](crate::LONGEST_STREAM_WINDOW) and while
    /// there are not too many such peers; the connection's window is [`CONNECTION_WINDOW`].
    pub stream_window: u32,
    /// Largest frame that we accept.
    pub max_frame_size: u32,
    /// Largest header block that we accept.
    pub max_header_list_size: u32,
    /// Bytes of one stream that wait for the peer to read.
    pub send_buffer: usize,
    /// Time for requests in flight when the server stops.
    pub drain_grace: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            max_connections: 16 * 1024,
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_mins(1),
            max_connection_idle: None,
            max_connection_age: None,
            max_connection_age_grace: None,
            max_concurrent_streams: 256,
            stream_window: SERVER_STREAM_WINDOW,
            max_frame_size: MAX_FRAME_SIZE,
            max_header_list_size: MAX_HEADER_LIST_SIZE,
            send_buffer: 256 * 1024,
            drain_grace: Duration::from_secs(10),
        }
    }
}

impl ServeLimits {
    /// hyper's builder with these numbers, and at least `far` bytes for each stream.
    pub(super) fn builder<E>(&self, executor: E, far: u32) -> auto::Builder<E> {
        let Self {
            max_connections: _,
            handshake_timeout: _,
            request_timeout,
            keepalive_interval,
            keepalive_timeout,
            max_connection_idle: _,
            max_connection_age: _,
            max_connection_age_grace: _,
            max_concurrent_streams,
            stream_window,
            max_frame_size,
            max_header_list_size,
            send_buffer,
            drain_grace: _,
        } = *self;
        let mut builder = auto::Builder::new(executor);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(request_timeout)
            .max_buf_size(usize::max(max_header_list_size as usize, 8 * 1024));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(keepalive_interval)
            .keep_alive_timeout(keepalive_timeout)
            .max_concurrent_streams(max_concurrent_streams)
            .initial_stream_window_size(stream_window.max(far))
            .initial_connection_window_size(CONNECTION_WINDOW.max(stream_window))
            .max_frame_size(max_frame_size)
            .max_header_list_size(max_header_list_size)
            .max_send_buf_size(send_buffer)
            // Clients that give up many calls at once are not attackers yet.
            .max_pending_accept_reset_streams(64);
        builder
    }
}
