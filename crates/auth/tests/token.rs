//! Identity tokens: shape on the wire, and every way in which one is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey};
use jumpstarter_auth::token::unverified_issuer;
use jumpstarter_auth::{SigningKey, TokenError, TokenIssuer, VerifyingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

const SUBJECT: &str = "client:default:alice:6f2c2f5e-5a4f-4f6c-9c5e-1d1c7a2f3b4a";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The moment of issue in all tests.
fn now() -> Timestamp {
    at(1_800_000_000)
}

fn issuer() -> (SigningKey, TokenIssuer) {
    let key = SigningKey::generate().unwrap();
    (key.clone(), TokenIssuer::new(key))
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decode(segment: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).unwrap()).unwrap()
}

/// Signs any header and claims with the key.
fn forge(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let der = pem::parse(key.to_pem()).unwrap().into_contents();
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_ec_der(&der), Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

fn good_header() -> Value {
    json!({"alg": "ES256", "typ": "JWT"})
}

fn good_claims() -> Value {
    json!({"iss": "https://localhost:8085", "sub": SUBJECT, "aud": ["jumpstarter"],
           "iat": 1_800_000_000, "exp": 1_800_000_600})
}

/// The good claims with one of them changed, or removed by `null`.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = good_claims();
    let object = claims.as_object_mut().unwrap();
    object.remove(name);
    if !value.is_null() {
        object.insert(name.to_owned(), value);
    }
    claims
}

#[test]
fn a_token_has_the_shape_of_those_in_the_field() {
    let (_, issuer) = issuer();
    let issued = issuer.issue(SUBJECT, now()).unwrap();
    let parts: Vec<&str> = issued.token.expose().split('.').collect();
    assert_eq!(parts.len(), 3);
    let kid = issuer.ring().signing_id();
    assert_eq!(decode(parts[0]), json!({"alg": "ES256", "typ": "JWT", "kid": kid}));
    let year = 365 * 24 * 3600;
    assert_eq!(
        decode(parts[1]),
        json!({"iss": "https://localhost:8085", "sub": SUBJECT, "aud": ["jumpstarter"],
               "iat": 1_800_000_000, "exp": 1_800_000_000 + year})
    );
    assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 64, "r and s of P-256");
    assert_eq!(issued.expires_at, at(1_800_000_000 + year));
    assert_eq!(unverified_issuer(issued.token.expose()).unwrap(), "https://localhost:8085");
    assert!(!format!("{issued:?}").contains(parts[2]));
}

#[test]
fn times_are_taken_to_the_second() {
    let (_, issuer) = issuer();
    let strict = issuer.clone().with_lifetime(SignedDuration::from_secs(100));
    let lenient = strict.clone().with_leeway(SignedDuration::from_secs(30));
    let token = strict.issue(SUBJECT, now()).unwrap();
    let check = |issuer: &TokenIssuer, offset: i64| issuer.verify(token.token.expose(), at(1_800_000_000 + offset));

    let claims = check(&strict, 99).unwrap();
    assert_eq!(claims.sub, SUBJECT);
    assert_eq!(claims.expires_at, token.expires_at);
    assert_eq!(check(&strict, 100), Err(TokenError::Expired(token.expires_at)));
    assert!(check(&lenient, 129).is_ok());
    assert!(matches!(check(&lenient, 130), Err(TokenError::Expired(_))));
    // The issuer's clock may be ahead of the verifier's by a minute.
    assert!(check(&strict, -60).is_ok());
    assert_eq!(check(&strict, -61), Err(TokenError::NotYetValid(now())));
}

#[test]
fn only_an_expired_token_says_so() {
    for told in [TokenError::Expired(now()), TokenError::KeyEnded(now())] {
        assert!(told.to_string().contains("token is expired"), "{told}");
    }
    let others = [
        TokenError::TooLarge,
        TokenError::Malformed("it is not a JWT"),
        TokenError::Algorithm,
        TokenError::UnknownIssuer,
        TokenError::Signature,
        TokenError::Audience,
        TokenError::NotYetValid(now()),
    ];
    for error in others {
        assert!(!error.to_string().to_lowercase().contains("expired"), "{error}");
    }
}

