//! Looks an exporter's file over before it is read for good: every fault at once, each with its key.
//!
//! Values that other readers of the same files convert are converted here, too: numbers and truth values in quotes.
use serde_json::{Map, Value};

/// What is wrong, or strange, at a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: Vec<String>,
    pub(super) text: String,
}

/// Faults make the file unusable, warnings do not.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

/// What a key may hold.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    TextOrNull,
    Bool,
    /// A whole number from 0.
    Count,
    OneOf(&'static [&'static str]),
    Keys(&'static Keys),
    KeysOrNull(&'static Keys),
    MapOrNull,
    Map,
    Drivers,
}

/// The keys of a mapping.
struct Keys {
    known: &'static [(&'static str, Kind)],
    required: &'static [&'static str],
    /// Others are faults; otherwise they are ignored, with a warning.
    closed: bool,
}

const TOP: Keys = Keys {
    known: &[
        ("apiVersion", Kind::OneOf(&["jumpstarter.dev/v1alpha1"])),
        ("kind", Kind::OneOf(&["ExporterConfig"])),
        ("metadata", Kind::Keys(&METADATA)),
        ("endpoint", Kind::TextOrNull),
        ("tls", Kind::Keys(&TLS)),
        ("token", Kind::TextOrNull),
        ("grpcOptions", Kind::MapOrNull),
        ("description", Kind::TextOrNull),
        ("motd", Kind::TextOrNull),
        ("export", Kind::Drivers),
        ("hooks", Kind::Keys(&HOOKS)),
        ("failureDetection", Kind::Keys(&FAILURES)),
        ("exitOnLeaseEnd", Kind::Bool),
    ],
    required: &["metadata"],
    closed: false,
};
const METADATA: Keys = Keys {
    known: &[("namespace", Kind::TextOrNull), ("name", Kind::Text)],
    required: &["namespace", "name"],
    closed: true,
};
const TLS: Keys = Keys { known: &[("ca", Kind::Text), ("insecure", Kind::Bool)], required: &[], closed: false };
const HOOKS: Keys = Keys {
    known: &[
        ("beforeLease", Kind::KeysOrNull(&HOOK)),
        ("afterLease", Kind::KeysOrNull(&HOOK)),
        ("before_lease", Kind::KeysOrNull(&HOOK)),
        ("after_lease", Kind::KeysOrNull(&HOOK)),
    ],
    required: &[],
    closed: false,
};
const HOOK: Keys = Keys {
    known: &[
        ("script", Kind::Text),
        ("exec", Kind::TextOrNull),
        ("timeout", Kind::Count),
        ("onFailure", Kind::OneOf(FAILURE)),
        ("on_failure", Kind::OneOf(FAILURE)),
    ],
    required: &["script"],
    closed: false,
};
const FAILURE: &[&str] = &["warn", "endLease", "exit"];
const FAILURES: Keys = Keys {
    known: &[
        ("maxRapidFailures", Kind::Count),
        ("rapidFailureWindow", Kind::Count),
        ("max_rapid_failures", Kind::Count),
        ("rapid_failure_window", Kind::Count),
    ],
    required: &[],
    closed: false,
};
const DRIVER: Keys = Keys {
    known: &[
        ("type", Kind::Text),
        ("description", Kind::TextOrNull),
        ("methods_description", Kind::Map),
        ("config", Kind::Map),
        ("children", Kind::Drivers),
        ("ref", Kind::Text),
    ],
    required: &[],
    closed: false,
};

/// Checks and converts the mapping of a whole file.
pub(super) fn check(map: &mut Map<String, Value>) -> Findings {
    let mut checker = Checker::default();
    checker.keys(map, &TOP);
    checker.findings
}

#[derive(Default)]
struct Checker {
    path: Vec<String>,
    findings: Findings,
}

impl Checker {
    fn fault(&mut self, text: String) {
        self.findings.faults.push(Finding { path: self.path.clone(), text });
    }

    fn warning(&mut self, text: String) {
        self.findings.warnings.push(Finding { path: self.path.clone(), text });
    }

