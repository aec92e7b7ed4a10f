//! What the process is told by its environment and by the ConfigMap.

use anyhow::Context as _;
use jumpstarter_cluster_config::{CONFIG_MAP, ClusterConfig, Environment};
use jumpstarter_store::{Key, Kind, Store};
use k8s_openapi::api::core::v1::ConfigMap;
use tracing::warn;

/// The operator must change something before a start can succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misconfigured(pub(crate) String);

/// Where a Pod finds the namespace that it runs in.
const MOUNTED_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Reads the environment.
pub(crate) fn environment() -> anyhow::Result<Environment> {
    let mounted = std::fs::read_to_string(MOUNTED_NAMESPACE).ok();
    let environment = Environment::from_vars(std::env::vars_os(), mounted.as_deref())?;
    for warning in &environment.warnings {
        warn!("{warning}");
    }
    Ok(environment)
}

/// Reads the ConfigMap.
pub(crate) async fn read(store: &dyn Store, namespace: &str) -> anyhow::Result<ClusterConfig> {
    let key = Key::new(Kind::ConfigMap, namespace, CONFIG_MAP);
    let object = store.get(&key).await.with_context(|| format!("read ConfigMap {namespace}/{CONFIG_MAP}"))?;
    let Some(object) = object else {
        return Err(Misconfigured(format!(
            "ConfigMap {namespace}/{CONFIG_MAP} is missing: the Helm chart and the operator make it; by hand it needs \
             the keys `config` (may be empty) and `router`"
        ))
        .into());
    };
    let map: ConfigMap = object.decode().with_context(|| format!("read ConfigMap {namespace}/{CONFIG_MAP}"))?;
    let config = ClusterConfig::from_config_map(&map)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    Ok(config)
}
