//! From a configuration to a storage.
use std::{collections::HashMap, sync::Once, time::Duration};

use opendal::{
    Operator,
    layers::{RetryLayer, TimeoutLayer},
};
use serde_json::{Map, Value};

/// An operation on a distant storage without an answer for this long has failed; transfers count each part.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Attempts at an operation on a distant storage that failed for a passing reason.
const ATTEMPTS: usize = 4;

/// Options of a service: texts by name. Numbers and truth values are taken as their text.
///
/// # Errors
/// When a value has no text.
pub(super) fn options(kwargs: Map<String, Value>) -> Result<HashMap<String, String>, String> {
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Bool(_) | Value::Number(_) => Ok((name, value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("config: kwargs.{name} must be a string, got {}", crate::args::kind(&value)))
        }
    };
    kwargs.into_iter().map(text).collect()
}

/// The storage of the service `scheme`.
///
/// # Errors
/// When the service does not exist here, or its options are wrong.
pub(super) fn build(scheme: &str, options: HashMap<String, String>) -> Result<Operator, String> {
    static SERVICES: Once = Once::new();
    static TRANSPORT: Once = Once::new();
    SERVICES.call_once(opendal::install_default);
    if !["fs", "http", "memory", "s3"].contains(&scheme) {
        return Err(format!("config: scheme '{scheme}' is not built in; there are fs, http, memory and s3"));
    }
    let local = ["fs", "memory"].contains(&scheme);
    if !local {
        // Not done by `opendal` itself, as the provider of TLS is left to us.
        TRANSPORT.call_once(opendal_http_transport_reqwest::install_default);
    }
    let operator = Operator::via_iter(scheme, options).map_err(|err| format!("config: {err}"))?;
    if local {
        return Ok(operator);
    }
    Ok(operator
        .layer(TimeoutLayer::new().with_timeout(TIMEOUT).with_io_timeout(TIMEOUT))
        .layer(RetryLayer::new().with_max_times(ATTEMPTS).with_jitter()))
}
