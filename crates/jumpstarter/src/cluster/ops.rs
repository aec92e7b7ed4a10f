//! Health and metrics of a replica.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::gauge::Gauge,
    registry::Registry,
};

/// What the ports for machines tell. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ops(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ready: AtomicBool,
    /// Metrics of the process.
    process: RwLock<Registry>,
    /// Metrics of the term, while this replica leads.
    term: RwLock<Option<Registry>>,
    leads: Gauge<i64, AtomicI64>,
}

impl Ops {
    /// Registers what the replica itself tells.
    pub(crate) fn new() -> Self {
        let ops = Self::default();
        let leads = ops.0.leads.clone();
        ops.with_registry(|registry| {
            registry.register("jumpstarter_leader", "Whether this replica leads", leads);
        });
        ops
    }

    /// Registers metrics that live as long as the process.
    pub(crate) fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.process.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether connections are welcome.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// Shows the metrics of a term, or none.
    pub(crate) fn set_term(&self, registry: Option<Registry>) {
        self.0.leads.set(i64::from(registry.is_some()));
        *self.0.term.write().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.0.process.read().unwrap_or_else(PoisonError::into_inner))?;
        if let Some(registry) = &*self.0.term.read().unwrap_or_else(PoisonError::into_inner) {
            encode_registry(&mut text, registry)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// `/healthz` and `/readyz`.
pub(crate) fn health(ops: Ops) -> axum::Router {
    axum::Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(readiness)).with_state(ops)
}

/// `/metrics`.
pub(crate) fn metrics(ops: Ops) -> axum::Router {
    axum::Router::new().route("/metrics", get(encoded)).with_state(ops)
}

async fn readiness(State(ops): State<Ops>) -> impl IntoResponse {
    if ops.0.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or draining")
    }
}

async fn encoded(State(ops): State<Ops>) -> axum::response::Response {
    match ops.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
