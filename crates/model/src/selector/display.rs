//! The canonical text of a selector (protocol.md §1.8).

use std::fmt;

use super::{Operator, Requirement, Selector};

impl fmt::Display for Selector {
    /// Requirements sorted by key, values sorted; nothing for an empty selector.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.by_key().into_iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = || {
            let joined = self.values().iter().map(String::as_str).collect::<Vec<_>>().join(",");
            // `()` would be no values at all; `(,)` is the empty value.
            if joined.is_empty() { ",".to_owned() } else { joined }
        };
        match self.operator() {
            Operator::Equals => {
                write!(f, "{}={}", self.key(), self.values().first().map_or("", String::as_str))
            }
            Operator::In => write!(f, "{} in ({})", self.key(), values()),
            Operator::NotIn => write!(f, "{} notin ({})", self.key(), values()),
            Operator::Exists => f.write_str(self.key()),
            Operator::DoesNotExist => write!(f, "!{}", self.key()),
        }
    }
}

impl Selector {
    /// The requirements in canonical order.
    fn by_key(&self) -> Vec<&Requirement> {
        let mut sorted = self.requirements.iter().collect::<Vec<_>>();
        sorted.sort_by(|a, b| a.order(b));
        sorted
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.by_key() == other.by_key()
    }
}

impl Eq for Selector {}
