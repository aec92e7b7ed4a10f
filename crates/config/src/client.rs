//! `ClientConfig`: how a person or a test reaches the service.
mod keys;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};

use crate::{ApiVersion, ConfigError, Env, GrpcOptions, ObjectMeta, Secret, TlsConfig, check, file};

/// A client configuration. Keys that the format does not know are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// File name without ending; never written into the file.
    #[serde(default = "default_alias", skip_serializing, deserialize_with = "ignored_alias")]
    pub alias: String,
    /// Where the configuration was read from; never written into the file.
    #[serde(default, skip_serializing, deserialize_with = "ignored_path")]
    pub path: Option<PathBuf>,
    /// Version of the format.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `ClientConfig`.
    #[serde(default)]
    kind: Kind,
    /// Who this client is.
    pub metadata: ObjectMeta,
    /// `host:port` of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How controller and routers are verified.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Refresh token of an external login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret>,
    /// Channel arguments.
    #[serde(rename = "grpcOptions", default = "empty_options", skip_serializing_if = "Option::is_none")]
    pub grpc_options: Option<GrpcOptions>,
    /// Which driver clients may be loaded.
    #[serde(default)]
    pub drivers: DriverRules,
    /// How interactive shells start.
    #[serde(default)]
    pub shell: ShellSettings,
    /// Waiting limits; left out of the file when all are the defaults.
    #[serde(default, skip_serializing_if = "LeaseSettings::is_default")]
    pub leases: LeaseSettings,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[default]
    ClientConfig,
}

/// Which driver client classes may be loaded, as shell patterns over their import path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverRules {
    /// Patterns.
    #[serde(default, deserialize_with = "list_or_csv")]
    pub allow: Vec<String>,
    /// Everything may be loaded.
    #[serde(default)]
    pub r#unsafe: bool,
}

impl DriverRules {
    /// The value of `JMP_DRIVERS_ALLOW` that says the same.
    #[must_use]
    pub fn env_value(&self) -> String {
        if self.r#unsafe { "UNSAFE".to_owned() } else { self.allow.join(",") }
    }
}

/// How interactive shells start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellSettings {
    /// Read the user's shell profile.
    #[serde(default)]
    pub use_profiles: bool,
}

/// Waiting limits in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseSettings {
    /// For a lease to be granted; at least 5.
    #[serde(default = "acquisition_default")]
    pub acquisition_timeout: u64,
    /// For an exporter to be reachable; at least 5. Old readers refuse the key, so only a changed value is written.
    #[serde(default = "dial_default", skip_serializing_if = "is_dial_default")]
    pub dial_timeout: f64,
    /// For trying again with another exporter; 0 turns it off.
    #[serde(default = "retry_default")]
    pub retry_timeout: f64,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            acquisition_timeout: acquisition_default(),
            dial_timeout: dial_default(),
            retry_timeout: retry_default(),
        }
    }
}

impl LeaseSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn acquisition_default() -> u64 {
    7200
}

fn dial_default() -> f64 {
    60.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::float_cmp,
    reason = "the signature serde asks for; an exact default"
)]
fn is_dial_default(value: &f64) -> bool {
    *value == dial_default()
}

fn retry_default() -> f64 {
    300.0
}

fn default_alias() -> String {
    "default".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn empty_options() -> Option<GrpcOptions> {
    Some(GrpcOptions::new())
}

fn ignored_alias<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| default_alias())
}

fn ignored_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| None)
}

fn list_or_csv<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ListOrCsv {
        List(Vec<String>),
        Csv(String),
    }
    Ok(match ListOrCsv::deserialize(deserializer)? {
        ListOrCsv::List(list) => list,
        ListOrCsv::Csv(text) => text.split(',').map(str::to_owned).collect(),
    })
}

impl ClientConfig {
    /// A configuration with defaults for everything but who and where.
    #[must_use]
    pub fn new(alias: impl Into<String>, metadata: ObjectMeta, endpoint: impl Into<String>, token: Secret) -> Self {
        Self {
            alias: alias.into(),
            path: None,
            api_version: ApiVersion::default(),
            kind: Kind::default(),
            metadata,
            endpoint: Some(endpoint.into()),
            tls: TlsConfig::default(),
            token: Some(token),
            refresh_token: None,
            grpc_options: empty_options(),
            drivers: DriverRules::default(),
            shell: ShellSettings::default(),
            leases: LeaseSettings::default(),
        }
    }

    /// Reads `path`; keys missing there come from the environment. The alias is the file name up to its first dot.
    pub fn from_file(path: &Path, env: &Env) -> Result<Self, ConfigError> {
        let mut config = Self::parse(&file::text(path)?, env, &file::origin(path))?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        config.alias = name.split('.').next().unwrap_or_default().to_owned();
        config.path = Some(path.to_owned());
        Ok(config)
    }

