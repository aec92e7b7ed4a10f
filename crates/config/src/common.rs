//! Parts that client and exporter configurations share.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ConfigError;

/// The only version of the file format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// `jumpstarter.dev/v1alpha1`.
    #[default]
    #[serde(rename = "jumpstarter.dev/v1alpha1")]
    V1Alpha1,
}

/// gRPC channel arguments by name (`grpc.keepalive_time_ms`); unknown names are ignored by the reader.
pub type GrpcOptions = Map<String, Value>;

/// Whose configuration this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectMeta {
    /// Namespace of the object; the key must be there, the value may be null.
    #[serde(deserialize_with = "required_nullable")]
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: String,
}

impl ObjectMeta {
    /// An object in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), name: name.into() }
    }
}

/// `Option` without serde's habit of making the key optional.
fn required_nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer)
}

/// How peers are verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsConfig {
    /// Base64 of the PEM bundle that is the only trust; empty means the system's roots.
    #[serde(default)]
    pub ca: String,
    /// TLS without checking the chain; the host name must still match.
    #[serde(default)]
    pub insecure: bool,
}

impl TlsConfig {
    /// Trust in exactly the certificates of this PEM bundle.
    #[must_use]
    pub fn from_pem(pem: &[u8]) -> Self {
        Self { ca: STANDARD.encode(pem), insecure: false }
    }

    /// The PEM bundle behind `ca`, or none when the system's roots are to be used.
    pub fn ca_pem(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let text: String = self.ca.split_whitespace().collect();
        if text.is_empty() {
            return Ok(None);
        }
        let pem = STANDARD.decode(&text).map_err(|err| ConfigError::Ca(err.to_string()))?;
        if !pem.windows(10).any(|w| w == b"-----BEGIN") {
            return Err(ConfigError::Ca("it decodes, but to no PEM block".to_owned()));
        }
        Ok(Some(pem))
    }
}
