//! Refusals as Kubernetes says them: a `Status` body with a reason.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jumpstarter_store::{
    Key, Kind, StoreError,
    manifest::ImportError,
    validate::{Fault, FaultKind},
};
use serde_json::{Value, json};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    #[error("{0}")]
    BadRequest(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("{0}")]
    UnsupportedMediaType(String),
    #[error("namespaces \"{asked}\" not found: this service serves the namespace \"{served}\"")]
    Namespace { asked: String, served: String },
    #[error("{}", invalid(*kind, name, faults))]
    Invalid { kind: Kind, name: String, faults: Vec<Fault> },
    #[error("{}", store_message(.0))]
    Store(#[from] StoreError),
    #[error(transparent)]
    Import(ImportError),
}

impl ApiError {
    /// The refusal of a manifest. Unknown fields are a mistake in the request, the rest a rule that it breaks.
    pub(crate) fn from_faults(kind: Kind, name: &str, faults: Vec<Fault>) -> Self {
        let unknown: Vec<String> =
            faults.iter().filter(|fault| fault.kind == FaultKind::Unknown).map(ToString::to_string).collect();
        if unknown.is_empty() {
            return Self::Invalid { kind, name: name.to_owned(), faults };
        }
        Self::BadRequest(format!("strict decoding error: {}", unknown.join(", ")))
    }

    /// The `Status` body.
    pub(crate) fn status(&self) -> Value {
        let (code, reason) = self.code();
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "reason": reason, "code": code.as_u16(),
        });
        if let Some(details) = self.details() {
            body["details"] = details;
        }
        body
    }

    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath | Self::Namespace { .. } | Self::Store(StoreError::NotFound(_)) => {
                (StatusCode::NOT_FOUND, "NotFound")
            }
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::BadRequest(_) | Self::Store(StoreError::Invalid(_)) | Self::Import(ImportError::Read(_)) => {
                (StatusCode::BAD_REQUEST, "BadRequest")
            }
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::Invalid { .. } | Self::Import(ImportError::Faults(_)) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Invalid")
            }
            Self::Store(StoreError::AlreadyExists(_)) => (StatusCode::CONFLICT, "AlreadyExists"),
            Self::Store(StoreError::Conflict { .. }) => (StatusCode::CONFLICT, "Conflict"),
            Self::Store(StoreError::Gone { .. }) => (StatusCode::GONE, "Expired"),
            Self::Store(StoreError::Full(_)) | Self::Import(ImportError::Store(StoreError::Full(_))) => {
                (StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage")
            }
            Self::Store(StoreError::Unavailable(_)) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::Store(StoreError::Corrupt(_)) | Self::Import(ImportError::Store(_)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
            }
        }
    }

    fn details(&self) -> Option<Value> {
        let of = |key: &Key| json!({ "name": key.name, "group": key.kind.group(), "kind": key.kind.plural() });
        match self {
            Self::Store(
                StoreError::NotFound(key) | StoreError::AlreadyExists(key) | StoreError::Conflict { key, .. },
            ) => Some(of(key)),
            Self::Invalid { kind, name, faults } => {
                let causes: Vec<Value> = faults
                    .iter()
                    .map(|fault| {
                        let message = fault.message.as_str();
                        json!({ "reason": fault.kind.reason(), "message": message, "field": fault.field })
                    })
                    .collect();
                Some(json!({ "name": name, "group": kind.group(), "kind": kind.name(), "causes": causes }))
            }
            Self::Import(ImportError::Faults(faults)) => {
                let causes: Vec<Value> = faults.iter().map(|fault| json!({ "message": fault.to_string() })).collect();
                Some(json!({ "causes": causes }))
            }
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.code().0, axum::Json(self.status())).into_response()
    }
}

/// `clients.jumpstarter.dev`, or the bare plural of a core kind.
pub(crate) fn qualified(kind: Kind) -> String {
    if kind.is_core() { kind.plural().to_owned() } else { format!("{}.{}", kind.plural(), kind.group()) }
}

/// Known texts where clients know them.
fn store_message(error: &StoreError) -> String {
    match error {
        StoreError::NotFound(key) => format!("{} \"{}\" not found", qualified(key.kind), key.name),
        StoreError::AlreadyExists(key) => format!("{} \"{}\" already exists", qualified(key.kind), key.name),
        StoreError::Conflict { key, detail } => format!(
            "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to \
             the latest version and try again ({detail})",
            qualified(key.kind),
            key.name
        ),
        StoreError::Gone { .. } => format!("The provided version is too old: {error}"),
        StoreError::Invalid(_) | StoreError::Full(_) | StoreError::Unavailable(_) | StoreError::Corrupt(_) => {
            error.to_string()
        }
    }
}

fn invalid(kind: Kind, name: &str, faults: &[Fault]) -> String {
    let type_ = if kind.is_core() { kind.name().to_owned() } else { format!("{}.{}", kind.name(), kind.group()) };
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    match &faults[..] {
        [only] => format!("{type_} \"{name}\" is invalid: {only}"),
        _ => format!("{type_} \"{name}\" is invalid: [{}]", faults.join(", ")),
    }
}
