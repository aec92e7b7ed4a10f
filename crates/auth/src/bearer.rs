//! The `authorization` metadata value (`reference/protocol.md` §2.1).

/// Why no token could be taken from the call's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// There is no `authorization` value: `UNAUTHENTICATED`.
    #[error("missing authorization header: send `authorization: Bearer <token>`")]
    Missing,
    /// There are several: `INVALID_ARGUMENT` on the controller, `UNAUTHENTICATED` on a router.
    #[error("multiple authorization headers: send exactly one")]
    Multiple,
    /// The value is not of the form `Bearer <token>`; codes as for [`BearerError::Multiple`].
    #[error("malformed authorization header: expected `Bearer <token>`")]
    NotBearer,
}

/// Takes the token out of the `authorization` values of a call. The scheme's case does not matter.
///
/// ```
/// # use jumpstarter_auth::{BearerError, bearer_token};
/// assert_eq!(bearer_token(["bearer abc".as_bytes()]), Ok("abc"));
/// assert_eq!(bearer_token([]), Err(BearerError::Missing));
/// ```
pub fn bearer_token<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<&'a str, BearerError> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(BearerError::Missing)?;
    if values.next().is_some() {
        return Err(BearerError::Multiple);
    }
    let (scheme, token) =
        str::from_utf8(value).ok().and_then(|text| text.split_once(' ')).ok_or(BearerError::NotBearer)?;
    let token = token.trim_matches(' ');
    let acceptable = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ');
    if acceptable { Ok(token) } else { Err(BearerError::NotBearer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bearer_value_is_taken() {
        let cases: &[(&[&str], Result<&str, BearerError>)] = &[
            (&["Bearer a.b.c"], Ok("a.b.c")),
            (&["bearer a.b.c"], Ok("a.b.c")),
            (&["BEARER  a.b.c "], Ok("a.b.c")),
            (&[], Err(BearerError::Missing)),
            (&["Bearer a", "Bearer a"], Err(BearerError::Multiple)),
            (&["Bearer a", "Basic b"], Err(BearerError::Multiple)),
            (&["Basic dXNlcjpwYXNz"], Err(BearerError::NotBearer)),
            (&["a.b.c"], Err(BearerError::NotBearer)),
            (&["Bearer"], Err(BearerError::NotBearer)),
            (&["Bearer "], Err(BearerError::NotBearer)),
            (&["Bearer a b"], Err(BearerError::NotBearer)),
            (&["Bearer\ta"], Err(BearerError::NotBearer)),
            (&[""], Err(BearerError::NotBearer)),
        ];
        for (values, expected) in cases {
            assert_eq!(&bearer_token(values.iter().map(|value| value.as_bytes())), expected, "{values:?}");
        }
        assert_eq!(bearer_token([&b"Bearer \xff\xfe"[..]]), Err(BearerError::NotBearer));
    }
}
