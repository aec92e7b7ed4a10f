//! What a router wants to know of a ticket.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::Refusal;

/// Which end of a tunnel a half is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The half of the client that dialled.
    Client,
    /// The half of the exporter that was told of the dial.
    Exporter,
}

impl Side {
    /// The side that belongs to it.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Exporter,
            Self::Exporter => Self::Client,
        }
    }
}

/// The name of a tunnel; both halves bring the same.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// The stream named `id` in a verified ticket.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A verified ticket.
#[derive(Debug, Clone)]
pub struct StreamTicket {
    /// The tunnel that it opens.
    pub stream_id: StreamId,
    /// The side that it is for. Tickets of issuers that know no sides are for either, and such a
    /// ticket may be used twice: once by each peer.
    pub side: Option<Side>,
    /// What makes this ticket unlike others: it is not accepted again.
    pub one_use_id: String,
    /// The instant from which [`TicketCheck`] refuses it.
    pub expires_at: Timestamp,
}

/// Verifies tickets. Called once for each call that is opened.
pub trait TicketCheck: Send + Sync {
    /// Verifies the bearer token `bearer`.
    ///
    /// # Errors
    /// [`Refusal::Expired`] or [`Refusal::InvalidTicket`].
    fn check(&self, bearer: &str) -> Result<StreamTicket, Refusal>;
}
