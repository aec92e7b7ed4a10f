//! From a kubeconfig or a Pod's service account to a client.

use std::time::Duration;

use kube::{Client, Config, config::InferConfigError};

/// Longest that a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account was found, or what was found is no configuration.
    #[error("find the cluster: set KUBECONFIG to a file that exists, or run in a Pod with a service account")]
    Config(#[source] Box<InferConfigError>),
    /// The configuration names certificates or credentials that cannot be used.
    #[error("use the certificates and credentials of the cluster's configuration")]
    Client(#[source] Box<kube::Error>),
}

/// A client for the cluster of `KUBECONFIG` (else `~/.kube/config`), or in a Pod for the one that it runs in.
///
/// Nothing is sent yet: [`KubernetesStore::preflight`](crate::KubernetesStore::preflight) tells whether the API server
/// can be reached. The client's default namespace is that of the configuration.
pub async fn connect() -> Result<Client, ConnectError> {
    let config = Config::infer().await.map_err(|error| ConnectError::Config(Box::new(error)))?;
    client(config)
}

/// A client as the store wants it: the store itself decides what is tried again, and when.
pub fn client(mut config: Config) -> Result<Client, ConnectError> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Requests have deadlines of their own, and watches are quiet for long.
    config.read_timeout = None;
    Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}
