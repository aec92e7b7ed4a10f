//! Why a call is not let in, and what its caller is told.

use tonic::{Code, Status};

/// Why a half was refused. No text says `expired`: clients take that as a reason to log in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No `authorization` metadata.
    #[error("no stream ticket: send it as `authorization: Bearer <ticket>`")]
    NoTicket,
    /// Several `authorization` values, another scheme than Bearer, or no text.
    #[error("malformed stream ticket: send exactly one `authorization: Bearer <ticket>`")]
    MalformedTicket,
    /// Not signed by the controller of this router, or not for routers.
    #[error("invalid stream ticket: dial again, and check that controller and router share their key")]
    InvalidTicket,
    /// Past its time.
    #[error("this stream ticket is too old: dial again for a new one")]
    TicketEnded,
    /// Issued by a controller whose clock is ahead.
    #[error("this stream ticket is not valid yet: check the clocks of controller and router")]
    TicketNotYetValid,
    /// Its use is spent.
    #[error("this stream ticket was used before: dial again for a new one")]
    Replayed,
    /// The other half that waits has the same side.
    #[error("this side of the stream is already taken: dial again for a new stream")]
    SideTaken,
    /// One half names its side, the other does not.
    #[error("this stream ticket does not fit the one of the other side: dial again for a new stream")]
    SidesMixed,
    /// [`Config::max_streams`](crate::Config::max_streams).
    #[error("this router is full: try again later, or another router")]
    TooManyStreams,
    /// [`Config::max_waiting`](crate::Config::max_waiting).
    #[error("too many streams wait for their partner: try again later")]
    TooManyWaiting,
    /// [`Config::max_waiting_per_connection`](crate::Config::max_waiting_per_connection).
    #[error("too many streams of this connection wait for their partner: try again later")]
    TooManyWaitingOnConnection,
    /// [`Config::max_used_tickets`](crate::Config::max_used_tickets).
    #[error("this router remembers as many tickets as it can: try again later")]
    TooManyTickets,
    /// The router is about to stop.
    #[error("this router is shutting down: dial again")]
    Draining,
    /// Messages that are compressed by gRPC.
    #[error("compressed messages are not passed on: use grpc-encoding identity")]
    Encoding,
}

impl Refusal {
    /// Every reason, for metrics that start at nought.
    pub(crate) const ALL: [Self; 14] = [
        Self::NoTicket,
        Self::MalformedTicket,
        Self::InvalidTicket,
        Self::TicketEnded,
        Self::TicketNotYetValid,
        Self::Replayed,
        Self::SideTaken,
        Self::SidesMixed,
        Self::TooManyStreams,
        Self::TooManyWaiting,
        Self::TooManyWaitingOnConnection,
        Self::TooManyTickets,
        Self::Draining,
        Self::Encoding,
    ];

    /// A short name for logs and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoTicket => "no_ticket",
            Self::MalformedTicket => "malformed_ticket",
            Self::InvalidTicket => "invalid_ticket",
            Self::TicketEnded => "ticket_ended",
            Self::TicketNotYetValid => "ticket_not_yet_valid",
            Self::Replayed => "replayed_ticket",
            Self::SideTaken => "side_taken",
            Self::SidesMixed => "sides_mixed",
            Self::TooManyStreams => "too_many_streams",
            Self::TooManyWaiting => "too_many_waiting",
            Self::TooManyWaitingOnConnection => "too_many_waiting_on_connection",
            Self::TooManyTickets => "too_many_tickets",
            Self::Draining => "draining",
            Self::Encoding => "encoding",
        }
    }

    /// What the caller is answered.
    pub(crate) fn status(self) -> Status {
        let code = match self {
            Self::NoTicket
            | Self::MalformedTicket
            | Self::InvalidTicket
            | Self::TicketEnded
            | Self::TicketNotYetValid
            | Self::Replayed
            | Self::SideTaken
            | Self::SidesMixed => Code::Unauthenticated,
            Self::TooManyStreams | Self::TooManyWaiting | Self::TooManyWaitingOnConnection | Self::TooManyTickets => {
                Code::ResourceExhausted
            }
            Self::Draining => Code::Unavailable,
            Self::Encoding => Code::Unimplemented,
        };
        Status::new(code, self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_a_client_log_in_again() {
        for refusal in Refusal::ALL {
            let text = refusal.to_string();
            assert!(!text.to_lowercase().contains("expired"), "{text}");
        }
    }
}
