//! `ExporterConfig`: what a lab host offers, and to which service.
mod keys;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{ApiVersion, ConfigError, Env, GrpcOptions, Instances, ObjectMeta, Secret, TlsConfig, check, file};

/// An exporter configuration. Unknown keys are ignored except in `metadata`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExporterConfig {
    /// File name without ending; never written into the file.
    #[serde(skip, default = "default_alias")]
    pub alias: String,
    /// Where the configuration was read from; never written into the file.
    #[serde(skip)]
    pub path: Option<PathBuf>,
    /// What is strange in the file without being wrong, such as unknown keys, with their places; for people.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Version of the format.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    kind: Kind,
    /// Who this exporter is.
    pub metadata: ObjectMeta,
    /// `host:port` of the controller; needed only to register.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How controller and routers are verified.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Bearer token; needed only to register.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Channel arguments.
    #[serde(rename = "grpcOptions", default = "empty_options")]
    pub grpc_options: Option<GrpcOptions>,
    /// Description of the root of the driver tree.
    #[serde(default)]
    pub description: Option<String>,
    /// Greeting for people who open a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motd: Option<String>,
    /// The driver tree.
    #[serde(default)]
    pub export: Instances,
    /// Programs around each lease.
    #[serde(default)]
    pub hooks: Hooks,
    /// When to give up after rapid failures.
    #[serde(rename = "failureDetection", default)]
    pub failure_detection: FailureDetection,
    /// Stop after one lease.
    #[serde(rename = "exitOnLeaseEnd", default, skip_serializing_if = "std::ops::Not::not")]
    pub exit_on_lease_end: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[default]
    ExporterConfig,
}

/// Programs run around each lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before clients get in.
    #[serde(rename = "beforeLease", alias = "before_lease", default)]
    pub before_lease: Option<Hook>,
    /// After the last client left.
    #[serde(rename = "afterLease", alias = "after_lease", default)]
    pub after_lease: Option<Hook>,
    /// After the beforeLease hook when the service itself checks the exporter. Ours: the Python exporter ignores it.
    /// What is not said of a failure means `endLease` here.
    #[serde(default, deserialize_with = "check_hook", skip_serializing_if = "Option::is_none")]
    pub check: Option<Hook>,
}

impl Hooks {
    /// No hook is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { before_lease, after_lease, check } = self;
        [before_lease, after_lease, check].iter().all(|hook| hook.is_none())
    }
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Interpreter; chosen from the script when absent.
    #[serde(default)]
    pub exec: Option<String>,
    /// Inline text, or the path of a file on one line.
    pub script: String,
    /// Limit in seconds.
    #[serde(default = "hook_timeout")]
    pub timeout: u64,
    /// What a failure means.
    #[serde(rename = "onFailure", alias = "on_failure", default)]
    pub on_failure: OnFailure,
}

/// What a failed hook means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Go on with a warning.
    #[default]
    #[serde(rename = "warn")]
    Warn,
    /// End the lease.
    #[serde(rename = "endLease")]
    EndLease,
    /// End the lease and the exporter.
    #[serde(rename = "exit")]
    Exit,
}

/// When to give up after rapid failures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetection {
    /// Failures in a row.
    #[serde(rename = "maxRapidFailures", alias = "max_rapid_failures", default = "max_failures")]
    pub max_rapid_failures: u64,
    /// Seconds within which a failure counts as rapid.
    #[serde(rename = "rapidFailureWindow", alias = "rapid_failure_window", default = "failure_window")]
    pub rapid_failure_window: u64,
}

impl Default for FailureDetection {
    fn default() -> Self {
        Self { max_rapid_failures: max_failures(), rapid_failure_window: failure_window() }
    }
}

/// A check that fails and goes on would tell nothing.
fn check_hook<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hook>, D::Error> {
    #[derive(Deserialize)]
    struct Check {
        #[serde(rename = "onFailure", alias = "on_failure", default = "end_lease")]
        on_failure: OnFailure,
        #[serde(default)]
        exec: Option<String>,
        script: String,
        #[serde(default = "hook_timeout")]
        timeout: u64,
    }
    fn end_lease() -> OnFailure {
        OnFailure::EndLease
    }
    let check = Option::<Check>::deserialize(deserializer)?;
    Ok(check.map(|Check { on_failure, exec, script, timeout }| Hook { exec, script, timeout, on_failure }))
}

fn hook_timeout() -> u64 {
    120
}

fn max_failures() -> u64 {
    5
}

fn failure_window() -> u64 {
    60
}

fn default_alias() -> String {
    "default".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn empty_options() -> Option<GrpcOptions> {
    Some(GrpcOptions::new())
}

impl ExporterConfig {
    /// A configuration that exports nothing yet.
    #[must_use]
    pub fn new(alias: impl Into<String>, metadata: ObjectMeta) -> Self {
        Self {
            alias: alias.into(),
            path: None,
            warnings: Vec::new(),
            api_version: ApiVersion::default(),
            kind: Kind::default(),
            metadata,
            endpoint: None,
            tls: TlsConfig::default(),
            token: None,
            grpc_options: empty_options(),
            description: None,
            motd: None,
            export: Instances::default(),
            hooks: Hooks::default(),
            failure_detection: FailureDetection::default(),
            exit_on_lease_end: false,
        }
    }

    /// Reads `path`; only missing metadata keys come from the environment. The alias is the file stem.
    ///
    /// # Errors
    /// All faults of the file at once, each with line, column, key and what was expected there.
    pub fn from_file(path: &Path, env: &Env) -> Result<Self, ConfigError> {
        let mut config = Self::parse(&file::text(path)?, env, &file::origin(path))?;
        config.alias = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        config.path = Some(path.to_owned());
        Ok(config)
    }

    /// Parses YAML text; only missing metadata keys come from the environment.
    pub fn from_yaml(text: &str, env: &Env) -> Result<Self, ConfigError> {
        Self::parse(text, env, "text")
    }

    fn parse(text: &str, env: &Env, origin: &str) -> Result<Self, ConfigError> {
        let mut map = file::parse(text, origin)?;
        if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
            env.fill(metadata, "namespace", "JMP_NAMESPACE");
            env.fill(metadata, "name", "JMP_NAME");
        }
        let warnings = check::judge(&mut map, &keys::TOP, Some(text), origin)?;
        let mut config: Self = file::typed(map, origin)?;
        config.warnings = warnings.iter().map(|text| format!("config {origin}: {text}")).collect();
        Ok(config)
    }

    /// Writes the configuration to `path` (mode 0600, all or nothing).
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        file::save(path, self)
    }

    /// The YAML text as [`ExporterConfig::save`] writes it, token included.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        file::to_yaml(self).map_err(|message| ConfigError::Invalid { origin: "text".to_owned(), message })
    }
}
