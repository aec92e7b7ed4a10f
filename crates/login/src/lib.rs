//! The login service: where `jmp login` learns how to reach the lab, and people read how to begin (kubernetes.md §6.6).
//!
//! Plain HTTP without state and without secrets: everything that it says is public. TLS is the ingress's business.

mod answer;
mod page;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};

pub use answer::{CLIENT_ID, Oidc};

/// What the service tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginInfo {
    /// Public `host:port` of the controller.
    pub grpc_endpoint: String,
    /// Public `host:port` of a router; not told when absent.
    pub router_endpoint: Option<String>,
    /// The namespace that is served.
    pub namespace: String,
    /// Where this service is reached, for the command on the page; a placeholder when absent.
    pub login_endpoint: Option<String>,
    /// Certificates that clients are to trust, as PEM text; not told when absent.
    pub ca_bundle: Option<String>,
    /// External identity providers, in the order in which clients are to try them.
    pub oidc: Vec<Oidc>,
}

/// `/`, `/v1/auth/config` and `/healthz`; anything else is 404. The answers are made once.
pub fn routes(info: &LoginInfo) -> Router {
    let page = Arc::new(page::render(info));
    let config = Arc::new(answer::AuthConfig::new(info));
    Router::new()
        .route("/", get(landing).with_state(page))
        .route("/v1/auth/config", get(auth_config).with_state(config))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
}

async fn landing(State(page): State<Arc<String>>) -> impl IntoResponse {
    let headers = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, page::CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(page.as_str().to_owned()))
}

async fn auth_config(State(config): State<Arc<answer::AuthConfig>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-cache")], Json(config.as_ref().clone()))
}
