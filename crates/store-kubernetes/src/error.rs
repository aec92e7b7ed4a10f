//! What a request that failed means, in the words of the store.

use std::{fmt, time::Duration};

use jumpstarter_store::{Key, Kind, StoreError};
use kube::core::Status;

/// What is asked of the API server; for messages and metrics.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
    pub(crate) namespace: String,
}

impl Call {
    /// A call about objects of a kind.
    pub(crate) fn of(verb: &'static str, kind: Kind, namespace: &str) -> Self {
        let (group, resource) = (kind.group(), kind.plural());
        Self { verb, group, resource, subresource: "", namespace: namespace.to_owned() }
    }

    /// The same for `status`.
    pub(crate) fn status(self) -> Self {
        Self { subresource: "status", ..self }
    }

    /// Whether it can be made again without harm.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch")
    }
}

/// As RBAC writes it: ``update leases.jumpstarter.dev/status in namespace `lab` ``.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in namespace `{}`", self.namespace)?;
        }
        Ok(())
    }
}

/// Why there is no answer that helps.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The API server refused.
    Refused {
        /// Its answer.
        status: Box<Status>,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// There was no answer, or not all of it.
    Lost(String),
    /// There are no credentials to send.
    Credentials(String),
    /// The answer was not what the API answers.
    Garbled(String),
}

impl Failure {
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => status.code,
            Self::Lost(_) | Self::Credentials(_) | Self::Garbled(_) => 0,
        }
    }

    /// For metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Lost(_) => "lost",
            Self::Credentials(_) => "unauthenticated",
            Self::Garbled(_) => "garbled",
            Self::Refused { status, .. } => match status.code {
                401 => "unauthenticated",
                403 => "forbidden",
                404 => "not_found",
                409 => "conflict",
                410 => "gone",
                429 => "throttled",
                400..=499 => "invalid",
                _ => "server_error",
            },
        }
    }

    /// History is over at the version asked for.
    pub(crate) fn is_gone(&self) -> bool {
        self.code() == 410
    }

    /// The object is not there (and not: its kind is not).
    pub(crate) fn is_absent(&self, call: &Call) -> bool {
        matches!(self, Self::Refused { status, .. } if status.code == 404
            && status.details.as_ref().is_some_and(|details| details.kind == call.resource && !details.name.is_empty()))
    }

    /// A refusal that only a person can end: of who we are, or of what the cluster lacks.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::Credentials(_)) || matches!(self.code(), 401 | 403 | 404)
    }

    /// What a caller of the store is told.
    pub(crate) fn into_store(self, call: &Call, key: Option<&Key>) -> StoreError {
        let (status, retry_after) = match self {
            Self::Refused { ref status, retry_after } => (status, retry_after),
            Self::Lost(ref detail) => return StoreError::Unavailable(format!("{call}: {detail}")),
            Self::Garbled(ref detail) => {
                return StoreError::Unavailable(format!(
                    "{call}: what came back is no answer of an API server: {detail}"
                ));
            }
            Self::Credentials(ref detail) => {
                return StoreError::Unavailable(format!(
                    "{call}: no credentials for the API server: {detail}. Check the kubeconfig or the service account"
                ));
            }
        };
        let said = status.message.trim();
        match (status.code, key) {
            (401, _) => StoreError::Unavailable(format!(
                "{call}: the API server does not accept the credentials of this process ({said}). Renew the token in the \
                 kubeconfig or the service account, it may have expired"
            )),
            // Not who we are but what we sent: a quota, or a policy of the cluster.
            (403, Some(_)) if !call.is_read() && !is_of_rights(said) => StoreError::Invalid(said.to_owned()),
            (403, _) => StoreError::Unavailable(format!(
                "not allowed to {call} ({said}). Grant the verb in the Role of the service"
            )),
            (404, Some(key)) if self.is_absent(call) => StoreError::NotFound(key.clone()),
            (404, _) if status.details.as_ref().is_some_and(|details| details.kind == "namespaces") => {
                StoreError::Invalid(format!("{call}: the namespace does not exist. Create it first"))
            }
            (404, _) => StoreError::Unavailable(format!(
                "{call}: the API server does not know this kind ({said}). Install the custom resources: jumpstarter crds \
                 | kubectl apply -f -"
            )),
            (409, Some(key)) if status.is_already_exists() => StoreError::AlreadyExists(key.clone()),
            // In these words a write with a `uid` learns that there is no object to compare it with.
            (409, Some(key)) if said.ends_with("UID in object meta:") => StoreError::NotFound(key.clone()),
            (409, Some(key)) => StoreError::Conflict { key: key.clone(), detail: said.to_owned() },
            (429, _) => StoreError::Unavailable(format!(
                "{call}: the API server asks to slow down, {} s ({said})",
                retry_after.unwrap_or_default().as_secs()
            )),
            (400..=499, _) => StoreError::Invalid(said.to_owned()),
            _ if said.contains("database space exceeded") => StoreError::Full(format!("{call}: {said}")),
            (code, _) => StoreError::Unavailable(format!("{call}: the API server failed with {code}: {said}")),
        }
    }
}

