//! Reading a YAML tree by what is expected, collecting everything that is not.

mod node;

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::GoDuration;

use crate::fault::{Fault, Place, quote};
use node::{Entry, Node, Value};

/// The faults of one key of the ConfigMap so far.
pub(crate) struct Log<'a> {
    key: &'a str,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Log<'a> {
    pub(crate) fn new(key: &'a str, faults: &'a mut Vec<Fault>) -> Self {
        Self { key, faults }
    }

    /// Notes a fault of the whole text.
    pub(crate) fn whole(&mut self, message: impl Into<String>) {
        self.push(None, String::new(), message.into());
    }

    /// Notes a fault of a key whose line no longer matters.
    pub(crate) fn at(&mut self, path: &str, message: impl Into<String>) {
        self.push(None, path.to_owned(), message.into());
    }

    fn push(&mut self, line: Option<u64>, path: String, message: String) {
        let place = Place::ConfigMap { key: self.key.to_owned(), line, path };
        self.faults.push(Fault { place, message });
    }
}

/// A parsed text.
pub(crate) struct Document(Node);

impl Document {
    /// Parses a text; `None` when it is no YAML, which `log` then says.
    pub(crate) fn parse(text: &str, log: &mut Log<'_>) -> Option<Self> {
        Node::parse(text).map_err(|error| log.push(error.line, String::new(), error.message)).ok().map(Self)
    }

    pub(crate) fn root(&self) -> At<'_> {
        At { node: &self.0, path: String::new() }
    }
}

