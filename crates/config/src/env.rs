//! The environment as a value.
use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use crate::ConfigError;

/// Environment variables handed to the functions of this crate. Debug shows names only.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// No variables at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The variables of this process that are valid Unicode.
    #[must_use]
    pub fn from_process() -> Self {
        Self(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect())
    }

    /// The value of `name`, when set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of `name` when set and not empty.
    #[must_use]
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    /// The value of `name` in any letter case, as the settings files are matched.
    fn any_case(&self, name: &str) -> Option<&str> {
        self.get(name).or_else(|| self.0.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()))
    }

    /// Puts `key` from variable `name` as a string when the file does not have it.
    pub(crate) fn fill(&self, into: &mut Map<String, Value>, key: &str, name: &str) {
        if let (false, Some(value)) = (into.contains_key(key), self.any_case(name)) {
            into.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    }

    /// Puts `key` from variable `name`, parsed as JSON, when the file does not have it.
    pub(crate) fn fill_json(&self, into: &mut Map<String, Value>, key: &str, name: &str) -> Result<(), ConfigError> {
        if let (false, Some(text)) = (into.contains_key(key), self.any_case(name)) {
            let value = serde_json::from_str(text).map_err(|err| ConfigError::Invalid {
                origin: "environment".to_owned(),
                message: format!("{name} must be JSON for the key `{key}`: {err}"),
            })?;
            into.insert(key.to_owned(), value);
        }
        Ok(())
    }

    /// Puts a number for `key` from variable `name` when the file does not have it.
    pub(crate) fn fill_number(&self, into: &mut Map<String, Value>, key: &str, name: &str) -> Result<(), ConfigError> {
        if let (false, Some(text)) = (into.contains_key(key), self.any_case(name)) {
            let value =
                text.trim().parse::<u64>().map(Value::from).or_else(|_| text.trim().parse::<f64>().map(Value::from));
            let value = value.map_err(|_| ConfigError::Invalid {
                origin: "environment".to_owned(),
                message: format!("{name} must be a number of seconds, not '{text}'"),
            })?;
            into.insert(key.to_owned(), value);
        }
        Ok(())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
