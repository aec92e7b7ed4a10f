//! The configuration files that follow from objects.

use std::path::{Path, PathBuf};

use jumpstarter_config::{ClientConfig, ConfigHome, DriverRules, Env, ExporterConfig, ObjectMeta};

use crate::{
    cluster::{Cluster, Kind},
    failure::Failure,
    prompt,
};

/// Which driver clients a new client configuration may load, as given on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct DriverArgs {
    /// A comma-separated list of driver client packages to load.
    #[arg(short, long, value_name = "CSV")]
    allow: Option<String>,
    /// Allow all driver client packages to load (UNSAFE!).
    #[arg(long)]
    r#unsafe: bool,
}

impl DriverArgs {
    /// The rules given; asked for when there are none and somebody may be asked.
    pub(super) fn rules(&self, nointeractive: bool) -> Result<DriverRules, Failure> {
        rules(self.allow.as_deref(), self.r#unsafe, nointeractive)
    }
}

/// The rules given; asked for when there are none and somebody may be asked.
pub(crate) fn rules(allow: Option<&str>, r#unsafe: bool, nointeractive: bool) -> Result<DriverRules, Failure> {
    let mut rules = DriverRules { allow: list(allow.unwrap_or_default()), r#unsafe };
    if allow.is_none() && !r#unsafe && !nointeractive {
        rules.r#unsafe = prompt::confirm("Allow unsafe driver client imports?", false)?;
        if !rules.r#unsafe {
            rules.allow = list(&prompt::ask("Enter a comma-separated list of allowed driver packages (optional)")?);
        }
    }
    Ok(rules)
}

/// The parts of a comma-separated list.
pub(crate) fn list(csv: &str) -> Vec<String> {
    csv.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// `-k/--insecure-tls`, with the question that goes with it.
#[derive(Debug, clap::Args)]
pub(crate) struct TlsArgs {
    /// Disable TLS certificate verification for connections.
    #[arg(short = 'k', long)]
    insecure_tls: bool,
}

impl TlsArgs {
    /// Whether verification is off, once confirmed.
    pub(crate) fn confirmed(&self, nointeractive: bool) -> Result<bool, Failure> {
        let question = "Insecure TLS mode is enabled. Certificate verification will be disabled for HTTPS connections. \
                        Continue?";
        if self.insecure_tls && !nointeractive && !prompt::confirm(question, false)? {
            return Err(Failure::Aborted);
        }
        Ok(self.insecure_tls)
    }
}

/// The configuration directory of the user.
pub(crate) fn home() -> Result<ConfigHome, Failure> {
    Ok(ConfigHome::resolve(&Env::from_process())?)
}

/// The configuration of a client in the cluster.
pub(super) async fn client_config(cluster: &Cluster, name: &str) -> Result<ClientConfig, Failure> {
    let credentials = cluster.credentials(Kind::Client, name).await?;
    let metadata = ObjectMeta::new(cluster.namespace(), name);
    let mut config = ClientConfig::new(name, metadata, credentials.endpoint, credentials.token);
    config.tls = credentials.tls;
    Ok(config)
}

/// The configuration of an exporter in the cluster, without drivers.
pub(super) async fn exporter_config(cluster: &Cluster, name: &str) -> Result<ExporterConfig, Failure> {
    let credentials = cluster.credentials(Kind::Exporter, name).await?;
    let mut config = ExporterConfig::new(name, ObjectMeta::new(cluster.namespace(), name));
    config.endpoint = Some(credentials.endpoint);
    config.token = Some(credentials.token);
    config.tls = credentials.tls;
    Ok(config)
}

/// Saves a client's configuration, in the user's directory unless told where. The only one there becomes the current
/// one.
pub(crate) fn save_client(config: &ClientConfig, out: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = out {
        let path = absolute(path)?;
        config.save(&path)?;
        return Ok(path);
    }
    let home = home()?;
    let path = home.save_client(config)?;
    if home.client_aliases()?.len() == 1 {
        let mut user = home.load_user()?;
        user.set_current_client(Some(config.alias.clone()));
        home.save_user(&user)?;
    }
    Ok(path)
}

/// Saves an exporter's configuration, in the user's directory unless told where.
pub(super) fn save_exporter(config: &ExporterConfig, out: Option<&Path>) -> Result<PathBuf, Failure> {
    match out {
        Some(path) => {
            let path = absolute(path)?;
            config.save(&path)?;
            Ok(path)
        }
        None => Ok(home()?.save_exporter(config)?),
    }
}

/// The path as reported to the user.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::from_error("find the output file", &error))
}