/// A value of the tree and how to get there.
#[derive(Clone)]
pub(crate) struct At<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> At<'a> {
    fn child(&self, key: &str, node: &'a Node) -> Self {
        let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let path = match (plain, self.path.is_empty()) {
            (true, true) => key.to_owned(),
            (true, false) => format!("{}.{key}", self.path),
            (false, _) => format!("{}[{}]", self.path, quote(key).replace('`', "\"")),
        };
        Self { node, path }
    }

    /// Notes a fault here.
    pub(crate) fn fault(&self, log: &mut Log<'_>, message: impl Into<String>) {
        log.push(Some(self.node.line), self.path.clone(), message.into());
    }

    fn expected(&self, log: &mut Log<'_>, what: &str) {
        self.fault(log, format!("expected {what}, found {}", self.node.value.describe()));
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A text; plain numbers and booleans count as their text.
    pub(crate) fn text(&self, log: &mut Log<'_>) -> Option<String> {
        let text = self.node.scalar();
        if text.is_none() {
            self.expected(log, "text");
        }
        text
    }

    /// A text that is not empty.
    pub(crate) fn filled(&self, log: &mut Log<'_>) -> Option<String> {
        let text = self.text(log)?;
        if text.trim().is_empty() {
            self.fault(log, "must not be empty");
            return None;
        }
        Some(text)
    }

    pub(crate) fn flag(&self, log: &mut Log<'_>) -> Option<bool> {
        match &self.node.value {
            Value::Bool(flag) => Some(*flag),
            // What YAML 1.1 calls booleans.
            Value::Text(text) if matches!(text.to_ascii_lowercase().as_str(), "y" | "yes" | "on") => Some(true),
            Value::Text(text) if matches!(text.to_ascii_lowercase().as_str(), "n" | "no" | "off") => Some(false),
            _ => {
                self.expected(log, "`true` or `false`");
                None
            }
        }
    }

    pub(crate) fn integer(&self, log: &mut Log<'_>) -> Option<i64> {
        let number = match &self.node.value {
            Value::Integer(number) => i64::try_from(*number).ok(),
            _ => None,
        };
        if number.is_none() {
            self.expected(log, "a whole number");
        }
        number
    }

    /// A Go duration; an empty text is `None` without a fault.
    pub(crate) fn duration(&self, log: &mut Log<'_>) -> Option<GoDuration> {
        let Some(text) = self.node.scalar() else {
            self.expected(log, "a duration such as `1h30m` or `10s`");
            return None;
        };
        if text.is_empty() {
            return None;
        }
        text.parse::<GoDuration>().map_err(|error| self.fault(log, error.to_string())).ok()
    }

    /// The items of a list; empty when it is none.
    pub(crate) fn list(&self, log: &mut Log<'_>) -> Vec<At<'a>> {
        match &self.node.value {
            Value::List(items) => {
                let item = |(index, node)| At { node, path: format!("{}[{index}]", self.path) };
                items.iter().enumerate().map(item).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.expected(log, "a list");
                Vec::new()
            }
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, log: &mut Log<'_>) -> Vec<String> {
        self.list(log).iter().filter_map(|item| item.text(log)).collect()
    }

    /// The fields of an object. Ask for each that is known, then call [`Fields::end`].
    pub(crate) fn fields(&self, log: &mut Log<'_>) -> Fields<'a> {
        let entries = self.entries(log);
        Fields { at: self.clone(), entries, known: Vec::new() }
    }

    fn entries(&self, log: &mut Log<'_>) -> &'a [Entry] {
        match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                self.expected(log, "a mapping of keys to values");
                &[]
            }
        }
    }

    /// The entries of a mapping whose keys are the user's; repeated ones are faults.
    fn map(&self, log: &mut Log<'_>) -> Vec<(String, At<'a>)> {
        let entries = self.entries(log);
        self.note_repeated(entries, log);
        entries.iter().map(|entry| (entry.key.clone(), self.child(&entry.key, &entry.node))).collect()
    }

    /// The entries of a mapping whose keys are the user's. The last of repeated ones counts; `repeated` hears of the
    /// others.
    pub(crate) fn lenient_map(&self, log: &mut Log<'_>, repeated: &mut impl FnMut(&str)) -> BTreeMap<String, At<'a>> {
        let mut map = BTreeMap::new();
        for entry in self.entries(log) {
            let at = self.child(&entry.key, &entry.node);
            if map.contains_key(&entry.key) {
                repeated(at.path());
            }
            map.insert(entry.key.clone(), at);
        }
        map
    }

    /// A mapping of the user's keys to texts; an absent value is an empty text, repeated keys are faults.
    pub(crate) fn text_map(&self, log: &mut Log<'_>) -> BTreeMap<String, String> {
        let entries = self.map(log);
        entries.into_iter().filter_map(|(key, at)| at.text_or_empty(log).map(|text| (key, text))).collect()
    }

    /// The same; the last of repeated keys counts.
    pub(crate) fn lenient_text_map(
        &self,
        log: &mut Log<'_>,
        repeated: &mut impl FnMut(&str),
    ) -> BTreeMap<String, String> {
        let entries = self.lenient_map(log, repeated);
        entries.into_iter().filter_map(|(key, at)| at.text_or_empty(log).map(|text| (key, text))).collect()
    }

    fn text_or_empty(&self, log: &mut Log<'_>) -> Option<String> {
        if self.is_null() { Some(String::new()) } else { self.text(log) }
    }

    /// Whether anything is there.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// Whether it is a mapping without entries.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.node.value, Value::Map(entries) if entries.is_empty())
    }

    fn note_repeated(&self, entries: &[Entry], log: &mut Log<'_>) {
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in entries {
            match seen.get(entry.key.as_str()) {
                Some(first) => {
                    let path = self.child(&entry.key, &entry.node).path;
                    log.push(Some(entry.line), path, format!("the key is there twice, first in line {first}"));
                }
                None => {
                    seen.insert(&entry.key, entry.line);
                }
            }
        }
    }
}

/// The fields of an object with known keys.
pub(crate) struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of a key; `None` when it is absent or null.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<At<'a>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.at.child(key, &entry.node)).filter(|at| !at.is_null())
    }

    /// The value of a key that must be there.
    pub(crate) fn require(&mut self, key: &'static str, log: &mut Log<'_>) -> Option<At<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.at.fault(log, format!("`{key}` is required"));
        }
        found
    }

    /// The keys that [`Fields::get`] was not asked for.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = (&'a Entry, String)> {
        let known: BTreeSet<&str> = self.known.iter().copied().collect();
        let rest = self.entries.iter().filter(move |entry| !known.contains(entry.key.as_str()));
        rest.map(|entry| (entry, self.at.child(&entry.key, &entry.node).path))
    }

    /// Notes unknown and repeated keys.
    pub(crate) fn end(self, log: &mut Log<'_>) {
        for (entry, path) in self.unknown() {
            let mut message = format!("unknown key; known here: {}", self.known.join(", "));
            if let Some(meant) = self.known.iter().find(|known| known.eq_ignore_ascii_case(&entry.key)) {
                message = format!("unknown key: did you mean `{meant}`? Upper and lower case differ");
            }
            log.push(Some(entry.line), path, message);
        }
        self.at.note_repeated(self.entries, log);
    }
}

/// Reads the object under `key`, or takes the default when it is absent.
pub(crate) fn object<T: Default>(
    fields: &mut Fields<'_>,
    key: &'static str,
    log: &mut Log<'_>,
    read: impl FnOnce(&mut Fields<'_>, &mut Log<'_>) -> T,
) -> T {
    let Some(at) = fields.get(key) else { return T::default() };
    let mut inner = at.fields(log);
    let value = read(&mut inner, log);
    inner.end(log);
    value
}