#[test]
fn claims_are_checked() {
    let (key, issuer) = issuer();
    let malformed = |reason| Err(TokenError::Malformed(reason));
    let unreadable = || malformed("its claims cannot be read");
    let cases = [
        ("iat", json!(1_800_000_060), Ok(())),
        ("iat", json!(1_800_000_061), Err(TokenError::NotYetValid(at(1_800_000_061)))),
        ("iat", Value::Null, Ok(())),
        ("iat", json!("now"), unreadable()),
        ("nbf", json!(1_800_000_060), Ok(())),
        ("nbf", json!(1_800_000_061), Err(TokenError::NotYetValid(at(1_800_000_061)))),
        ("exp", Value::Null, malformed("it has no `exp`")),
        ("exp", json!(1_800_000_000), Err(TokenError::Expired(now()))),
        ("exp", json!(1_800_000_000.5), Ok(())),
        ("exp", json!(-1), Err(TokenError::Expired(at(-1)))),
        ("exp", json!(i64::MAX), malformed("it names an impossible time")),
        ("exp", json!(1e300), malformed("it names an impossible time")),
        ("exp", json!("1800000600"), unreadable()),
        ("aud", json!("jumpstarter"), Ok(())),
        ("aud", json!(["other", "jumpstarter"]), Ok(())),
        ("aud", json!(["other"]), Err(TokenError::Audience)),
        ("aud", json!([]), Err(TokenError::Audience)),
        ("aud", Value::Null, Err(TokenError::Audience)),
        ("aud", json!(7), unreadable()),
        ("sub", Value::Null, malformed("it has no `sub`")),
        ("sub", json!(""), malformed("it has no `sub`")),
        ("iss", json!("https://localhost:8085/"), Err(TokenError::UnknownIssuer)),
        ("iss", json!("https://dex.example.com"), Err(TokenError::UnknownIssuer)),
        ("iss", Value::Null, malformed("it has no `iss`")),
        ("iss", json!(["https://localhost:8085"]), unreadable()),
        ("extra", json!({"nested": [1, 2, 3]}), Ok(())),
    ];
    for (name, value, expected) in cases {
        let token = forge(&key, &good_header(), &claims_with(name, value.clone()));
        assert_eq!(issuer.verify(&token, now()).map(|_| ()), expected, "{name} = {value}");
    }
}

#[test]
fn the_algorithm_is_the_issuers_and_not_the_tokens() {
    let (key, issuer) = issuer();
    let claims = encode(&good_claims());
    let jwk = key.verifying_key().jwks_entry();
    let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let y = URL_SAFE_NO_PAD.decode(jwk["y"].as_str().unwrap()).unwrap();
    let point = [vec![4], x, y].concat();

    // The public key as an HMAC secret: the classic confusion.
    for (name, algorithm) in [("HS256", Algorithm::HS256), ("HS512", Algorithm::HS512)] {
        let message = format!("{}.{claims}", encode(&json!({"alg": name, "typ": "JWT"})));
        let secret = EncodingKey::from_secret(&point);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, algorithm).unwrap();
        assert_eq!(issuer.verify(&format!("{message}.{signature}"), now()), Err(TokenError::Algorithm), "{name}");
    }
    for name in ["none", "None", "NONE", "", "es256", "ES512", "HS256", "EdDSA"] {
        let token = format!("{}.{claims}.", encode(&json!({"alg": name, "typ": "JWT"})));
        assert_eq!(issuer.verify(&token, now()), Err(TokenError::Algorithm), "{name}");
    }
    for name in ["RS256", "ES384", "PS256"] {
        let token = forge(&key, &json!({"alg": name, "typ": "JWT"}), &good_claims());
        assert_eq!(issuer.verify(&token, now()), Err(TokenError::Algorithm), "{name}");
    }
    let crit = forge(&key, &json!({"alg": "ES256", "crit": ["b64"], "b64": false}), &good_claims());
    assert!(matches!(issuer.verify(&crit, now()), Err(TokenError::Malformed(_))));
    let kid = forge(&key, &json!({"alg": "ES256", "kid": "../../etc/passwd"}), &good_claims());
    assert!(issuer.verify(&kid, now()).is_ok(), "a key id is no reason to refuse");
}