    /// Parses YAML text; keys missing there come from the environment.
    pub fn from_yaml(text: &str, env: &Env) -> Result<Self, ConfigError> {
        Self::parse(text, env, "text")
    }

    fn parse(text: &str, env: &Env, origin: &str) -> Result<Self, ConfigError> {
        Self::finish(file::parse(text, origin)?, Some(text), env, origin)
    }

    /// A configuration from the environment alone: none unless both `JMP_NAMESPACE` and `JMP_NAME` are set.
    pub fn from_env(env: &Env) -> Result<Option<Self>, ConfigError> {
        if env.get("JMP_NAMESPACE").is_none() || env.get("JMP_NAME").is_none() {
            return Ok(None);
        }
        let mut config = Self::finish(Map::new(), None, env, "environment")?;
        if let Some(alias) = env.get("JMP_ALIAS") {
            alias.clone_into(&mut config.alias);
        }
        Ok(Some(config))
    }

    fn finish(mut map: Map<String, Value>, text: Option<&str>, env: &Env, origin: &str) -> Result<Self, ConfigError> {
        for (key, name) in [
            ("endpoint", "JMP_ENDPOINT"),
            ("token", "JMP_TOKEN"),
            ("refresh_token", "JMP_REFRESH_TOKEN"),
            ("kind", "JMP_KIND"),
            ("apiVersion", "JMP_APIVERSION"),
        ] {
            env.fill(&mut map, key, name);
        }
        for (key, name) in [
            ("metadata", "JMP_METADATA"),
            ("tls", "JMP_TLS"),
            ("drivers", "JMP_DRIVERS"),
            ("shell", "JMP_SHELL"),
            ("leases", "JMP_LEASES"),
            ("grpcOptions", "JMP_GRPCOPTIONS"),
        ] {
            env.fill_json(&mut map, key, name)?;
        }
        with_object(&mut map, "metadata", |metadata| {
            env.fill(metadata, "namespace", "JMP_NAMESPACE");
            env.fill(metadata, "name", "JMP_NAME");
            Ok(())
        })?;
        with_object(&mut map, "drivers", |drivers| {
            env.fill(drivers, "allow", "JMP_DRIVERS_ALLOW");
            if let Some(text) = env.get("JMP_DRIVERS_UNSAFE").filter(|_| !drivers.contains_key("unsafe")) {
                drivers.insert("unsafe".to_owned(), Value::Bool(boolean(text)?));
            }
            Ok(())
        })?;
        with_object(&mut map, "leases", |leases| {
            env.fill_number(leases, "acquisition_timeout", "ACQUISITION_TIMEOUT")?;
            env.fill_number(leases, "dial_timeout", "DIAL_TIMEOUT")?;
            env.fill_number(leases, "retry_timeout", "RETRY_TIMEOUT")
        })?;
        // Strange keys that do not matter are no business of the person who runs a command.
        let _ = check::judge(&mut map, &keys::TOP, text, origin)?;
        let mut config: Self = file::typed(map, origin)?;
        if config.drivers.allow.iter().any(|pattern| pattern == "UNSAFE") {
            config.drivers.r#unsafe = true;
        }
        config.check(origin)?;
        Ok(config)
    }

    fn check(&self, origin: &str) -> Result<(), ConfigError> {
        let LeaseSettings { acquisition_timeout, dial_timeout, retry_timeout } = self.leases;
        let message = if acquisition_timeout < 5 {
            "leases.acquisition_timeout must be at least 5 seconds"
        } else if dial_timeout.is_nan() || dial_timeout <= 0.0 {
            "leases.dial_timeout must be more than 0 seconds"
        } else if retry_timeout.is_nan() || retry_timeout < 0.0 {
            "leases.retry_timeout must not be negative (0 turns retrying off)"
        } else {
            return Ok(());
        };
        Err(ConfigError::Invalid { origin: origin.to_owned(), message: message.to_owned() })
    }

    /// Writes the configuration to `path` (mode 0600, all or nothing).
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        file::save(path, self)
    }

    /// The YAML text as [`ClientConfig::save`] writes it, tokens included.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        file::to_yaml(self).map_err(|message| ConfigError::Invalid { origin: "text".to_owned(), message })
    }
}

/// Applies `fill` to the mapping under `key`; adds the mapping only when `fill` put something in.
fn with_object(
    map: &mut Map<String, Value>,
    key: &str,
    fill: impl FnOnce(&mut Map<String, Value>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    match map.get_mut(key) {
        Some(Value::Object(object)) => fill(object),
        Some(_) => Ok(()),
        None => {
            let mut object = Map::new();
            fill(&mut object)?;
            if !object.is_empty() {
                map.insert(key.to_owned(), Value::Object(object));
            }
            Ok(())
        }
    }
}

fn boolean(text: &str) -> Result<bool, ConfigError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => Err(ConfigError::Invalid {
            origin: "environment".to_owned(),
            message: format!("JMP_DRIVERS_UNSAFE must be true or false, not '{text}'"),
        }),
    }
}
