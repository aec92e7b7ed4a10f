//! `UserConfig`: which client is the current one.
use serde::{Deserialize, Serialize};

use crate::ApiVersion;

/// The user's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserConfig {
    /// Version of the format.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    kind: Kind,
    config: Settings,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[default]
    UserConfig,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    #[serde(rename = "current-client", alias = "current_client", default)]
    current_client: Option<String>,
}

impl UserConfig {
    /// Alias of the current client.
    #[must_use]
    pub fn current_client(&self) -> Option<&str> {
        self.config.current_client.as_deref()
    }

    /// Makes `alias` the current client, or none.
    pub fn set_current_client(&mut self, alias: Option<String>) {
        self.config.current_client = alias;
    }
}
