//! What is wrong with a configuration.

use std::fmt;

/// Longest quotation of a value in a message.
const MAX_QUOTE: usize = 60;

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the ConfigMap.
    ConfigMap {
        /// Key of `data`, such as `config`.
        key: String,
        /// Line in the text of that key, from 1; `None` when the fault is about the key as a whole.
        line: Option<u64>,
        /// Path of the key within the text, such as `grpc.keepalive.minTime` or `authentication.jwt[0].issuer.url`;
        /// empty for the whole text.
        path: String,
    },
    /// In a variable of the environment.
    Variable(String),
}

/// One thing that is wrong: where, and what is expected instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what is expected. Never holds a secret.
    pub message: String,
}

impl Fault {
    /// Line in the text, if it is known.
    pub(crate) fn line(&self) -> Option<u64> {
        match &self.place {
            Place::ConfigMap { line, .. } => *line,
            Place::Variable(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap { key, line, path } => {
                write!(f, "key `{key}`")?;
                if let Some(line) = line {
                    write!(f, ", line {line}")?;
                }
                if !path.is_empty() {
                    write!(f, ", `{path}`")?;
                }
                Ok(())
            }
            Self::Variable(name) => write!(f, "variable {name}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that is wrong with a ConfigMap or an environment; at least one fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    subject: String,
    faults: Vec<Fault>,
}

impl Faults {
    /// The faults, in the order in which they were found.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// `Err` if there are any.
    pub(crate) fn check(subject: String, faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self { subject, faults }) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.as_slice() {
            [fault] => write!(f, "{}: {fault}", self.subject),
            faults => {
                write!(f, "{}: {} faults", self.subject, faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

/// A value as it is quoted in messages: in backquotes, on one line, not too long.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTE).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_QUOTE).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}
