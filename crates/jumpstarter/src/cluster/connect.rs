//! The way to the API server.

use std::path::Path;

use anyhow::Context as _;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// The cluster of the named file, else of `KUBECONFIG`, else the one that this Pod runs in.
pub(crate) async fn cluster(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig: read {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("--kubeconfig: use {}", path.display()))
        }
        None => Config::infer().await.context(
            "find the cluster: name a file with --kubeconfig or KUBECONFIG, or run in a Pod with a service account",
        ),
    }
}