/// Whether a refusal is one of an authorizer, in the words that all API servers use.
fn is_of_rights(said: &str) -> bool {
    said.contains(" cannot ") && (said.contains(" resource ") || said.contains(" path "))
}

/// An error with everything below it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let below = error.to_string();
        if !text.contains(&below) {
            text = format!("{text}: {below}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(code: u16, reason: &str, message: &str, details: Option<(&str, &str)>) -> Failure {
        let mut status = Status::failure(message, reason).with_code(code);
        if let Some((kind, name)) = details {
            let details = serde_json::from_value(json!({ "kind": kind, "name": name })).unwrap();
            status = status.with_details(details);
        }
        Failure::Refused { status: status.boxed(), retry_after: None }
    }

    #[track_caller]
    fn check(failure: Failure, wanted: fn(&StoreError) -> bool, words: &[&str]) {
        let call = Call::of("update", Kind::Lease, "lab").status();
        let key = Key::new(Kind::Lease, "lab", "l");
        let error = failure.into_store(&call, Some(&key));
        assert!(wanted(&error), "{error:?}");
        for word in words {
            assert!(error.to_string().contains(word), "`{error}` should mention {word}");
        }
    }

    #[test]
    fn each_refusal_becomes_what_a_caller_can_act_on() {
        let unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable(_));
        let invalid = |error: &StoreError| matches!(error, StoreError::Invalid(_));
        check(refused(401, "Unauthorized", "Unauthorized", None), unavailable, &["credentials", "token"]);
        check(
            refused(403, "Forbidden", "User \"u\" cannot update resource \"leases/status\" in API group", None),
            unavailable,
            &["update leases.jumpstarter.dev/status", "namespace `lab`"],
        );
        check(refused(403, "Forbidden", "exceeded quota: few", None), invalid, &["exceeded quota"]);
        check(
            refused(404, "NotFound", "gone", Some(("leases", "l"))),
            |error| matches!(error, StoreError::NotFound(key) if key.name == "l"),
            &[],
        );
        check(refused(404, "NotFound", "no page", None), unavailable, &["jumpstarter crds | kubectl apply"]);
        check(refused(404, "NotFound", "no", Some(("namespaces", "lab"))), invalid, &["namespace `lab`"]);
        check(refused(409, "AlreadyExists", "", None), |error| matches!(error, StoreError::AlreadyExists(_)), &[]);
        check(refused(409, "Conflict", "x", None), |error| matches!(error, StoreError::Conflict { .. }), &["x"]);
        check(
            refused(409, "Conflict", "Precondition failed: UID in precondition: u, UID in object meta: ", None),
            |error| matches!(error, StoreError::NotFound(_)),
            &[],
        );
        check(refused(422, "Invalid", "tags are immutable", None), invalid, &["tags are immutable"]);
        check(refused(500, "InternalError", "boom", None), unavailable, &["boom"]);
        check(
            refused(500, "", "etcdserver: mvcc: database space exceeded", None),
            |error| matches!(error, StoreError::Full(_)),
            &[],
        );
        check(Failure::Lost("no answer".into()), unavailable, &["no answer"]);
    }
}
