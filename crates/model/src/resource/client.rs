//! Client: a person, test or job that may ask for leases (kubernetes.md §1.2).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalObjectReference;

/// What an administrator says of a client.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "Client",
    plural = "clients",
    singular = "client",
    namespaced,
    status = "ClientStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A person, test or job that may ask for leases",
    printcolumn(name = "Token Expires", type_ = "string", json_path = ".status.tokenExpiresAt")
)]
#[serde(rename_all = "camelCase")]
pub struct ClientSpec {
    /// External user name accepted for this client, compared verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// What the controller says of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientStatus {
    /// Conditions, in the order in which their types first appeared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Secret that holds the client's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<LocalObjectReference>,
    /// Controller endpoint to be written into the client's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// When the token in the Secret expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Time>,
}
