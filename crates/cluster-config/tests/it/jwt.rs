use super::{bad, read};

/// The refusal that ends every list, however right its entries are.
const REFUSED: &str = "key `config`, `authentication.jwt`: external identity providers are not supported yet";

/// A `config` with one authenticator of these lines.
fn with(authenticator: &str) -> String {
    let lines: Vec<String> = authenticator.lines().map(|line| format!("    {line}\n")).collect();
    format!("authentication:\n  jwt:\n  -\n{}", lines.concat())
}

const ISSUER: &str = "issuer:\n  url: https://dex.example.com\n  audiences: [jumpstarter-cli]\n";
const MAPPINGS: &str = "claimMappings:\n  username: {claim: preferred_username, prefix: 'dex:'}\n";

/// Faults other than the refusal of the list as a whole.
#[track_caller]
fn faults(authenticator: &str) -> String {
    let faults = read(&with(authenticator)).expect_err("accepted");
    let lines = faults.faults().iter().map(ToString::to_string).filter(|line| !line.starts_with(REFUSED));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_right_entry_is_refused_for_one_reason_only() {
    let entry = format!("{ISSUER}{MAPPINGS}");
    assert_eq!(faults(&entry), "");
    assert!(bad(&with(&entry)).starts_with(REFUSED), "{}", bad(&with(&entry)));
}

#[test]
fn everything_that_kubernetes_knows_is_read() {
    let all = "\
issuer:
  url: https://dex.example.com/realms/lab
  discoveryURL: https://internal.example.com/.well-known/openid-configuration
  certificateAuthority: /etc/ca.pem
  audiences: [a, b]
  audienceMatchPolicy: MatchAny
claimMappings:
  username: {expression: \"'dex:' + claims.email\"}
  groups: {claim: groups, prefix: ''}
  uid: {claim: sub}
  extra:
  - {key: example.com/team, valueExpression: claims.team}
claimValidationRules:
- {claim: hd, requiredValue: example.com}
- {expression: 'claims.?email_verified.orValue(true) == true', message: unverified}
userValidationRules:
- {expression: \"!user.username.startsWith('system:')\", message: reserved}
";
    assert_eq!(faults(all), "");
    let empty =
        format!("{ISSUER}{MAPPINGS}  groups: {{}}\n  extra: []\nclaimValidationRules: []\nuserValidationRules: []\n");
    assert_eq!(faults(&empty), "");
}

#[test]
fn issuers_follow_the_rules() {
    for (issuer, expected) in [
        (
            "issuer: {url: 'http://a', audiences: [x]}",
            "`authentication.jwt[0].issuer.url`: `http://a` does not begin with `https://`",
        ),
        ("issuer: {url: 'https://u@a', audiences: [x]}", "has a user in it"),
        ("issuer: {url: 'https://a?b', audiences: [x]}", "has a query"),
        ("issuer: {url: 'https://a#b', audiences: [x]}", "has a fragment"),
        ("issuer: {audiences: [x]}", "`url` is required"),
        ("issuer: {url: 'https://a'}", "`audiences` is required"),
        ("issuer: {url: 'https://a', audiences: []}", "at least one audience"),
        (
            "issuer: {url: 'https://a', audiences: ['']}",
            "`authentication.jwt[0].issuer.audiences[0]`: must not be empty",
        ),
        ("issuer: {url: 'https://a', audiences: [x, x], audienceMatchPolicy: MatchAny}", "twice"),
        ("issuer: {url: 'https://a', audiences: [x, y]}", "`audienceMatchPolicy: MatchAny` is required"),
        ("issuer: {url: 'https://a', audiences: [x], audienceMatchPolicy: MatchAll}", "`MatchAll` is not a policy"),
        ("issuer: {url: 'https://a', audiences: [x], discoveryURL: 'https://a'}", "must differ from `url`"),
        ("issuer: {url: 'https://a', audiences: [x], discoveryURL: 'ftp://a'}", "does not begin with"),
        ("issuer: {url: 'https://a', audiences: [x], certificateAuthority: ca.pem}", "absolute path"),
        ("issuer: {url: 'https://a', audiences: [x], certificateAuthority: '-----BEGIN CERTIFICATE-----'}", "PEM"),
        ("issuer: {url: 'https://a', audiences: [x], egress: 1}", "`authentication.jwt[0].issuer.egress`: unknown key"),
    ] {
        let found = faults(&format!("{issuer}\n{MAPPINGS}"));
        assert!(found.contains(expected), "{issuer}: {found}");
        assert_eq!(found.lines().count(), 1, "{issuer}: {found}");
    }
    assert!(faults(MAPPINGS).contains("`issuer` is required"));
}

#[test]
fn mappings_follow_the_rules() {
    for (mappings, expected) in [
        ("username: {claim: sub}", "`prefix` is required"),
        ("username: {claim: sub, prefix: '', expression: claims.sub}", "found both"),
        ("username: {expression: claims.sub, prefix: 'x'}", "`prefix` cannot go with `expression`"),
        ("username: {}", "expected `claim` or `expression`"),
        ("groups: {claim: groups, prefix: ''}", "`username` is required"),
        ("username: {claim: sub, prefix: ''}\n  groups: {claim: groups}", "`prefix` is required"),
        ("username: {claim: sub, prefix: ''}\n  uid: {}", "expected `claim` or `expression`"),
        ("username: {claim: sub, prefix: ''}\n  uid: {claim: a, prefix: ''}", "unknown key"),
        ("username: {claim: sub, prefix: ''}\n  extra: [{key: team, valueExpression: x}]", "has no `/`"),
        ("username: {claim: sub, prefix: ''}\n  extra: [{key: a.k8s.io/x, valueExpression: x}]", "Kubernetes' own"),
        ("username: {claim: sub, prefix: ''}\n  extra: [{key: a.b/x}]", "`valueExpression` is required"),
        (
            "username: {claim: sub, prefix: ''}\n  extra: [{key: a.b/x, valueExpression: x}, {key: a.b/x, valueExpression: y}]",
            "twice",
        ),
        ("username: {expression: 'claims.email'}", "`claims.email_verified`"),
    ] {
        let found = faults(&format!("{ISSUER}claimMappings:\n  {mappings}\n"));
        assert!(found.contains(expected), "{mappings}: {found}");
        assert_eq!(found.lines().count(), 1, "{mappings}: {found}");
    }
    assert!(faults(ISSUER).contains("`claimMappings` is required"));
    let long = format!("{ISSUER}claimMappings:\n  username: {{expression: '{}'}}\n", "x".repeat(3000));
    assert!(faults(&long).contains("longer than 2048 bytes"));
}

#[test]
fn rules_follow_the_rules() {
    for (rules, expected) in [
        ("claimValidationRules: [{}]", "expected `claim` or `expression`"),
        ("claimValidationRules: [{claim: a, expression: b}]", "found both"),
        ("claimValidationRules: [{claim: a, requiredValue: b, message: c}]", "`message` cannot go with `claim`"),
        ("claimValidationRules: [{expression: a, requiredValue: b}]", "`requiredValue` cannot go with `expression`"),
        ("claimValidationRules: [{claim: a}, {claim: a}]", "twice"),
        ("claimValidationRules: [{expression: a}, {expression: ' a'}]", "twice"),
        ("userValidationRules: [{message: a}]", "`expression` is required"),
        ("userValidationRules: [{expression: a}, {expression: a}]", "twice"),
        ("userValidationRules: [{expression: a, claim: b}]", "unknown key"),
    ] {
        let found = faults(&format!("{ISSUER}{MAPPINGS}{rules}\n"));
        assert!(found.contains(expected), "{rules}: {found}");
        assert_eq!(found.lines().count(), 1, "{rules}: {found}");
    }
}
