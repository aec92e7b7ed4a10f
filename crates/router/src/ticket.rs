//! What a router wants to know of a ticket.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jumpstarter_auth::{Side, TicketError, TicketVerifier};

use crate::Refusal;

/// The side that belongs to `side`.
pub(crate) fn opposite(side: Side) -> Side {
    match side {
        Side::Client => Side::Exporter,
        Side::Exporter => Side::Client,
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
    /// [`Refusal::InvalidTicket`], [`Refusal::TicketEnded`] or [`Refusal::TicketNotYetValid`].
    fn check(&self, bearer: &str) -> Result<StreamTicket, Refusal>;

    /// Verifies the bearer token of who wants to watch the router. Nobody may, unless this is implemented.
    ///
    /// # Errors
    /// As [`TicketCheck::check`].
    fn check_status(&self, bearer: &str) -> Result<(), Refusal> {
        let _ = bearer;
        Err(Refusal::InvalidTicket)
    }
}

/// By the clock of this machine.
impl TicketCheck for TicketVerifier {
    fn check(&self, bearer: &str) -> Result<StreamTicket, Refusal> {
        let ticket = self.verify(bearer, Timestamp::now()).map_err(|error| refusal(&error))?;
        Ok(StreamTicket {
            stream_id: StreamId::new(&ticket.stream_id),
            side: ticket.side,
            // A ticket without a name of its own is the only one of its stream.
            one_use_id: ticket.jti.unwrap_or(ticket.stream_id),
            expires_at: ticket.expires_at,
        })
    }

    fn check_status(&self, bearer: &str) -> Result<(), Refusal> {
        self.verify_status_token(bearer, Timestamp::now()).map_err(|error| refusal(&error))
    }
}

fn refusal(error: &TicketError) -> Refusal {
    tracing::debug!(%error, "token refused");
    match error {
        TicketError::Ended(_) => Refusal::TicketEnded,
        TicketError::NotYetValid(_) => Refusal::TicketNotYetValid,
        TicketError::TooLarge
        | TicketError::Malformed(_)
        | TicketError::Algorithm
        | TicketError::Signature
        | TicketError::Issuer
        | TicketError::Audience => Refusal::InvalidTicket,
    }
}
