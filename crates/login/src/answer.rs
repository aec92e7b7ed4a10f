//! `/v1/auth/config`: the JSON that `jmp login` reads.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::LoginInfo;

/// The OIDC client that command lines are.
pub const CLIENT_ID: &str = "jumpstarter-cli";

/// One external identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// Its URL, verbatim.
    pub issuer: String,
    /// What tokens must be meant for.
    pub audiences: Vec<String>,
}

/// Field order is the order on the wire.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthConfig {
    grpc_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    router_endpoint: Option<String>,
    namespace: String,
    /// Base64 of the PEM text, as `tls.ca` of a client's configuration has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_bundle: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    oidc: Vec<Provider>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    issuer: String,
    client_id: &'static str,
    audiences: Vec<String>,
}

impl AuthConfig {
    pub(crate) fn new(info: &LoginInfo) -> Self {
        let LoginInfo { grpc_endpoint, router_endpoint, namespace, login_endpoint: _, ca_bundle, oidc } = info;
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let provider = |oidc: &Oidc| Provider {
            issuer: oidc.issuer.clone(),
            client_id: CLIENT_ID,
            audiences: oidc.audiences.clone(),
        };
        Self {
            grpc_endpoint: grpc_endpoint.clone(),
            router_endpoint: filled(router_endpoint),
            namespace: namespace.clone(),
            ca_bundle: filled(ca_bundle).map(|text| STANDARD.encode(text)),
            oidc: oidc.iter().map(provider).collect(),
        }
    }
}
