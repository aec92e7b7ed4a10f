//! Who may speak: identity tokens of clients and exporters, and the tickets that open router streams.
//!
//! Every check takes `now` as an argument, so equal inputs give equal verdicts. Key material and tokens live in types
//! that do not print. Facts of the wire come from `reference/protocol.md` §2 and §3.

pub mod bearer;
pub mod fuzzing;
pub mod key_file;
pub mod public_key;
pub mod ring;
pub mod router_status;
pub mod secret;
pub mod signing;
pub mod ticket;
pub mod token;
pub mod verified;

mod jwt;

pub use bearer::{BearerError, bearer_token};
pub use key_file::KeyError;
pub use public_key::{KeyId, VerifyingKey};
pub use ring::{KeyRing, KeyUse, RetiredKey, RingError, TokenKey, TrustedKey};
pub use secret::{SecretBytes, SecretString, constant_time_eq};
pub use signing::SigningKey;
pub use ticket::{Side, Ticket, TicketError, TicketIssuer, TicketKey, TicketKeys, TicketVerifier};
pub use token::{Claims, IssuedToken, TokenError, TokenIssuer};
pub use verified::VerifiedTokens;
