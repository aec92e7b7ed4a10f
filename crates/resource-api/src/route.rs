//! From a request to the function that answers it.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{Method, Request};
use jumpstarter_store::{EmbeddedStore, Kind, Store};

use crate::{admin, discovery, error::ApiError, list, params::Params, unix::Stop, write};

/// What every answer is made from.
pub(crate) struct Api {
    pub(crate) store: Arc<dyn Store>,
    /// The namespace that the service serves; objects are created in no other.
    pub(crate) namespace: String,
    /// For what is not the business of every store: backup, export, import.
    pub(crate) embedded: Option<EmbeddedStore>,
}

/// The API over a store. Objects are created only in `namespace`, which is the one that the service looks at. With
/// `embedded` (the same store) there are also `POST /backup`, `/export`, `/import` and `/check`.
pub fn router(store: Arc<dyn Store>, namespace: impl Into<String>, embedded: Option<EmbeddedStore>) -> Router {
    let api = Api { store, namespace: namespace.into(), embedded };
    Router::new().fallback(answer).with_state(Arc::new(api))
}

/// Objects that a path is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// Absent for a list of all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) status: bool,
}

async fn answer(State(api): State<Arc<Api>>, request: Request<axum::body::Body>) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let result = dispatch(&api, request).await;
    if let Err(error) = &result {
        tracing::debug!(%method, path, %error, "refused");
    }
    result.unwrap_or_else(IntoResponse::into_response)
}

async fn dispatch(api: &Arc<Api>, request: Request<axum::body::Body>) -> Result<Response, ApiError> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    if let ["backup" | "export" | "import" | "check"] = segments[..] {
        return admin::answer(api, segments[0], request).await;
    }
    if get && let Some(document) = discovery::document(api, &segments) {
        return Ok(axum::Json(document).into_response());
    }
    let target = target(&segments).ok_or(ApiError::NoSuchPath)?;
    let params = Params::from_uri(request.uri())?;
    let stop = request.extensions().get::<Stop>().cloned();
    match (request.method(), &target.name, target.status) {
        (&Method::GET | &Method::HEAD, None, _) => list::list(api, &target, params, stop).await,
        (&Method::GET | &Method::HEAD, Some(_), _) => list::get(api, &target).await,
        (&Method::POST, None, _) if target.namespace.is_some() => write::create(api, &target, &params, request).await,
        (&Method::PUT, Some(_), _) => write::replace(api, &target, &params, request).await,
        (&Method::PATCH, Some(_), _) => write::patch(api, &target, &params, request).await,
        (&Method::DELETE, Some(_), false) => write::delete(api, &target, &params, request).await,
        _ => Err(ApiError::MethodNotAllowed),
    }
}

fn target(segments: &[&str]) -> Option<Target> {
    let (core, rest) = match segments {
        ["api", "v1", rest @ ..] => (true, rest),
        ["apis", group, version, rest @ ..]
            if *group == jumpstarter_model::GROUP && *version == jumpstarter_model::VERSION =>
        {
            (false, rest)
        }
        _ => return None,
    };
    let (namespace, plural, name, status) = match *rest {
        [plural] => (None, plural, None, false),
        ["namespaces", namespace, plural] => (Some(namespace), plural, None, false),
        ["namespaces", namespace, plural, name] => (Some(namespace), plural, Some(name), false),
        ["namespaces", namespace, plural, name, "status"] => (Some(namespace), plural, Some(name), true),
        _ => return None,
    };
    let kind = Kind::from_plural(plural).filter(|kind| kind.is_core() == core && !(core && status))?;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    if namespace == Some("") || name == Some("") {
        return None;
    }
    Some(Target { kind, namespace: namespace.and_then(text), name: name.and_then(text), status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<(Kind, Option<&str>, Option<&str>, bool)>) {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let expected = expected.map(|(kind, namespace, name, status)| Target {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            status,
        });
        assert_eq!(target(&segments), expected, "{path}");
    }

    #[test]
    fn paths_are_those_of_kubernetes() {
        let group = "/apis/jumpstarter.dev/v1alpha1";
        check(&format!("{group}/clients"), Some((Kind::Client, None, None, false)));
        check(&format!("{group}/namespaces/lab/leases"), Some((Kind::Lease, Some("lab"), None, false)));
        check(&format!("{group}/namespaces/lab/leases/l"), Some((Kind::Lease, Some("lab"), Some("l"), false)));
        check(&format!("{group}/namespaces/lab/leases/l/status"), Some((Kind::Lease, Some("lab"), Some("l"), true)));
        check("/api/v1/namespaces/lab/secrets/s", Some((Kind::Secret, Some("lab"), Some("s"), false)));
        check("/api/v1/namespaces/lab/secrets/s/status", None);
        check("/api/v1/namespaces/lab/leases", None);
        check(&format!("{group}/namespaces/lab/secrets"), None);
        check(&format!("{group}/namespaces//leases"), None);
        check(&format!("{group}/namespaces/lab/leases/l/scale"), None);
        check("/apis/jumpstarter.dev/v2/clients", None);
        check("/", None);
    }
}
