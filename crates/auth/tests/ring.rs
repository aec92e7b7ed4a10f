//! Rings: rotation, keys of others, and the stored form.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey};
use jumpstarter_auth::ring::MAX_KEYS;
use jumpstarter_auth::{KeyRing, KeyUse, RingError, SigningKey, TokenError, TokenIssuer, VerifyingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

const SUBJECT: &str = "client:default:alice:6f2c2f5e-5a4f-4f6c-9c5e-1d1c7a2f3b4a";
const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn ring() -> KeyRing {
    KeyRing::generate(now()).unwrap()
}

fn token(ring: &KeyRing) -> String {
    TokenIssuer::with_ring(ring.clone()).issue(SUBJECT, now()).unwrap().token.into_exposed()
}

fn verify(ring: &KeyRing, token: &str, at: Timestamp) -> Result<KeyUse, TokenError> {
    TokenIssuer::with_ring(ring.clone()).verify(token, at).map(|claims| claims.key.role.clone())
}

fn public() -> VerifyingKey {
    SigningKey::generate().unwrap().verifying_key().clone()
}

/// Keys that the existing controller derives (kubernetes.md §6.2): its `CONTROLLER_KEY`, `d` and `X`.
const VECTORS: [(&str, &str, &str); 3] = [
    (
        "",
        "7e774bdbd9fef761436ed3986dda3f9c91fc3c92ea0e91dbbf5615d2111cf4d2",
        "399b0e6c143008ed92bb25b818ca92f7fc3348470dc0e2ac532aacf827f193a0",
    ),
    (
        "test-seed-value",
        "7ffc36268b25a07c946fd244243e002549d84addea020143efb383ff60567eb0",
        "d4a0f6414f3264896e728c71aa5ec8ba228ea32306aa43a54d8d39f819d0b111",
    ),
    (
        "somerandomkey",
        "86efef273ea25d933e15b66f9a709aff87f7d8ddc93ebc9d7daf3d95ba3c3ac4",
        "b4e38113a013d3a41a53f11b073099b517804d6c37f4e7bbac86999328070520",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The SEC 1 private key of a scalar.
fn from_scalar(d: &[u8]) -> SigningKey {
    let prime256v1 = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let der = [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20], d, &prime256v1[..]].concat();
    SigningKey::from_pem(pem::encode(&pem::Pem::new("EC PRIVATE KEY", der)).as_bytes()).unwrap()
}

/// A token as the existing controller writes it: no `kid`.
fn token_without_kid(key: &SigningKey, issued: Timestamp) -> String {
    let der = pem::parse(key.to_pem()).unwrap().into_contents();
    let claims = json!({"iss": "https://localhost:8085", "sub": SUBJECT, "aud": ["jumpstarter"],
        "exp": issued.as_second() + 43800 * 3600, "iat": issued.as_second()});
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(r#"{"alg":"ES256","typ":"JWT"}"#), encode(&claims.to_string()));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_ec_der(&der), Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn tokens_of_the_existing_controller_count_until_the_date_and_no_longer() {
    for (name, d, x) in VECTORS {
        let theirs = from_scalar(&bytes(d));
        let entry = theirs.verifying_key().jwks_entry();
        assert_eq!(entry["x"], URL_SAFE_NO_PAD.encode(bytes(x)), "{name:?}");
        let document = json!({"keys": [{"use": "sig", "kty": "EC", "kid": "default", "crv": "P-256", "alg": "ES256",
            "x": entry["x"], "y": entry["y"]}]});
        let token = token_without_kid(&theirs, now() - HOUR);

        let mut ring = ring();
        assert_eq!(verify(&ring, &token, now()), Err(TokenError::Signature), "{name:?}");
        let keys = VerifyingKey::from_jwks(&document.to_string()).unwrap();
        let until = now() + SignedDuration::from_hours(24);
        ring.trust("go-service", keys, until, now()).unwrap();
        let ring = KeyRing::parse(ring.to_json().as_bytes()).unwrap();
        let trusted = Ok(KeyUse::Trusted("go-service".to_owned()));
        assert_eq!(verify(&ring, &token, now()), trusted, "{name:?}");
        assert_eq!(verify(&ring, &token, until - SignedDuration::from_secs(1)), trusted);
        let late = verify(&ring, &token, until).unwrap_err();
        assert_eq!(late, TokenError::KeyEnded(until), "although the token is good for years");
        assert!(late.to_string().contains("token is expired"), "{late}");

        // New tokens are ours alone.
        let issued = self::token(&ring);
        assert_eq!(verify(&ring, &issued, now()), Ok(KeyUse::Signing));
        assert_eq!(verify(&KeyRing::of(theirs, now()), &issued, now()), Err(TokenError::Signature));

        let mut without = ring;
        without.untrust("go-service").unwrap();
        assert_eq!(verify(&without, &token, now()), Err(TokenError::Signature));
    }
}

#[test]
fn the_key_before_a_rotation_counts_for_the_overlap() {
    let mut ring = ring();
    let (first, first_id) = (token(&ring), ring.signing_id());
    ring.rotate(now(), HOUR).unwrap();
    let second = token(&ring);
    assert_ne!(ring.signing_id(), first_id);
    assert_eq!(ring.retired()[0].key.id(), first_id);
    assert_eq!(verify(&ring, &first, now()), Ok(KeyUse::Retired));
    assert_eq!(verify(&ring, &second, now()), Ok(KeyUse::Signing));
    assert_eq!(verify(&ring, &first, now() + HOUR), Err(TokenError::KeyEnded(now() + HOUR)));
    assert_eq!(verify(&ring, &second, now() + HOUR), Ok(KeyUse::Signing));

    ring.rotate(now(), SignedDuration::ZERO).unwrap();
    assert_eq!(verify(&ring, &second, now()), Err(TokenError::KeyEnded(now())), "no overlap");
    assert_eq!(verify(&ring, &first, now()), Ok(KeyUse::Retired), "a second rotation leaves the first overlap");
    assert_eq!(ring.jwks(now())["keys"].as_array().unwrap().len(), 2, "the signing key and one that counts");
    assert!(!ring.to_json().contains("privateKey\": null"));
    assert_eq!(ring.to_json().matches("PRIVATE KEY-----").count(), 2, "one private key: begin and end");
}

#[test]
fn a_key_id_binds_the_token_to_that_key() {
    let mut ring = ring();
    let first = token(&ring);
    ring.rotate(now(), HOUR).unwrap();
    let (_, rest) = first.split_once('.').unwrap();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": ring.signing_id()});
    let spoofed = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
    assert_eq!(verify(&ring, &spoofed, now()), Err(TokenError::Signature));
}

#[test]
fn what_cannot_be_trusted_leaves_the_ring_as_it_was() {
    let mut ring = ring();
    let other = public();
    ring.trust("old", vec![other.clone()], now() + HOUR, now()).unwrap();
    let before = ring.to_json();
    let own = TokenIssuer::with_ring(ring.clone()).ring().jwks(now());
    let own = VerifyingKey::from_jwks(&own.to_string()).unwrap();
    let many: Vec<_> = (0..=MAX_KEYS).map(|_| public()).collect();
    let rows: [(&str, Vec<VerifyingKey>, Timestamp, &str); 7] = [
        ("new", vec![public()], now(), "has passed"),
        ("", vec![public()], now() + HOUR, "no name"),
        ("Go Service", vec![public()], now() + HOUR, "no name"),
        (&"x".repeat(64), vec![public()], now() + HOUR, "no name"),
        ("new", own, now() + HOUR, "the signing key"),
        ("new", vec![public(), other.clone()], now() + HOUR, "the trusted key `old`"),
        ("new", many, now() + HOUR, "16 trusted keys"),
    ];
    for (name, keys, until, part) in rows {
        let error = ring.trust(name, keys, until, now()).unwrap_err().to_string();
        assert!(error.contains(part), "{part:?}: {error}");
        assert_eq!(ring.to_json(), before, "{part:?}");
    }
    let error = ring.untrust("new").unwrap_err().to_string();
    assert!(error.contains("`new`") && error.contains("are: old"), "{error}");

    // The same name again: another date, or other keys.
    ring.trust("old", vec![other], now() + HOUR + HOUR, now()).unwrap();
    assert_eq!(ring.trusted().len(), 1);
    assert_eq!(ring.trusted()[0].until, now() + HOUR + HOUR);
    ring.untrust("old").unwrap();
    let error = ring.untrust("old").unwrap_err().to_string();
    assert!(error.contains("there is none"), "{error}");
}

#[test]
fn keys_that_ended_are_forgotten_after_a_year() {
    let mut ring = ring();
    ring.rotate(now(), HOUR).unwrap();
    ring.trust("old", vec![public()], now() + HOUR, now()).unwrap();
    let year = SignedDuration::from_hours(365 * 24);
    ring.rotate(now() + year, HOUR).unwrap();
    assert_eq!((ring.retired().len(), ring.trusted().len()), (2, 1), "still told apart from unknown ones");
    ring.rotate(now() + year + HOUR, HOUR).unwrap();
    assert_eq!((ring.retired().len(), ring.trusted().len()), (2, 0));

    let mut ring = self::ring();
    for _ in 0..MAX_KEYS {
        ring.rotate(now(), HOUR).unwrap();
    }
    assert!(matches!(ring.rotate(now(), HOUR), Err(RingError::TooMany(_))));
    ring.rotate(now() + HOUR, HOUR).unwrap();
    assert_eq!(ring.retired().len(), 1, "those that ended make room");
}

#[test]
fn the_stored_form_reads_back() {
    let mut ring = ring();
    ring.rotate(now(), HOUR).unwrap();
    ring.trust("old", vec![public(), public()], now() + HOUR, now()).unwrap();
    let again = KeyRing::parse(ring.to_json().as_bytes()).unwrap();
    assert_eq!(again.to_json(), ring.to_json());
    assert_eq!(again.keys(), ring.keys());
    assert_eq!(verify(&again, &token(&ring), now()), Ok(KeyUse::Signing));
    let debug = format!("{ring:?}");
    assert!(debug.contains(ring.signing_id().as_str()) && !debug.contains("PRIVATE"), "{debug}");
}

#[test]
fn a_damaged_form_is_refused_without_repeating_it() {
    let mut ring = ring();
    ring.rotate(now(), HOUR).unwrap();
    let good: Value = serde_json::from_str(&ring.to_json()).unwrap();
    let with = |change: fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        value.to_string()
    };
    let secret = good["signing"]["privateKey"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
    let rows: [(String, &str); 12] = [
        (String::new(), "not JSON"),
        ("x".repeat(70_000), "larger"),
        (ring.to_json()[..400].to_owned(), "not JSON, or cut short"),
        ("{}".to_owned(), "another form"),
        (with(|value| value["version"] = json!(2)), "version 2"),
        (with(|value| value["more"] = json!(1)), "another form"),
        (with(|value| value["signing"]["created"] = value["signing"]["privateKey"].clone()), "another form"),
        (with(|value| value["signing"]["privateKey"] = json!("x")), "the signing key"),
        (with(|value| value["signing"]["id"] = value["retired"][0]["id"].clone()), "does not fit its `id`"),
        (with(|value| value["retired"][0]["publicKey"]["x"] = json!("AAAA")), "a retired key"),
        (with(|value| value["retired"] = json!([value["retired"][0], value["retired"][0]])), "twice"),
        (
            with(|value| {
                let key = value["retired"][0].clone();
                value["trusted"] = json!([{"name": "Bad Name", "id": key["id"], "added": key["created"],
                    "until": key["until"], "publicKey": key["publicKey"]}]);
            }),
            "no name",
        ),
    ];
    for (text, part) in rows {
        let error = KeyRing::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(part), "{part:?}: {error}");
        assert!(!error.contains(&secret), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_panics(text in "\\PC{0,300}", cut in 0usize..2000) {
        let _ = KeyRing::parse(text.as_bytes());
        let _ = VerifyingKey::from_jwks(&text);
        let mut ring = ring();
        ring.rotate(now(), HOUR).unwrap();
        let stored = ring.to_json();
        let cut = cut.min(stored.len() - 1);
        prop_assert!(KeyRing::parse(&stored.as_bytes()[..cut]).is_err());
    }

    #[test]
    fn no_order_of_changes_lets_a_key_count_beyond_its_date(steps in prop::collection::vec((0u8..3, 0i64..48), 1..12)) {
        let mut ring = ring();
        let mut made = vec![(token(&ring), None)];
        let mut at = now();
        for (step, hours) in steps {
            at += HOUR;
            let span = SignedDuration::from_hours(hours);
            match step {
                0 => {
                    ring.rotate(at, span).unwrap();
                    if let Some(last) = made.iter_mut().rev().find(|(_, until)| until.is_none()) {
                        last.1 = Some(at + span);
                    }
                    made.push((token(&ring), None));
                }
                1 => {
                    let outcome = ring.trust("other", vec![public()], at + span, at);
                    prop_assert_eq!(outcome.is_ok(), hours > 0);
                }
                _ => drop(ring.untrust("other")),
            }
            ring = KeyRing::parse(ring.to_json().as_bytes()).unwrap();
            for (token, until) in &made {
                for ahead in [0, 1, 24, 47, 48] {
                    let then = at + SignedDuration::from_hours(ahead);
                    let counts = until.is_none_or(|until| then < until);
                    prop_assert_eq!(verify(&ring, token, then).is_ok(), counts, "until {:?} at {}", until, then);
                }
            }
        }
    }
}
