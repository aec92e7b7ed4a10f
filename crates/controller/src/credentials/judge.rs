//! What a Secret is worth for its client or exporter. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jumpstarter_auth::{KeyUse, TokenIssuer};
use jumpstarter_model::{
    Timestamp,
    identity::{self, Subject},
};
use jumpstarter_store::{Kind, Object};
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

/// Where in a Secret the token is.
pub(super) const TOKEN_KEY: &str = "token";
pub(super) const DAY: i64 = 24 * 3600;

/// Who a Secret is for.
pub(super) struct Holder<'a> {
    pub(super) kind: Kind,
    pub(super) metadata: &'a ObjectMeta,
    pub(super) subject: Subject,
}

impl Holder<'_> {
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn secret_name(&self) -> String {
        format!("{}-{}", self.name(), self.subject.kind.as_str())
    }

    /// The controller reference that its Secret carries.
    pub(super) fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.kind.api_version().to_owned(),
            kind: self.kind.name().to_owned(),
            name: self.name().to_owned(),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// What to do about a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: its token is the holder's, and signed by our key.
    Keep { expires: Timestamp },
    /// Its token is good, but nothing says whose it is: take it into care.
    Adopt { expires: Timestamp },
    /// Its token is good for now, and signed by a key that ends: replace it when there is time.
    Renew { expires: Timestamp },
    /// There is no good token: make one now.
    Issue,
    /// Somebody else controls it: leave it alone.
    Taken { by: String },
}

/// Judges the Secret of a holder. A token counts only for the subject that it was made for, wherever it lies.
pub(super) fn judge(secret: Option<&Secret>, holder: &Holder<'_>, issuer: &TokenIssuer, now: Timestamp) -> Verdict {
    let Some(secret) = secret else { return Verdict::Issue };
    let controller = controller_of(&secret.metadata);
    if let Some(other) = controller.filter(|owner| !is_of(owner, holder)) {
        return Verdict::Taken { by: format!("{} {}", other.kind, other.name) };
    }
    let token = secret.data.as_ref().and_then(|data| data.get(TOKEN_KEY));
    let token = token.and_then(|token| std::str::from_utf8(&token.0).ok());
    let subject = holder.subject.to_string();
    let claims = token.and_then(|token| issuer.verify(token, now).ok()).filter(|claims| claims.sub == subject);
    let Some(claims) = claims else { return Verdict::Issue };
    let expires = claims.expires_at;
    match claims.key.role {
        KeyUse::Retired | KeyUse::Trusted(_) => Verdict::Renew { expires },
        KeyUse::Signing if controller.is_some_and(|owner| Some(&owner.uid) == holder.metadata.uid.as_ref()) => {
            Verdict::Keep { expires }
        }
        KeyUse::Signing => Verdict::Adopt { expires },
    }
}

fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// By name, not by uid: an object that was made again, or moved here, inherits the Secret of the one before it.
fn is_of(owner: &OwnerReference, holder: &Holder<'_>) -> bool {
    let group = |version: &str| version.split_once('/').map(|(group, _)| group.to_owned());
    owner.kind == holder.kind.name()
        && owner.name == holder.name()
        && group(&owner.api_version) == group(holder.kind.api_version())
}

/// Condition `TokenExpiring` for a token that ends at `expires` (kubernetes.md §3.1).
pub(super) fn token_life(expires: Timestamp, now: Timestamp) -> (bool, &'static str, String) {
    let left = expires.as_second() - now.as_second();
    let date = expires.strftime("%Y-%m-%d");
    match left {
        ..=0 => (true, "Expired", format!("the token expired on {date}")),
        _ if left <= 7 * DAY => {
            (true, "ExpiresWithin7Days", format!("the token expires on {date}, in {} days", left / DAY))
        }
        _ if left <= 30 * DAY => {
            (true, "ExpiresWithin30Days", format!("the token expires on {date}, in {} days", left / DAY))
        }
        // No day count here: it would be a write a day for every client.
        _ => (false, "Valid", format!("the token is valid until {date}")),
    }
}

/// When [`token_life`] next says something else.
pub(super) fn next_change(expires: Timestamp, now: Timestamp) -> Timestamp {
    let left = expires.as_second() - now.as_second();
    let next = match left {
        ..=0 => now.as_second() + DAY,
        _ if left > 30 * DAY => expires.as_second() - 30 * DAY,
        _ if left > 7 * DAY && left < 8 * DAY => expires.as_second() - 7 * DAY,
        // The count of days goes down just after each whole day.
        _ if left % DAY == 0 => now.as_second() + 1,
        _ => expires.as_second() - (left / DAY) * DAY + i64::from(left >= DAY),
    };
    Timestamp::from_second(next).unwrap_or(Timestamp::MAX)
}

/// All that a verdict and the status written for it depend on, but for time. Status fields that others write are not
/// among it: an exporter that reports how it is does not make us look at its token.
pub(super) fn fingerprint(object: &Object, secret: Option<&Object>, endpoint: &str, generation: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    let value = object.value();
    let annotations = value.pointer("/metadata/annotations");
    let annotation = |name| annotations.and_then(|annotations| annotations.get(name));
    let mut parts = vec![
        value.pointer("/metadata/uid"),
        annotation(identity::MIGRATED_NAMESPACE),
        annotation(identity::MIGRATED_UID),
        value.pointer("/status/credential"),
        value.pointer("/status/endpoint"),
    ];
    if object.kind() == Kind::Client {
        let conditions = value.pointer("/status/conditions").and_then(|conditions| conditions.as_array());
        let condition = conditions.into_iter().flatten().find(|condition| condition["type"] == "TokenExpiring");
        parts.extend([value.pointer("/status/tokenExpiresAt"), value.pointer("/metadata/generation"), condition]);
    }
    for part in parts {
        part.map(ToString::to_string).hash(&mut hasher);
    }
    secret.map(Object::resource_version).hash(&mut hasher);
    (endpoint, generation).hash(&mut hasher);
    hasher.finish()
}
