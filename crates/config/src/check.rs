//! Looks a file over before it is read for good: every fault at once, each with its place, its key and what was expected.
//!
//! Values that other readers of the same files convert are converted here, too: numbers and truth values in quotes.
mod locate;

use serde_json::{Map, Value};

use self::locate::Places;
use crate::ConfigError;

/// What is wrong, or strange, at a key.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: Vec<String>,
    text: String,
}

/// Faults make the file unusable, warnings do not.
#[derive(Debug, Default)]
struct Findings {
    faults: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// What a key may hold.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Whatever stands there is not read.
    Ignored,
    Text,
    TextOrNull,
    Bool,
    /// A whole number from 0.
    Count,
    /// Any number.
    Number,
    /// Texts, or one text with commas.
    Texts,
    OneOf(&'static [&'static str]),
    Keys(&'static Keys),
    KeysOrNull(&'static Keys),
    MapOrNull,
    Map,
    Drivers,
}

/// The keys of a mapping.
pub(crate) struct Keys {
    pub(crate) known: &'static [(&'static str, Kind)],
    pub(crate) required: &'static [&'static str],
    /// Others are faults; otherwise they are ignored, with a warning.
    pub(crate) closed: bool,
}

impl Keys {
    /// The keys that people should use: those of old spelling and those that are not read are left out.
    fn shown(&self) -> String {
        let named = |name: &str| self.known.iter().any(|(known, _)| *known == name);
        let good = self.known.iter().filter(|(name, kind)| {
            let newer = camel_case(name);
            !matches!(kind, Kind::Ignored) && (newer == *name || !named(&newer))
        });
        good.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// `before_lease` as `beforeLease`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.extend(letters);
    }
    camel
}

/// Who somebody is.
pub(crate) const METADATA: Keys = Keys {
    known: &[("namespace", Kind::TextOrNull), ("name", Kind::Text)],
    required: &["namespace", "name"],
    closed: true,
};

/// How a service is verified.
pub(crate) const TLS: Keys =
    Keys { known: &[("ca", Kind::Text), ("insecure", Kind::Bool)], required: &[], closed: false };

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

/// Checks and converts the mapping of a whole file. Returns what is strange about it; `text` is the file itself, when
/// there is one, for line and column.
///
/// # Errors
/// All faults at once.
pub(crate) fn judge(
    map: &mut Map<String, Value>,
    keys: &Keys,
    text: Option<&str>,
    origin: &str,
) -> Result<Vec<String>, ConfigError> {
    let mut checker = Checker::default();
    checker.keys(map, keys);
    let Findings { faults, warnings } = checker.findings;
    let places = (!faults.is_empty() || !warnings.is_empty()).then(|| Places::of(text?)).flatten();
    let shown = |finding: &Finding| {
        let path: Vec<_> = finding.path.iter().map(String::as_str).collect();
        let place = places.as_ref().and_then(|places| places.find(&path));
        let place = place.map_or_else(String::new, |(line, column)| format!("line {line}, column {column}: "));
        let key = if path.is_empty() { String::new() } else { format!("{}: ", path.join(".")) };
        format!("{place}{key}{}", finding.text)
    };
    let message = match &faults[..] {
        [] => return Ok(warnings.iter().map(shown).collect()),
        [one] => shown(one),
        many => format!("{} faults:\n  {}", many.len(), many.iter().map(shown).collect::<Vec<_>>().join("\n  ")),
    };
    Err(ConfigError::Invalid { origin: origin.to_owned(), message })
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
                    let known = keys.shown();
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
            Kind::Ignored => {}
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
            Kind::Number => match number(value) {
                Some(number) => *value = number.into(),
                None => self.expected("a number", value),
            },
            Kind::Texts => {
                let texts = value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
                if !texts && !value.is_string() {
                    self.expected("a list of texts, or one text with commas", value);
                }
            }
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
            Value::String(_) if self.path.iter().any(|key| key.ends_with("token")) => "text".to_owned(),
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

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Number(number) => number.as_f64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
