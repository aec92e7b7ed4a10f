//! Limits of a router.

use std::time::Duration;

/// The longest that a message may be: what every peer accepts by default (4 MiB).
const MAX_MESSAGE_BYTES: u32 = 4 * 1024 * 1024;

/// How many streams a router takes, and how long it waits.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tunnels that may exist at once, waiting or open.
    pub max_streams: usize,
    /// Halves that may wait for their partner at once.
    pub max_waiting: usize,
    /// The same for one connection, so that one peer cannot take every place.
    pub max_waiting_per_connection: usize,
    /// How long a half waits for its partner unless it ends its requests before. Must be longer than
    /// any beforeLease hook may last, since exporters join only afterwards.
    pub wait_limit: Duration,
    /// How long a half that ended its requests while it waited is still there for its partner. Long enough for a peer that
    /// asks, closes its side and waits for the answer; short, since a Python exporter whose local server tired of waiting
    /// looks the same, and its partner never comes. No longer than [`Config::wait_limit`] in any case.
    pub half_closed_limit: Duration,
    /// How long open streams may go on after [`Router::shut_down`](crate::Router::shut_down) began.
    pub drain_grace: Duration,
    /// The longest message that is passed on, in bytes.
    pub max_message_bytes: u32,
    /// Used tickets that are remembered; each until it would no longer be accepted anyway. When
    /// all places are taken, new streams are refused.
    pub max_used_tickets: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: 16_384,
            max_waiting: 4_096,
            max_waiting_per_connection: 256,
            // Longer than tickets live (30 min), so that a half never leaves while its partner may still come.
            wait_limit: Duration::from_mins(35),
            // Three times what a Python client waits for the whole set-up of a tunnel (20 s).
            half_closed_limit: Duration::from_mins(1),
            drain_grace: Duration::from_mins(5),
            max_message_bytes: MAX_MESSAGE_BYTES,
            // 250 streams a second through the half hour that a ticket lives; some 80 MB when full.
            max_used_tickets: 2 * 250 * 1_800,
        }
    }
}
