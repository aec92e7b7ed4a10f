//! Bodies of requests: bounded, in time, JSON or YAML.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::error::ApiError;

/// Largest manifest: twice the largest object that a store takes, as the API server does.
pub(crate) const MAX_BODY: usize = 3 << 20;
/// Longest that a client may take to send a body.
const PATIENCE: Duration = Duration::from_mins(1);

/// All of a body.
pub(crate) async fn read(request: Request<Body>, limit: usize) -> Result<(HeaderMap, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok((parts.headers, collected.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge(limit)),
        Ok(Err(error)) => Err(ApiError::BadRequest(format!("the body cannot be read: {error}"))),
        Err(_) => Err(ApiError::Timeout),
    }
}

/// The media type without its parameters, in lower case; empty when none is given.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A JSON body.
pub(crate) fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::BadRequest(format!("the object provided is unrecognized: {error}")))
}

/// A YAML body; JSON is YAML too.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    // A label value `y` or `on` is text for every other reader of manifests.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_slice_with_options(bytes, options).map_err(|error| {
        let error = error.to_string();
        let line = error.lines().next().unwrap_or_default();
        ApiError::BadRequest(format!("the object provided is unrecognized: {line}"))
    })
}

/// An object in whichever of the two the client says.
pub(crate) async fn object(request: Request<Body>) -> Result<Value, ApiError> {
    let (headers, bytes) = read(request, MAX_BODY).await?;
    match media_type(&headers).as_str() {
        "" | "application/json" => json(&bytes),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(&bytes),
        other => Err(ApiError::UnsupportedMediaType(format!(
            "the body of the request was in an unknown format - {other}: use application/json or application/yaml"
        ))),
    }
}
