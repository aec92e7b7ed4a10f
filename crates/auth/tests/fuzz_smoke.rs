//! The fuzz bodies on a corpus and on what becomes of it, for toolchains without a fuzzer.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use jiff::{SignedDuration, Timestamp};
use jumpstarter_auth::{KeyRing, SigningKey, TokenIssuer, fuzzing};
use proptest::prelude::*;

const BODIES: [fn(&[u8]); 3] = [fuzzing::token, fuzzing::jwks, fuzzing::key_ring];

/// Good ones of each kind.
fn corpus() -> Vec<String> {
    let now = Timestamp::UNIX_EPOCH;
    let hour = SignedDuration::from_hours(1);
    let mut ring = KeyRing::generate(now).unwrap();
    ring.rotate(now, hour).unwrap();
    ring.trust("old", vec![SigningKey::generate().unwrap().verifying_key().clone()], now + hour, now).unwrap();
    let token = TokenIssuer::with_ring(ring.clone()).issue("client:a:b:c", now).unwrap();
    vec![
        token.token.into_exposed(),
        ring.jwks(now).to_string(),
        ring.to_json(),
        SigningKey::generate().unwrap().to_pem(),
    ]
}

#[test]
fn the_corpus() {
    for text in corpus().iter().map(String::as_str).chain(["", ".", "..", "{}", r#"{"keys":[{}]}"#, r#"{"version":1}"#])
    {
        for body in BODIES {
            body(text.as_bytes());
        }
    }
    for body in BODIES {
        body("[".repeat(60_000).as_bytes());
        body(".".repeat(1 << 20).as_bytes());
        body(&[0xff; 64]);
    }
}

proptest! {
    #[test]
    fn changed_ones(which in 0usize..4, at in 0usize..4000, with in prop::collection::vec(any::<u8>(), 0..8), drop in 0usize..8) {
        let mut data = corpus().swap_remove(which).into_bytes();
        let at = at % data.len();
        data.splice(at..(at + drop).min(data.len()), with);
        for body in BODIES {
            body(&data);
        }
    }

    #[test]
    fn random_bytes(data in prop::collection::vec(any::<u8>(), 0..80)) {
        for body in BODIES {
            body(&data);
        }
    }
}