    fn keys(&mut self, map: &mut Map<String, Value>, keys: &Keys) {
        for (key, value) in map.iter_mut() {
            self.path.push(key.clone());
            match keys.known.iter().find(|(known, _)| known == key) {
                Some((_, kind)) => self.value(value, *kind),
                None => {
                    let known: Vec<_> =
                        keys.known.iter().map(|(known, _)| *known).filter(|k| !k.contains('_')).collect();
                    let known = known.join(", ");
                    if keys.closed {
                        self.fault(format!("unknown key; expected one of {known}"));
                    } else {
                        self.warning(format!("unknown key, ignored; known are {known}"));
                    }
                }
            }
            self.path.pop();
        }
        for required in keys.required {
            if !map.contains_key(*required) {
                self.fault(format!("key '{required}' is missing"));
            }
        }
    }

    fn value(&mut self, value: &mut Value, kind: Kind) {
        match kind {
            Kind::TextOrNull | Kind::KeysOrNull(_) | Kind::MapOrNull if value.is_null() => {}
            Kind::Text | Kind::TextOrNull => {
                if !value.is_string() {
                    self.expected("text (put it in quotes)", value);
                }
            }
            Kind::Bool => match truth(value) {
                Some(truth) => *value = Value::Bool(truth),
                None => self.expected("true or false", value),
            },
            Kind::Count => match count(value) {
                Some(count) => *value = count.into(),
                None => self.expected("a whole number, 0 or more", value),
            },
            Kind::OneOf(words) => {
                if !value.as_str().is_some_and(|word| words.contains(&word)) {
                    self.expected(&words.join(" or "), value);
                }
            }
            Kind::Keys(keys) | Kind::KeysOrNull(keys) => match value {
                Value::Object(map) => self.keys(map, keys),
                other => self.expected("a mapping", other),
            },
            Kind::Map | Kind::MapOrNull => {
                if !value.is_object() {
                    self.expected("a mapping", value);
                }
            }
            Kind::Drivers => match value {
                Value::Object(map) => {
                    for (name, driver) in map.iter_mut() {
                        self.path.push(name.clone());
                        match driver {
                            Value::Object(map) => self.driver(map),
                            other => self.expected("a driver: a mapping with 'type', 'ref' or 'children'", other),
                        }
                        self.path.pop();
                    }
                }
                other => self.expected("a mapping of names to drivers", other),
            },
        }
    }

    fn driver(&mut self, map: &mut Map<String, Value>) {
        let has = |key| map.contains_key(key);
        if (has("type") || has("children")) && has("ref") {
            self.path.push("ref".to_owned());
            self.warning("ignored, because 'type' or 'children' stands beside it".to_owned());
            self.path.pop();
        } else if has("ref") && has("config") {
            self.path.push("config".to_owned());
            self.warning("ignored, because a 'ref' has the configuration of what it refers to".to_owned());
            self.path.pop();
        } else if !has("type") && has("config") {
            self.path.push("config".to_owned());
            self.warning("ignored, because there is no 'type' that it could belong to".to_owned());
            self.path.pop();
        }
        self.keys(map, &DRIVER);
        if let Some(Value::Object(texts)) = map.get_mut("methods_description") {
            self.path.push("methods_description".to_owned());
            for (key, text) in texts.iter_mut() {
                self.path.push(key.clone());
                self.value(text, Kind::Text);
                self.path.pop();
            }
            self.path.pop();
        }
    }

    fn expected(&mut self, what: &str, found: &Value) {
        let found = match found {
            Value::Null => "nothing".to_owned(),
            Value::Bool(truth) => truth.to_string(),
            Value::Number(number) => number.to_string(),
            // A secret in the wrong place must not be shown.
            Value::String(_) if self.path.iter().any(|key| key == "token") => "text".to_owned(),
            Value::String(text) => format!("'{}'", text.chars().take(60).collect::<String>()),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a mapping".to_owned(),
        };
        self.fault(format!("expected {what}, found {found}"));
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "t" | "y" => Some(true),
            "false" | "no" | "off" | "0" | "f" | "n" => Some(false),
            _ => None,
        },
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn count(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => {
            number.as_u64().or_else(|| format!("{}", number.as_f64().filter(|n| n.fract() == 0.0)?).parse().ok())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
