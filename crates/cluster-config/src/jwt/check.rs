//! Rules of single fields.

use std::collections::BTreeSet;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::{CertificateAuthority, ClaimMappings, ClaimRule, Issuer, Mapping, url};
use crate::{
    fault::quote,
    read::{At, Log},
};

/// Longest expression: compiling one takes stack and time.
const MAX_EXPRESSION: usize = 2048;

pub(super) fn issuer(at: &At<'_>, log: &mut Log<'_>) -> Option<Issuer> {
    let mut fields = at.fields(log);
    let address = fields.require("url", log).and_then(|at| checked_url(&at, log));
    let discovery_url = fields.get("discoveryURL").and_then(|inner| {
        let text = checked_url(&inner, log)?;
        if address.as_ref() == Some(&text) {
            inner.fault(log, "must differ from `url`: leave it out");
        }
        Some(text)
    });
    let certificate_authority = fields.get("certificateAuthority").and_then(|at| authority(&at, log));
    let audiences = fields.require("audiences", log).map(|at| audiences(&at, log)).unwrap_or_default();
    let policy = fields.get("audienceMatchPolicy").and_then(|inner| {
        let text = inner.text(log)?;
        if !["", "MatchAny"].contains(&text.as_str()) {
            inner.fault(log, format!("{} is not a policy: expected `MatchAny`", quote(&text)));
        }
        Some(text)
    });
    if audiences.len() > 1 && policy.is_none_or(|policy| policy.is_empty()) {
        at.fault(log, "`audienceMatchPolicy: MatchAny` is required with several audiences");
    }
    fields.end(log);
    Some(Issuer { url: address?, discovery_url, certificate_authority, audiences })
}

fn checked_url(at: &At<'_>, log: &mut Log<'_>) -> Option<String> {
    let text = at.filled(log)?;
    url::check(&text).map_err(|error| at.fault(log, error)).ok().map(|()| text)
}

fn audiences(at: &At<'_>, log: &mut Log<'_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    let items = at.list(log);
    if items.is_empty() {
        at.fault(log, "expected at least one audience");
    }
    for item in items {
        let Some(text) = item.filled(log) else { continue };
        if seen.insert(text.clone()) {
            all.push(text);
        } else {
            item.fault(log, "the audience is there twice");
        }
    }
    all
}

/// PEM text, else the name of a file, which is not looked at here.
fn authority(at: &At<'_>, log: &mut Log<'_>) -> Option<CertificateAuthority> {
    let text = at.text(log).filter(|text| !text.is_empty())?;
    if !text.contains("-----BEGIN") {
        if text.starts_with('/') && !text.contains('\n') {
            return Some(CertificateAuthority::File(text));
        }
        at.fault(log, "expected certificates in PEM, or the absolute path of a file that has them");
        return None;
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(found) if !found.is_empty() => Some(CertificateAuthority::Pem(text)),
        Ok(_) => {
            at.fault(log, "the PEM text has no certificate");
            None
        }
        Err(error) => {
            at.fault(log, format!("the PEM text cannot be read: {error}"));
            None
        }
    }
}

/// Whether an expression may be compiled; notes a fault if not.
pub(super) fn expression(at: &At<'_>, text: &str, log: &mut Log<'_>) -> bool {
    if text.len() > MAX_EXPRESSION {
        at.fault(log, format!("the expression is longer than {MAX_EXPRESSION} bytes"));
        return false;
    }
    true
}

/// A lower-case path below a domain that is not Kubernetes' own.
pub(super) fn extra_key(key: &str) -> Result<(), String> {
    let expected = "expected a lower-case path below a domain of yours, such as `example.com/team`";
    let (domain, path) = key.split_once('/').ok_or_else(|| format!("{} has no `/`: {expected}", quote(key)))?;
    if key.chars().any(char::is_uppercase) {
        return Err(format!("{} has upper-case letters: {expected}", quote(key)));
    }
    jumpstarter_model::name::validate_subdomain("domain", domain).map_err(|error| format!("{error}: {expected}"))?;
    let path_ok = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b);
    if path.is_empty() || !path.bytes().all(path_ok) {
        return Err(format!("{} has no proper path: {expected}", quote(key)));
    }
    for reserved in ["k8s.io", "kubernetes.io"] {
        if domain == reserved || domain.ends_with(&format!(".{reserved}")) {
            return Err(format!("{} is below `{reserved}`, which is Kubernetes' own: {expected}", quote(key)));
        }
    }
    Ok(())
}

/// A user name made of `claims.email` needs some expression that looks at `claims.email_verified`.
pub(super) fn email_is_verified(at: &At<'_>, mappings: &ClaimMappings, rules: &[ClaimRule], log: &mut Log<'_>) {
    let Mapping::Expression(username) = &mappings.username else { return };
    if !mentions(username, "email") {
        return;
    }
    let extra = mappings.extra.iter().map(|extra| extra.value_expression.as_str());
    let rules = rules.iter().filter_map(|rule| match rule {
        ClaimRule::Expression(rule) => Some(rule.expression.as_str()),
        ClaimRule::Equals { .. } => None,
    });
    if !extra.chain(rules).chain([username.as_str()]).any(|text| mentions(text, "email_verified")) {
        at.fault(
            log,
            "`username.expression` uses `claims.email`: some expression of username, extra or claimValidationRules \
             must look at `claims.email_verified`",
        );
    }
}

/// Whether an expression reads a claim, as `claims.NAME`, `claims.?NAME` or `claims["NAME"]`.
fn mentions(expression: &str, claim: &str) -> bool {
    let compact: String = expression.chars().filter(|c| !c.is_whitespace()).collect();
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    compact.match_indices("claims").any(|(start, _)| {
        let rest = &compact[start + "claims".len()..];
        let field = rest.strip_prefix(".?").or_else(|| rest.strip_prefix('.'));
        let index = rest.strip_prefix("[?").or_else(|| rest.strip_prefix('['));
        field.and_then(|rest| rest.strip_prefix(claim)).is_some_and(ends)
            || index.is_some_and(|rest| {
                rest.starts_with(&format!("\"{claim}\"]")) || rest.starts_with(&format!("'{claim}']"))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_in_expressions() {
        for text in [
            "claims.email",
            "'x:' + claims . email",
            "claims.?email.orValue('')",
            "claims[\"email\"]",
            "claims['email']",
        ] {
            assert!(mentions(text, "email"), "{text}");
        }
        for text in ["claims.email_verified", "claims.sub", "email", "claims.emails"] {
            assert!(!mentions(text, "email"), "{text}");
        }
        assert!(mentions("claims.email_verified == true", "email_verified"));
    }

    #[test]
    fn extra_keys_are_paths_below_a_domain() {
        assert_eq!(extra_key("example.com/team"), Ok(()));
        for bad in [
            "team",
            "/x",
            "example.com/",
            "Example.com/x",
            "example.com/X",
            "k8s.io/x",
            "a.kubernetes.io/x",
            "ex ample/x",
        ] {
            assert!(extra_key(bad).is_err(), "{bad}");
        }
        assert_eq!(extra_key("notk8s.io/x"), Ok(()));
    }
}
