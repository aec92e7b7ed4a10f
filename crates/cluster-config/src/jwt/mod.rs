//! `authentication.jwt`: external identity providers, in the form of Kubernetes' `JWTAuthenticator`
//! (kubernetes.md §6.3).

mod check;
mod url;

use std::collections::BTreeSet;

use crate::read::{At, Fields, Log};

/// One identity provider, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtAuthenticator {
    /// Whose tokens.
    pub issuer: Issuer,
    /// What the claims of a token must be.
    pub claim_rules: Vec<ClaimRule>,
    /// Who the user is.
    pub mappings: ClaimMappings,
    /// What the user must be.
    pub user_rules: Vec<Rule>,
}

/// Who signs the tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Compared verbatim with a token's `iss`.
    pub url: String,
    /// Where the discovery document is, when not below `url`.
    pub discovery_url: Option<String>,
    /// Whom to trust for the issuer's TLS; the system's roots when absent.
    pub certificate_authority: Option<CertificateAuthority>,
    /// A token must be meant for any of these; at least one.
    pub audiences: Vec<String>,
}

/// `issuer.certificateAuthority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateAuthority {
    /// PEM text.
    Pem(String),
    /// A file with PEM text.
    File(String),
}

/// How claims become a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMappings {
    /// The user's name.
    pub username: Mapping,
    /// The user's groups.
    pub groups: Option<Mapping>,
    /// The user's id.
    pub uid: Option<Mapping>,
    /// Further values.
    pub extra: Vec<ExtraMapping>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// A claim.
    Claim {
        /// Its name.
        claim: String,
        /// What is put before its value; empty for the id.
        prefix: String,
    },
    /// A CEL expression over `claims`.
    Expression(String),
}

/// One further value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraMapping {
    /// A lower-case path below a domain.
    pub key: String,
    /// A CEL expression over `claims`.
    pub value_expression: String,
}

/// What the claims of a token must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimRule {
    /// The claim is there and has this value.
    Equals {
        /// Its name.
        claim: String,
        /// Its value.
        value: String,
    },
    /// A CEL expression over `claims` is true.
    Expression(Rule),
}

/// A CEL expression that must be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The expression.
    pub expression: String,
    /// What is said when it is not.
    pub message: String,
}

/// The authenticators of a list, as far as they are right.
pub(crate) fn read(at: &At<'_>, log: &mut Log<'_>) -> Vec<JwtAuthenticator> {
    at.list(log).iter().filter_map(|item| authenticator(item, log)).collect()
}

fn authenticator(at: &At<'_>, log: &mut Log<'_>) -> Option<JwtAuthenticator> {
    let mut fields = at.fields(log);
    let issuer = fields.require("issuer", log).and_then(|at| check::issuer(&at, log));
    let claim_rules = fields.get("claimValidationRules").map(|at| claim_rules(&at, log)).unwrap_or_default();
    let mappings_at = fields.require("claimMappings", log);
    let mappings = mappings_at.as_ref().and_then(|at| claim_mappings(at, log));
    let user_rules = fields.get("userValidationRules").map(|at| user_rules(&at, log)).unwrap_or_default();
    fields.end(log);
    if let (Some(at), Some(mappings)) = (mappings_at, &mappings) {
        check::email_is_verified(&at, mappings, &claim_rules, log);
    }
    Some(JwtAuthenticator { issuer: issuer?, claim_rules, mappings: mappings?, user_rules })
}

fn claim_mappings(at: &At<'_>, log: &mut Log<'_>) -> Option<ClaimMappings> {
    let mut fields = at.fields(log);
    let username = fields.require("username", log).and_then(|at| prefixed(&at, log));
    let groups = fields.get("groups").and_then(|at| optional_prefixed(&at, log));
    let uid = fields.get("uid").and_then(|at| {
        let mut fields = at.fields(log);
        let mapping = claim_or_expression(&at, &mut fields, log);
        fields.end(log);
        mapping
    });
    let extra = fields.get("extra").map(|at| extra(&at, log)).unwrap_or_default();
    fields.end(log);
    Some(ClaimMappings { username: username?, groups, uid, extra })
}

/// A mapping that may be left out by leaving it empty.
fn optional_prefixed(at: &At<'_>, log: &mut Log<'_>) -> Option<Mapping> {
    if at.is_empty() { None } else { prefixed(at, log) }
}

