//! The `config` mapping of a driver, read key by key so that an error names the key.
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::args::kind;

/// Keys that every driver accepts.
pub(crate) const BASE_KEYS: [&str; 3] = ["log_level", "labels", "uuid"];

/// Reads a mapping once. Each key is asked for; what nobody asked for is refused by [`ConfigKeys::end`].
pub(crate) struct ConfigKeys {
    map: Map<String, Value>,
    known: Vec<&'static str>,
    faults: Vec<String>,
}

impl ConfigKeys {
    pub(crate) fn new(map: Map<String, Value>) -> Self {
        Self { map, known: Vec::new(), faults: Vec::new() }
    }

    /// A key that must be there. The default of its type is returned for a faulty one: `end` then refuses.
    pub(crate) fn required<T: DeserializeOwned + Default>(&mut self, key: &'static str) -> T {
        match self.option(key) {
            Some(value) => value,
            None => {
                if !self.map_had(key) {
                    self.faults.push(format!("config key '{key}' is missing"));
                }
                T::default()
            }
        }
    }

    /// A key with a default.
    pub(crate) fn or<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.option(key).unwrap_or(default)
    }

    /// A key that may be missing or null.
    pub(crate) fn option<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let value = self.map.remove(key).filter(|value| !value.is_null())?;
        let shown = kind(&value);
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(err) => {
                self.faults.push(format!("config key '{key}' ({shown}): {err}"));
                None
            }
        }
    }

    /// A text that no message may show.
    pub(crate) fn secret(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        match self.map.remove(key)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => {
                let shown = kind(&other);
                self.faults.push(format!("config key '{key}' must be a string, not {shown}; quotes make it one"));
                None
            }
        }
    }

    /// Records a fault found by the driver itself.
    pub(crate) fn fault(&mut self, key: &str, message: &str) {
        self.faults.push(format!("config key '{key}': {message}"));
    }

    /// All faults at once, unknown keys among them.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let known = if self.known.is_empty() {
            "this driver has no configuration".to_owned()
        } else {
            format!("known: {}", self.known.join(", "))
        };
        for key in self.map.keys().filter(|key| !BASE_KEYS.contains(&key.as_str())) {
            self.faults.push(format!("config key '{key}' is not known to this driver ({known})"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults.join("; ")) }
    }

    /// A fault of `key` is recorded already.
    fn map_had(&self, key: &str) -> bool {
        let start = format!("config key '{key}' ");
        self.faults.iter().any(|fault| fault.starts_with(&start))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(value: Value) -> ConfigKeys {
        let Value::Object(map) = value else { panic!("a mapping") };
        ConfigKeys::new(map)
    }

    #[test]
    fn secrets_are_not_told() {
        let mut keys = keys(json!({"password": 4711, "other": "x", "none": null}));
        assert_eq!((keys.secret("password"), keys.secret("none")), (None, None));
        assert_eq!(keys.secret("other").as_deref(), Some("x"));
        let text = keys.end().unwrap_err();
        assert!(text.contains("'password' must be a string, not a number") && !text.contains("4711"), "{text}");
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let mut keys = keys(json!({"port": "80", "hots": "h", "log_level": "INFO", "timeout": null}));
        let _: String = keys.required("host");
        let _: u16 = keys.required("port");
        assert_eq!(keys.or("timeout", 5_u32), 5);
        let text = keys.end().unwrap_err();
        for part in
            ["'host' is missing", "'port' (a string): invalid type", "'hots' is not known", "host, port, timeout"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("'port' is missing"), "{text}");
    }
}
