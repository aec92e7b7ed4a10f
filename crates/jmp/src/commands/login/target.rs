//! The configuration that a login writes.
use std::path::PathBuf;

use jumpstarter_config::{ClientChoice, ClientConfig, ConfigError, Env, ExporterConfig};

use crate::{client_args::load_failure, commands::admin::saved, failure::Failure, output};

/// Which configuration.
#[derive(Debug)]
pub(super) enum Target {
    /// Of a client, by alias.
    Client(String),
    /// Of a client, by path.
    ClientFile(PathBuf),
    /// Of an exporter, by alias.
    Exporter(String),
    /// Of an exporter, by path.
    ExporterFile(PathBuf),
}

/// What is there already.
pub(super) enum Known {
    /// A client.
    Client(Box<ClientConfig>),
    /// An exporter.
    Exporter(Box<ExporterConfig>),
    /// Nothing: it is to be created.
    Nothing,
}

impl Target {
    pub(super) fn is_exporter(&self) -> bool {
        matches!(self, Self::Exporter(_) | Self::ExporterFile(_))
    }

    /// The alias, or what a file is called that has none.
    pub(super) fn alias(&self) -> String {
        match self {
            Self::Client(alias) | Self::Exporter(alias) => alias.clone(),
            Self::ClientFile(_) | Self::ExporterFile(_) => "default".to_owned(),
        }
    }

    pub(super) fn load(&self, env: &Env) -> Result<Known, Failure> {
        let home = saved::home()?;
        let client = |choice| home.select_client(&choice, env).map(|config| Known::Client(Box::new(config)));
        let exporter = |found: Result<ExporterConfig, _>| found.map(|config| Known::Exporter(Box::new(config)));
        let found = match self {
            Self::Client(alias) => client(ClientChoice::Alias(alias.clone())),
            Self::ClientFile(path) => client(ClientChoice::Path(path.clone())),
            Self::Exporter(alias) => exporter(home.load_exporter(alias, env)),
            Self::ExporterFile(path) if !path.exists() => Ok(Known::Nothing),
            Self::ExporterFile(path) => exporter(ExporterConfig::from_file(path, env)),
        };
        match found {
            Err(ConfigError::Missing { .. }) => Ok(Known::Nothing),
            found => found.map_err(|error| load_failure(&error)),
        }
    }

    /// Saves the client; one with an alias becomes the current one.
    pub(super) fn save_client(&self, config: &ClientConfig) -> Result<(), Failure> {
        if let Self::ClientFile(path) = self {
            return Ok(config.save(path)?);
        }
        let home = saved::home()?;
        home.save_client(config)?;
        let mut user = home.load_user()?;
        user.set_current_client(Some(config.alias.clone()));
        home.save_user(&user)?;
        output::say(&format!("Set '{}' as the default client.", config.alias));
        Ok(())
    }

    /// Saves the exporter.
    pub(super) fn save_exporter(&self, config: &ExporterConfig) -> Result<(), Failure> {
        match self {
            Self::ExporterFile(path) => config.save(path)?,
            _ => drop(saved::home()?.save_exporter(config)?),
        }
        Ok(())
    }
}
