//! What a token says about itself. Nothing is verified here: that is the service's business.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The claims of a JSON web token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token(Map<String, Value>);

impl Token {
    /// Reads the claims.
    pub(crate) fn decode(text: &str) -> Result<Self, String> {
        let parts = text.split('.').collect::<Vec<_>>();
        let [_, claims, _] = parts[..] else {
            return Err("it is no JSON web token of three parts".to_owned());
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(claims.trim_end_matches('='))
            .map_err(|error| format!("its second part is no base64: {error}"))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| format!("its claims are no JSON object: {error}"))
    }

    /// A claim that is a text.
    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.0.get(claim)?.as_str()
    }

    /// A claim that is a moment, in seconds since 1970.
    pub(crate) fn moment(&self, claim: &str) -> Option<Timestamp> {
        let value = self.0.get(claim)?;
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of a second does not matter")]
        let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))?;
        Timestamp::from_second(seconds).ok()
    }

    /// When it ends, when it says so.
    pub(crate) fn expiry(&self) -> Option<Timestamp> {
        self.moment("exp")
    }

    /// Its end, when that is past.
    pub(crate) fn expired(&self) -> Option<Timestamp> {
        self.expiry().filter(|expiry| *expiry <= Timestamp::now())
    }

    /// Seconds left; negative when it is over, nothing when it never ends.
    pub(crate) fn remaining(&self, now: Timestamp) -> Option<i64> {
        Some(self.expiry()?.as_second() - now.as_second())
    }
}

/// `2h 5m`, `5m 10s`, `9s`; the sign does not matter.
pub(crate) fn words(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn claims() {
        let read = Token::decode(&token(r#"{"exp": 100, "iss": "lab", "iat": 1.5}"#)).unwrap();
        assert_eq!(read.text("iss"), Some("lab"));
        assert_eq!(read.text("exp"), None);
        assert_eq!(read.moment("iat"), Timestamp::from_second(1).ok());
        assert_eq!(read.expired(), Timestamp::from_second(100).ok());
        assert_eq!(read.remaining(Timestamp::from_second(40).unwrap()), Some(60));
        let endless = Token::decode(&token("{}")).unwrap();
        assert_eq!((endless.expired(), endless.remaining(Timestamp::now())), (None, None));
        for bad in ["", "opaque", "a.b", "a.!.c", &token("[]"), &token("{")] {
            assert!(Token::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_in_words() {
        for (seconds, expected) in [(0, "0s"), (-9, "9s"), (310, "5m 10s"), (7500, "2h 5m"), (-7500, "2h 5m")] {
            assert_eq!(words(seconds), expected);
        }
    }
}
