//! Router tickets: shape on the wire, both generations of controllers, and every way in which one is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey};
use jumpstarter_auth::{
    KeyError, Side, SigningKey, TicketError, TicketIssuer, TicketKey, TicketKeys, TicketVerifier, TokenIssuer,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const SECRET: &[u8] = b"a router key shared by all tests";
const STREAM: Uuid = Uuid::from_u128(0x6f2c_2f5e_5a4f_4f6c_9c5e_1d1c_7a2f_3b4a);
const HALF_HOUR: SignedDuration = SignedDuration::from_mins(30);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn now() -> Timestamp {
    at(1_800_000_000)
}

fn keys() -> TicketKeys {
    TicketKeys::new(TicketKey::from_bytes(SECRET).unwrap())
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn forge(secret: &[u8], algorithm: Algorithm, claims: &Value) -> String {
    let message = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": format!("{algorithm:?}")})), encode(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(secret), algorithm).unwrap();
    format!("{message}.{signature}")
}

/// What today's controllers issue: no side.
fn old_claims() -> Value {
    json!({"iss": "https://jumpstarter.dev/stream", "sub": STREAM.to_string(),
           "aud": ["https://jumpstarter.dev/router"], "exp": 1_800_001_800, "nbf": 1_800_000_000,
           "iat": 1_800_000_000, "jti": "0b7c2f0e-2c1f-4b1e-8d59-3f6a0c0d9e11"})
}

fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = old_claims();
    let object = claims.as_object_mut().unwrap();
    object.remove(name);
    if !value.is_null() {
        object.insert(name.to_owned(), value);
    }
    claims
}

#[test]
fn a_ticket_has_the_shape_that_routers_in_the_field_take() {
    let issuer = TicketIssuer::new(&keys());
    let ticket = issuer.issue(STREAM, Side::Exporter, HALF_HOUR, now()).unwrap();
    let parts: Vec<&str> = ticket.split('.').collect();
    assert_eq!(URL_SAFE_NO_PAD.decode(parts[0]).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert!(Uuid::parse_str(jti.as_str().unwrap()).is_ok());
    let mut expected = claims_with("jti", Value::Null);
    expected["side"] = json!("exporter");
    assert_eq!(claims, expected);
    // Checked with the library's own verification, as a stranger would.
    let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
    validation.set_audience(&["https://jumpstarter.dev/router"]);
    validation.set_issuer(&["https://jumpstarter.dev/stream"]);
    let key = jsonwebtoken::DecodingKey::from_secret(SECRET);
    assert!(jsonwebtoken::decode::<Value>(&ticket, &key, &validation).is_ok());
}

#[test]
fn the_side_and_the_name_come_back() {
    let (issuer, verifier) = (TicketIssuer::new(&keys()), TicketVerifier::new(&keys()));
    let mut names = Vec::new();
    for side in [Side::Client, Side::Exporter] {
        let ticket = verifier.verify(&issuer.issue(STREAM, side, HALF_HOUR, now()).unwrap(), now()).unwrap();
        assert_eq!((ticket.stream_id.as_str(), ticket.side), (STREAM.to_string().as_str(), Some(side)));
        assert_eq!(ticket.expires_at, at(1_800_001_800));
        names.push(ticket.jti.unwrap());
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn tickets_of_todays_controllers_are_taken() {
    let verifier = TicketVerifier::new(&keys());
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let ticket = verifier.verify(&forge(SECRET, algorithm, &old_claims()), now()).unwrap();
        assert_eq!(ticket.side, None);
        assert_eq!(ticket.stream_id, STREAM.to_string());
    }
}

#[test]
fn claims_are_checked() {
    let verifier = TicketVerifier::new(&keys());
    let malformed = |reason| Err(TicketError::Malformed(reason));
    let cases = [
        ("iss", json!("https://localhost:8085"), Err(TicketError::Issuer)),
        ("iss", Value::Null, Err(TicketError::Issuer)),
        ("aud", json!("https://jumpstarter.dev/router"), Ok(())),
        ("aud", json!(["jumpstarter"]), Err(TicketError::Audience)),
        ("aud", Value::Null, Err(TicketError::Audience)),
        ("exp", Value::Null, malformed("it has no `exp`")),
        ("exp", json!(1_800_000_000), Err(TicketError::Ended(now()))),
        ("exp", json!(1_800_000_001), Ok(())),
        ("nbf", json!(1_800_000_060), Ok(())),
        ("nbf", json!(1_800_000_061), Err(TicketError::NotYetValid(at(1_800_000_061)))),
        ("iat", json!(1_800_000_061), Err(TicketError::NotYetValid(at(1_800_000_061)))),
        ("iat", Value::Null, Ok(())),
        ("sub", Value::Null, malformed("it has no `sub`")),
        ("sub", json!(""), malformed("it has no `sub`")),
        ("jti", Value::Null, Ok(())),
        ("side", json!("client"), Ok(())),
        ("side", json!("both"), malformed("its claims cannot be read")),
    ];
    for (name, value, expected) in cases {
        let ticket = forge(SECRET, Algorithm::HS256, &claims_with(name, value.clone()));
        assert_eq!(verifier.verify(&ticket, now()).map(|_| ()), expected, "{name} = {value}");
    }
}

#[test]
fn no_error_text_makes_a_client_log_in_again() {
    let errors = [
        TicketError::TooLarge,
        TicketError::Malformed("it is not a JWT"),
        TicketError::Algorithm,
        TicketError::Signature,
        TicketError::Issuer,
        TicketError::Audience,
        TicketError::Ended(now()),
        TicketError::NotYetValid(now()),
    ];
    for error in errors {
        assert!(!error.to_string().to_lowercase().contains("expired"), "{error}");
    }
}

#[test]
fn tampering_and_foreign_tokens_are_refused() {
    let (issuer, verifier) = (TicketIssuer::new(&keys()), TicketVerifier::new(&keys()));
    let ticket = issuer.issue(STREAM, Side::Client, HALF_HOUR, now()).unwrap();
    for index in 0..ticket.len() {
        let mut changed = ticket.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        assert!(verifier.verify(&String::from_utf8(changed).unwrap(), now()).is_err(), "byte {index}");
        assert!(verifier.verify(&ticket[..index], now()).is_err(), "cut at {index}");
    }
    // The other side's claims under this signature.
    let swapped = ticket.split('.').collect::<Vec<_>>();
    let claims = claims_with("side", json!("exporter"));
    let swapped = format!("{}.{}.{}", swapped[0], encode(&claims), swapped[2]);
    assert_eq!(verifier.verify(&swapped, now()), Err(TicketError::Signature));

    assert_eq!(verifier.verify(&forge(b"", Algorithm::HS256, &old_claims()), now()), Err(TicketError::Signature));
    assert_eq!(verifier.verify(&forge(b"other", Algorithm::HS256, &old_claims()), now()), Err(TicketError::Signature));
    let identity = TokenIssuer::new(SigningKey::generate().unwrap()).issue("client:a:b:c", now()).unwrap();
    assert_eq!(verifier.verify(identity.token.expose(), now()), Err(TicketError::Algorithm));
    for name in ["none", "HS1", "ES256"] {
        let unsigned = format!("{}.{}.", encode(&json!({"alg": name})), encode(&old_claims()));
        assert_eq!(verifier.verify(&unsigned, now()), Err(TicketError::Algorithm), "{name}");
    }
    assert_eq!(verifier.verify(&"x.".repeat(3000), now()), Err(TicketError::TooLarge));
}

#[test]
fn keys_rotate_without_a_gap() {
    let (old, new) = (TicketKey::generate().unwrap(), TicketKey::generate().unwrap());
    assert!(old != new && !old.is_short());
    let only_old = TicketKeys::new(old.clone());
    let only_new = TicketKeys::new(new.clone());
    let both = TicketKeys::new(new).accepting(old);
    let of_old = TicketIssuer::new(&only_old).issue(STREAM, Side::Client, HALF_HOUR, now()).unwrap();
    let of_both = TicketIssuer::new(&both).issue(STREAM, Side::Client, HALF_HOUR, now()).unwrap();

    assert!(TicketVerifier::new(&both).verify(&of_old, now()).is_ok());
    assert!(TicketVerifier::new(&both).verify(&of_both, now()).is_ok());
    assert!(TicketVerifier::new(&only_new).verify(&of_both, now()).is_ok());
    assert_eq!(TicketVerifier::new(&only_new).verify(&of_old, now()), Err(TicketError::Signature));
    assert_eq!(TicketVerifier::new(&only_old).verify(&of_both, now()), Err(TicketError::Signature));
}

#[test]
fn a_key_file_can_be_handed_to_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.key");
    let key = TicketKey::load_or_create(&path).unwrap();
    assert_eq!(TicketKey::load_or_create(&path).unwrap(), key);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(TicketKey::from_bytes(text.trim_end()).unwrap(), key);
    assert!(text.trim_end().len() >= 43, "256 bits");
    assert!(!format!("{key:?}").contains(text.trim_end()));

    std::fs::write(&path, "\n").unwrap();
    assert!(matches!(TicketKey::load_or_create(&path), Err(KeyError::InvalidFile { .. })));
    assert!(matches!(TicketKey::from_bytes(""), Err(KeyError::Empty)));
    assert!(TicketKey::from_bytes("short").unwrap().is_short());
}

proptest! {
    #[test]
    fn nothing_from_outside_panics_or_passes(ticket in "\\PC{0,300}", dotted in "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}") {
        let verifier = TicketVerifier::new(&keys());
        prop_assert!(verifier.verify(&ticket, now()).is_err());
        prop_assert!(verifier.verify(&dotted, now()).is_err());
    }
}
