//! Where configuration lives, and which client is meant.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{ClientConfig, ConfigError, Env, ExporterConfig, UserConfig, file};

/// The directories of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigHome {
    home: PathBuf,
    system_exporters: PathBuf,
}

/// Which client configuration a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientChoice {
    /// `--client ALIAS`.
    Alias(String),
    /// `--client-config PATH`.
    Path(PathBuf),
    /// Neither: the environment, else the current client.
    Default,
}

impl ConfigHome {
    /// `$JMP_CLIENT_CONFIG_HOME`, else `$XDG_CONFIG_HOME/jumpstarter`, else `~/.config/jumpstarter`.
    pub fn resolve(env: &Env) -> Result<Self, ConfigError> {
        let home = if let Some(home) = env.non_empty("JMP_CLIENT_CONFIG_HOME") {
            PathBuf::from(home)
        } else if let Some(xdg) = env.non_empty("XDG_CONFIG_HOME") {
            Path::new(xdg).join("jumpstarter")
        } else if let Some(home) = env.non_empty("HOME") {
            Path::new(home).join(".config/jumpstarter")
        } else {
            return Err(ConfigError::NoHome);
        };
        Ok(Self::at(home))
    }

    /// The given directory, with the usual system directory for exporters as fallback.
    pub fn at(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into(), system_exporters: PathBuf::from("/etc/jumpstarter/exporters") }
    }

    /// The same with another system directory for exporters.
    #[must_use]
    pub fn with_system_exporters(mut self, dir: impl Into<PathBuf>) -> Self {
        self.system_exporters = dir.into();
        self
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.home
    }

    /// File of the client `alias`.
    pub fn client_path(&self, alias: &str) -> Result<PathBuf, ConfigError> {
        Ok(self.home.join("clients").join(format!("{}.yaml", plain(alias)?)))
    }

    /// File of the exporter `alias` in the user's directory, where new ones are written.
    pub fn exporter_path(&self, alias: &str) -> Result<PathBuf, ConfigError> {
        Ok(self.home.join("exporters").join(format!("{}.yaml", plain(alias)?)))
    }

    /// File of the exporter `alias`: the user's if there, else the system's if there, else the user's.
    pub fn find_exporter(&self, alias: &str) -> Result<PathBuf, ConfigError> {
        let user = self.exporter_path(alias)?;
        let system = self.system_exporters.join(format!("{alias}.yaml"));
        Ok(if !user.exists() && system.exists() { system } else { user })
    }

    /// Reads the client `alias`.
    pub fn load_client(&self, alias: &str, env: &Env) -> Result<ClientConfig, ConfigError> {
        let path = self.client_path(alias)?;
        ClientConfig::from_file(&path, env).map_err(|err| missing(err, "client"))
    }

    /// Reads the exporter `alias`.
    pub fn load_exporter(&self, alias: &str, env: &Env) -> Result<ExporterConfig, ConfigError> {
        let path = self.find_exporter(alias)?;
        ExporterConfig::from_file(&path, env).map_err(|err| missing(err, "exporter"))
    }

    /// Saves a client under its alias and returns the path.
    pub fn save_client(&self, config: &ClientConfig) -> Result<PathBuf, ConfigError> {
        let path = self.client_path(&config.alias)?;
        config.save(&path)?;
        Ok(path)
    }

    /// Saves an exporter under its alias and returns the path.
    pub fn save_exporter(&self, config: &ExporterConfig) -> Result<PathBuf, ConfigError> {
        let path = self.exporter_path(&config.alias)?;
        config.save(&path)?;
        Ok(path)
    }

    /// Removes the client `alias`; true when it was there. Not being there is no error.
    pub fn delete_client(&self, alias: &str) -> Result<bool, ConfigError> {
        remove(&self.client_path(alias)?)
    }

    /// Removes the exporter `alias` from the user's directory; true when it was there.
    pub fn delete_exporter(&self, alias: &str) -> Result<bool, ConfigError> {
        remove(&self.exporter_path(alias)?)
    }

    /// Aliases of all clients, sorted.
    pub fn client_aliases(&self) -> Result<Vec<String>, ConfigError> {
        aliases(&self.home.join("clients"))
    }

    /// Aliases of all exporters: the user's first, then those found only in the system directory.
    pub fn exporter_aliases(&self) -> Result<Vec<String>, ConfigError> {
        let mut all = aliases(&self.home.join("exporters"))?;
        for alias in aliases(&self.system_exporters)? {
            if !all.contains(&alias) {
                all.push(alias);
            }
        }
        Ok(all)
    }

    /// The user's settings; defaults when there is no file yet.
    pub fn load_user(&self) -> Result<UserConfig, ConfigError> {
        let path = self.home.join("config.yaml");
        match file::read(&path) {
            Ok(map) => file::typed(map, &file::origin(&path)),
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(UserConfig::default())
            }
            Err(err) => Err(err),
        }
    }

    /// Saves the user's settings.
    pub fn save_user(&self, config: &UserConfig) -> Result<(), ConfigError> {
        file::save(&self.home.join("config.yaml"), config)
    }

    /// The client that a command means: as chosen, else from the environment alone, else the current one.
    pub fn select_client(&self, choice: &ClientChoice, env: &Env) -> Result<ClientConfig, ConfigError> {
        match choice {
            ClientChoice::Alias(alias) => self.load_client(alias, env),
            ClientChoice::Path(path) => ClientConfig::from_file(path, env).map_err(|err| missing(err, "client")),
            ClientChoice::Default => {
                if let Some(config) = ClientConfig::from_env(env)? {
                    return Ok(config);
                }
                let user = self.load_user()?;
                let alias = user.current_client().ok_or(ConfigError::NoDefaultClient)?;
                match self.load_client(alias, env) {
                    Err(ConfigError::Missing { .. }) => Err(ConfigError::NoDefaultClient),
                    other => other,
                }
            }
        }
    }
}

/// An alias that is a plain file name.
fn plain(alias: &str) -> Result<&str, ConfigError> {
    let bad = alias.is_empty() || alias == "." || alias == ".." || alias.contains(['/', '\\', '\0']);
    if bad { Err(ConfigError::Alias(alias.to_owned())) } else { Ok(alias) }
}

fn missing(err: ConfigError, kind: &'static str) -> ConfigError {
    match err {
        ConfigError::Read { path, source } if source.kind() == io::ErrorKind::NotFound => {
            ConfigError::Missing { kind, path }
        }
        other => other,
    }
}

fn remove(path: &Path) -> Result<bool, ConfigError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ConfigError::Write { path: path.to_owned(), source }),
    }
}

fn aliases(dir: &Path) -> Result<Vec<String>, ConfigError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ConfigError::Read { path: dir.to_owned(), source });
        }
    };
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_stem()?.to_str()?;
            let keep = path.extension().is_some_and(|ext| ext == "yaml") && !name.starts_with('.');
            keep.then(|| name.to_owned())
        })
        .collect();
    found.sort();
    Ok(found)
}
