//! The API that holds the objects: a Kubernetes cluster, or a service on this machine behind a socket.

mod credentials;
mod objects;
mod socket;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub(crate) use objects::{Cluster, Kind};

use crate::failure::{Failure, chain};

/// Longest wait for one answer of the API.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the objects are; common to all `admin` commands.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Kubernetes namespace to use.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Path to the kubeconfig file.
    #[arg(long, value_name = "PATH", value_parser = existing)]
    kubeconfig: Option<PathBuf>,
    /// Kubernetes context to use.
    #[arg(long)]
    context: Option<String>,
    /// Data directory of a service on this machine, instead of Kubernetes; also `JUMPSTARTER_DATA_DIR`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn existing(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.exists() { Ok(path) } else { Err(format!("Path '{text}' does not exist.")) }
}

impl Place {
    /// Connects: `--data-dir`, else `--kubeconfig` and `--context`, else `JUMPSTARTER_DATA_DIR`, else the usual
    /// kubeconfig.
    pub(crate) async fn connect(&self) -> Result<Cluster, Failure> {
        let Self { namespace, kubeconfig, context, data_dir } = self;
        jumpstarter_model::name::validate_label("namespace", namespace)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        if data_dir.is_some() && (kubeconfig.is_some() || context.is_some()) {
            let message = "only one of --data-dir and --kubeconfig, --context should be specified";
            return Err(Failure::Usage(message.to_owned()));
        }
        let from_environment = || {
            let value = std::env::var_os("JUMPSTARTER_DATA_DIR").filter(|value| !value.is_empty())?;
            (kubeconfig.is_none() && context.is_none()).then(|| PathBuf::from(value))
        };
        let client = match data_dir.clone().or_else(from_environment) {
            Some(directory) => socket::client(&directory, namespace)?,
            None => self.kubernetes().await?,
        };
        Ok(Cluster::new(client, namespace))
    }

    async fn kubernetes(&self) -> Result<kube::Client, Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let read = async {
            match &self.kubeconfig {
                Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await,
                None => Config::from_kubeconfig(&options).await,
            }
        };
        let mut config = read.await.map_err(|error| {
            Failure::new(format!(
                "{}; give --kubeconfig, or for a service on this machine --data-dir or JUMPSTARTER_DATA_DIR",
                chain(&error)
            ))
        })?;
        config.connect_timeout = Some(DEADLINE);
        config.read_timeout = Some(DEADLINE);
        config.write_timeout = Some(DEADLINE);
        kube::Client::try_from(config).map_err(|error| Failure::from_error("use the kubeconfig", &error))
    }
}