#[test]
fn no_byte_can_be_changed() {
    let (_, issuer) = issuer();
    let token = issuer.issue(SUBJECT, now()).unwrap().token.into_exposed();
    for index in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(issuer.verify(&changed, now()).is_err(), "byte {index}: {changed}");
        assert!(issuer.verify(&token[..index], now()).is_err(), "cut at {index}");
    }
    for wrapped in [format!(" {token}"), format!("{token}="), format!("{token}.x"), format!("{token}\n")] {
        assert!(issuer.verify(&wrapped, now()).is_err(), "{wrapped:?}");
    }
}

#[test]
fn public_keys_are_read_from_pem() {
    // Made with `openssl ec -pubout`; the point is the base point of P-256, whose private key is 1.
    let text = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n";
    let key = VerifyingKey::from_pem(text.as_bytes()).unwrap();
    let document = json!({"keys": [{"kty": "EC", "crv": "P-256",
        "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]});
    assert_eq!(VerifyingKey::from_jwks(&document.to_string()).unwrap(), [key]);
}

#[test]
fn large_tokens_are_refused_unread() {
    let (key, issuer) = issuer();
    let token = forge(&key, &good_header(), &claims_with("padding", json!("x".repeat(8000))));
    assert_eq!(issuer.verify(&token, now()), Err(TokenError::TooLarge));
    assert_eq!(issuer.verify(&".".repeat(1 << 20), now()), Err(TokenError::TooLarge));
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(4000));
    let token = format!("{}.{deep}.AAAA", encode(&good_header()));
    assert!(matches!(issuer.verify(&token, now()), Err(TokenError::Malformed(_))));
}

proptest! {
    #[test]
    fn nothing_from_outside_panics_or_passes(token in ".{0,300}", seconds in i64::MIN / 2..i64::MAX / 2) {
        let (key, issuer) = issuer();
        prop_assert!(issuer.verify(&token, now()).is_err());
        let _ = unverified_issuer(&token);
        let odd = forge(&key, &good_header(), &claims_with("exp", json!(seconds)));
        let passes = issuer.verify(&odd, now()).is_ok();
        prop_assert_eq!(passes, seconds > 1_800_000_000 && Timestamp::from_second(seconds).is_ok());
    }

    #[test]
    fn a_token_of_an_unknown_key_never_passes(name in "[a-z]{1,10}", kid in prop::option::of("\\PC{0,50}")) {
        let (_, issuer) = issuer();
        let mut ring = issuer.ring();
        let trusted = SigningKey::generate().unwrap().verifying_key().clone();
        ring.rotate(now(), SignedDuration::from_hours(1)).unwrap();
        ring.trust(&name, vec![trusted], now() + SignedDuration::from_hours(1), now()).unwrap();
        issuer.replace_ring(ring.clone());
        let stranger = SigningKey::generate().unwrap();
        // Also under the id of every key that is known.
        for kid in ring.keys().iter().map(|key| Some(key.id.to_string())).chain([kid]) {
            let mut header = good_header();
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            prop_assert_eq!(issuer.verify(&forge(&stranger, &header, &good_claims()), now()), Err(TokenError::Signature));
        }
    }

    #[test]
    fn any_subject_survives(subject in "\\PC{1,100}") {
        let (_, issuer) = issuer();
        let token = issuer.issue(&subject, now()).unwrap();
        prop_assert_eq!(issuer.verify(token.token.expose(), now()).unwrap().sub, subject);
    }
}
