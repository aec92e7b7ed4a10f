//! What can go wrong with a configuration file.
use std::path::PathBuf;

/// Why a configuration could not be used. The texts name the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file for this alias does not exist.
    #[error("{kind} config '{}' does not exist; `jmp config {kind} list` shows those that do", .path.display())]
    Missing {
        /// `client` or `exporter`.
        kind: &'static str,
        /// Where the file was looked for.
        path: PathBuf,
    },
    /// The file exists but could not be read.
    #[error("read config file '{}'", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file could not be written; what was there before is untouched.
    #[error("write config file '{}'", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The content is not what the format asks for.
    #[error("config {origin}: {message}")]
    Invalid {
        /// The file, or `environment`.
        origin: String,
        /// What is wrong, naming the key.
        message: String,
    },
    /// An alias that cannot be a file name.
    #[error("invalid alias '{0}': it must be a plain file name without '/' or '\\'")]
    Alias(String),
    /// Neither a home directory nor a variable says where configuration lives.
    #[error("no configuration directory: set JMP_CLIENT_CONFIG_HOME, XDG_CONFIG_HOME or HOME")]
    NoHome,
    /// No client was named and none is current.
    #[error("none of --client, --client-config is specified, and default config is not set")]
    NoDefaultClient,
    /// `tls.ca` is not base64 of PEM.
    #[error("tls.ca must be the base64 of a PEM certificate: {0}")]
    Ca(String),
}
