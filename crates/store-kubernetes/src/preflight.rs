//! Whether the cluster has what the service needs, asked once at start, with answers that say what to do.

use std::collections::BTreeSet;

use jumpstarter_store::{Kind, StoreError};
use kube::{api::PostParams, core::Request};
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    KubernetesStore, Permission,
    error::{Call, Failure},
};

/// Why the service cannot work with this cluster.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The API server cannot be asked: it does not answer, or does not accept who we are.
    #[error("ask the API server")]
    Unreachable(#[source] StoreError),
    /// Custom resources are not installed.
    #[error(
        "the cluster lacks {}: install the custom resources with `jumpstarter crds | kubectl apply -f -`",
        missing.join(", ")
    )]
    MissingCrds {
        /// Names of the definitions, with what is missing of each.
        missing: Vec<String>,
    },
    /// The namespace does not exist.
    #[error("namespace `{namespace}` does not exist: create it with `kubectl create namespace {namespace}`")]
    MissingNamespace {
        /// The namespace.
        namespace: String,
    },
    /// The service account (or user) may not do what the service does.
    #[error(
        "not allowed in namespace `{namespace}`: {}. Grant this in the Role of the service",
        missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    MissingPermissions {
        /// The namespace.
        namespace: String,
        /// All that is missing.
        missing: Vec<Permission>,
    },
}

impl KubernetesStore {
    /// Checks that the API server answers and accepts us, that the custom resources and the namespace are there, and
    /// that we may do what the service does. What is merely useful and missing is logged.
    ///
    /// Where the cluster does not let us ask, the check passes: the first request will tell.
    ///
    /// An [optional](Kind::is_optional) kind that is not installed, or that we may not watch, is empty from now on, until
    /// the next preflight: a cluster that was set up for an older service goes on as it is.
    pub async fn preflight(&self) -> Result<(), PreflightError> {
        let mut absent = self.check_crds().await?;
        self.check_namespace().await?;
        absent.extend(self.check_permissions().await?);
        self.note_absent(absent);
        Ok(())
    }

    /// Returns the optional kinds that are not installed.
    async fn check_crds(&self) -> Result<BTreeSet<Kind>, PreflightError> {
        let wanted = Kind::ALL.into_iter().filter(|kind| !kind.is_core());
        let call = discovery();
        let path = format!("/apis/{}", jumpstarter_model::API_VERSION);
        let served = match self.api().json(&call, read(&path)?).await {
            Ok(list) => list["resources"].as_array().cloned().unwrap_or_default(),
            Err(failure) if failure.code() == 404 => Vec::new(),
            Err(failure) if failure.code() == 403 => {
                warn!("not allowed to ask which custom resources there are; going on without");
                return Ok(BTreeSet::new());
            }
            Err(failure) => return Err(unreachable(failure, &call)),
        };
        let is_served = |name: &str| served.iter().any(|resource| resource["name"] == name);
        let version = jumpstarter_model::API_VERSION.rsplit('/').next().unwrap_or_default();
        let (mut missing, mut absent) = (Vec::new(), BTreeSet::new());
        for kind in wanted {
            let name = format!("{}.{}", kind.plural(), kind.group());
            let lacks = if !is_served(kind.plural()) {
                format!("{name} (version {version})")
            } else if kind.has_status() && !is_served(&format!("{}/status", kind.plural())) {
                format!("the status subresource of {name}")
            } else {
                continue;
            };
            if kind.is_optional() {
                warn!(
                    "the cluster lacks {lacks}, going on without: install it with `jumpstarter crds | kubectl apply -f -`"
                );
                absent.insert(kind);
            } else {
                missing.push(lacks);
            }
        }
        if missing.is_empty() { Ok(absent) } else { Err(PreflightError::MissingCrds { missing }) }
    }