/// A claim with its prefix, or an expression without one.
fn prefixed(at: &At<'_>, log: &mut Log<'_>) -> Option<Mapping> {
    let mut fields = at.fields(log);
    let prefix = fields.get("prefix").map(|at| at.text(log).unwrap_or_default());
    let mapping = claim_or_expression(at, &mut fields, log);
    fields.end(log);
    match (mapping?, prefix) {
        (Mapping::Claim { claim, .. }, Some(prefix)) => Some(Mapping::Claim { claim, prefix }),
        (Mapping::Claim { .. }, None) => {
            at.fault(log, "`prefix` is required with `claim`; it may be \"\"");
            None
        }
        (Mapping::Expression(_), Some(_)) => {
            at.fault(log, "`prefix` cannot go with `expression`: put it into the expression");
            None
        }
        (expression @ Mapping::Expression(_), None) => Some(expression),
    }
}

fn claim_or_expression(at: &At<'_>, fields: &mut Fields<'_>, log: &mut Log<'_>) -> Option<Mapping> {
    let claim = text(fields, "claim", log);
    let expression = text(fields, "expression", log);
    match (claim, expression) {
        (Some(claim), None) => Some(Mapping::Claim { claim, prefix: String::new() }),
        (None, Some(expression)) => check::expression(at, &expression, log).then_some(Mapping::Expression(expression)),
        (Some(_), Some(_)) => {
            at.fault(log, "expected either `claim` or `expression`, found both");
            None
        }
        (None, None) => {
            at.fault(log, "expected `claim` or `expression`");
            None
        }
    }
}

/// A text; an empty one is as good as none.
fn text(fields: &mut Fields<'_>, key: &'static str, log: &mut Log<'_>) -> Option<String> {
    fields.get(key).and_then(|at| at.text(log)).filter(|text| !text.is_empty())
}

fn extra(at: &At<'_>, log: &mut Log<'_>) -> Vec<ExtraMapping> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for item in at.list(log) {
        let mut fields = item.fields(log);
        let key = fields.require("key", log).and_then(|at| {
            let key = at.filled(log)?;
            check::extra_key(&key).map_err(|error| at.fault(log, error)).ok()?;
            if !seen.insert(key.clone()) {
                at.fault(log, "the key is there twice");
                return None;
            }
            Some(key)
        });
        let value = fields.require("valueExpression", log).and_then(|at| {
            let text = at.filled(log)?;
            check::expression(&at, &text, log).then_some(text)
        });
        fields.end(log);
        all.extend(key.zip(value).map(|(key, value_expression)| ExtraMapping { key, value_expression }));
    }
    all
}

fn claim_rules(at: &At<'_>, log: &mut Log<'_>) -> Vec<ClaimRule> {
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for item in at.list(log) {
        let mut fields = item.fields(log);
        let claim = text(&mut fields, "claim", log);
        let value = text(&mut fields, "requiredValue", log);
        let expression = text(&mut fields, "expression", log);
        let message = text(&mut fields, "message", log);
        fields.end(log);
        let (rule, what) = match (claim, expression) {
            (Some(_), Some(_)) => {
                item.fault(log, "expected either `claim` or `expression`, found both");
                continue;
            }
            (None, None) => {
                item.fault(log, "expected `claim` or `expression`");
                continue;
            }
            (Some(claim), None) => {
                if message.is_some() {
                    item.fault(log, "`message` cannot go with `claim`");
                }
                let what = format!("claim {claim}");
                (ClaimRule::Equals { claim, value: value.unwrap_or_default() }, what)
            }
            (None, Some(expression)) => {
                if value.is_some() {
                    item.fault(log, "`requiredValue` cannot go with `expression`");
                }
                if !check::expression(&item, &expression, log) {
                    continue;
                }
                let what = format!("expression {}", expression.trim());
                (ClaimRule::Expression(Rule { expression, message: message.unwrap_or_default() }), what)
            }
        };
        if seen.insert(what) {
            rules.push(rule);
        } else {
            item.fault(log, "the rule is there twice");
        }
    }
    rules
}

fn user_rules(at: &At<'_>, log: &mut Log<'_>) -> Vec<Rule> {
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for item in at.list(log) {
        let mut fields = item.fields(log);
        let expression = fields.require("expression", log).and_then(|at| {
            let text = at.filled(log)?;
            check::expression(&at, &text, log).then_some(text)
        });
        let message = text(&mut fields, "message", log).unwrap_or_default();
        fields.end(log);
        let Some(expression) = expression else { continue };
        if seen.insert(expression.trim().to_owned()) {
            rules.push(Rule { expression, message });
        } else {
            item.fault(log, "the rule is there twice");
        }
    }
    rules
}
