//! URLs of issuers.

use crate::{
    endpoint::{self, Port},
    fault::quote,
};

/// Checks that a text is an `https` URL without user, query and fragment.
pub(super) fn check(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{} {why}: expected a URL such as `https://issuer.example.com`", quote(text)));
    let Some(rest) = text.strip_prefix("https://") else {
        return wrong("does not begin with `https://`");
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return wrong("has white space in it");
    }
    if rest.contains('#') {
        return wrong("has a fragment");
    }
    if rest.contains('?') {
        return wrong("has a query");
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return wrong("has a user in it");
    }
    if endpoint::check(host, Port::Optional).is_err() {
        return wrong("has no host");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_https_urls() {
        for good in ["https://a", "https://a.example.com:8443/realms/x", "https://[::1]/", "https://a/"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "https://"),
            ("http://a", "https://"),
            ("HTTPS://a", "https://"),
            ("https://", "host"),
            ("https:///x", "host"),
            ("https://u:p@a", "user"),
            ("https://a?x", "query"),
            ("https://a/#x", "fragment"),
            ("https://a b", "white space"),
            ("https://a:x", "host"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