    /// Asks for an Event to be made, and for it not to be made: that works only in a namespace that exists.
    async fn check_namespace(&self) -> Result<(), PreflightError> {
        let namespace = self.namespace();
        let call = Call { verb: "create", group: "", resource: "events", subresource: "", namespace: namespace.into() };
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "generateName": "preflight-", "namespace": namespace },
            "involvedObject": { "kind": "Namespace", "name": namespace, "namespace": namespace },
            "reason": "Preflight", "type": "Normal",
        });
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/events"));
        let request = request.create(&dry, event.to_string().into_bytes()).map_err(|error| garbled(&error, &call))?;
        match self.api().json(&call, request).await {
            Err(Failure::Refused { status, .. })
                if status.code == 404 && status.details.as_ref().is_some_and(|found| found.kind == "namespaces") =>
            {
                Err(PreflightError::MissingNamespace { namespace: namespace.to_owned() })
            }
            Err(failure @ (Failure::Lost(_) | Failure::Credentials(_))) => Err(unreachable(failure, &call)),
            Err(failure) if failure.code() == 401 => Err(unreachable(failure, &call)),
            // Events may be forbidden: that is the next check's.
            _ => Ok(()),
        }
    }

    /// Returns the optional kinds that we may not watch.
    async fn check_permissions(&self) -> Result<BTreeSet<Kind>, PreflightError> {
        let rules = match self.review("selfsubjectrulesreviews", json!({ "namespace": self.namespace() })).await {
            Ok(review) => review["status"]["resourceRules"].as_array().cloned().unwrap_or_default(),
            Err(failure) if matches!(failure.code(), 403 | 404) => {
                warn!("not allowed to ask what this process is allowed to do; going on without");
                return Ok(BTreeSet::new());
            }
            Err(failure) => return Err(unreachable(failure, &review_call("selfsubjectrulesreviews"))),
        };
        let (mut missing, mut absent) = (Vec::new(), BTreeSet::new());
        for permission in Permission::required() {
            if !permission.is_granted(&rules) && !self.is_allowed(permission).await? {
                missing.push(permission);
            }
        }
        for (permission, without) in Permission::optional() {
            if !permission.is_granted(&rules) && !self.is_allowed(permission).await? {
                warn!("not allowed to {permission} in namespace `{}`: {without}", self.namespace());
                absent.extend(permission.reads());
            }
        }
        if missing.is_empty() {
            return Ok(absent);
        }
        Err(PreflightError::MissingPermissions { namespace: self.namespace().to_owned(), missing })
    }

    /// Asks about one permission: authorizers other than RBAC grant what no rule shows.
    async fn is_allowed(&self, permission: Permission) -> Result<bool, PreflightError> {
        let Permission { group, resource, subresource, verb } = permission;
        let attributes = json!({
            "namespace": self.namespace(), "group": group, "resource": resource, "subresource": subresource,
            "verb": verb,
        });
        match self.review("selfsubjectaccessreviews", json!({ "resourceAttributes": attributes })).await {
            Ok(review) => Ok(review["status"]["allowed"] == true),
            Err(failure) if matches!(failure.code(), 403 | 404) => Ok(false),
            Err(failure) => Err(unreachable(failure, &review_call("selfsubjectaccessreviews"))),
        }
    }

    async fn review(&self, resource: &'static str, spec: Value) -> Result<Value, Failure> {
        let kind =
            if resource == "selfsubjectrulesreviews" { "SelfSubjectRulesReview" } else { "SelfSubjectAccessReview" };
        let body = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec });
        let request = Request::new(format!("/apis/authorization.k8s.io/v1/{resource}"));
        let request = request
            .create(&PostParams::default(), body.to_string().into_bytes())
            .map_err(|error| Failure::Garbled(error.to_string()))?;
        self.api().json(&review_call(resource), request).await
    }
}

fn discovery() -> Call {
    Call { verb: "get", group: "", resource: "discovery", subresource: "", namespace: String::new() }
}

fn review_call(resource: &'static str) -> Call {
    let group = "authorization.k8s.io";
    Call { verb: "create", group, resource, subresource: "", namespace: String::new() }
}

fn read(path: &str) -> Result<http::Request<Vec<u8>>, PreflightError> {
    let request = http::Request::get(path).body(Vec::new());
    request.map_err(|error| PreflightError::Unreachable(StoreError::Invalid(error.to_string())))
}

fn unreachable(failure: Failure, call: &Call) -> PreflightError {
    PreflightError::Unreachable(failure.into_store(call, None))
}

fn garbled(error: &kube::core::request::Error, call: &Call) -> PreflightError {
    unreachable(Failure::Garbled(error.to_string()), call)
}
