//! What the controller shows a router to be told its state. Signed with the key of the stream tickets, yet neither is
//! accepted in place of the other: issuer and audience differ.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::{KeyError, TicketError, TicketIssuer, TicketVerifier};

/// `iss` of every such token.
pub const STATUS_ISSUER: &str = "https://jumpstarter.dev/controller";
/// `aud` of every such token.
pub const STATUS_AUDIENCE: &str = "https://jumpstarter.dev/router-status";
/// How long one is good for: it is used once, at once, and clocks may differ a little.
const LIFETIME: SignedDuration = SignedDuration::from_mins(2);

#[derive(Serialize)]
struct Written<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: [&'a str; 1],
    exp: i64,
    iat: i64,
    jti: String,
}

impl TicketIssuer {
    /// A token for watching the state of a router, good from `now` for two minutes.
    ///
    /// # Errors
    /// Only when the cryptographic library refuses to sign, which no input causes.
    pub fn issue_status_token(&self, now: Timestamp) -> Result<String, KeyError> {
        let iat = now.as_second();
        self.sign(&Written {
            iss: STATUS_ISSUER,
            sub: "controller",
            aud: [STATUS_AUDIENCE],
            exp: iat.saturating_add(LIFETIME.as_secs()).min(Timestamp::MAX.as_second()),
            iat,
            jti: Uuid::new_v4().to_string(),
        })
    }
}

impl TicketVerifier {
    /// Checks a token for watching the state of a router.
    ///
    /// # Errors
    /// Every error means UNAUTHENTICATED.
    pub fn verify_status_token(&self, token: &str, now: Timestamp) -> Result<(), TicketError> {
        self.claims(token, now, STATUS_ISSUER, STATUS_AUDIENCE).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Side, TicketKey, TicketKeys};

    fn keys(text: &str) -> TicketKeys {
        TicketKeys::new(TicketKey::from_bytes(text).unwrap())
    }

    #[test]
    fn neither_token_does_for_the_other() {
        let keys = keys("the one key");
        let (issuer, verifier) = (TicketIssuer::new(&keys), TicketVerifier::new(&keys));
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        let token = issuer.issue_status_token(now).unwrap();
        assert_eq!(verifier.verify_status_token(&token, now), Ok(()));
        assert_eq!(verifier.verify(&token, now), Err(TicketError::Issuer));
        let ticket = issuer.issue(Uuid::new_v4(), Side::Client, SignedDuration::from_mins(5), now).unwrap();
        assert_eq!(verifier.verify_status_token(&ticket, now), Err(TicketError::Issuer));
    }

    #[test]
    fn it_ends_soon_and_only_the_shared_key_makes_it() {
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        let token = TicketIssuer::new(&keys("old")).issue_status_token(now).unwrap();
        let verifier = TicketVerifier::new(&keys("new").accepting(TicketKey::from_bytes("old").unwrap()));
        assert_eq!(verifier.verify_status_token(&token, now), Ok(()), "rotation overlaps");
        let later = now + LIFETIME;
        assert_eq!(verifier.verify_status_token(&token, later), Err(TicketError::Ended(later)));
        let stranger = TicketVerifier::new(&keys("new"));
        assert_eq!(stranger.verify_status_token(&token, now), Err(TicketError::Signature));
    }
}
