//! Label selectors in the full Kubernetes grammar (kubernetes.md §0, §4.6; protocol.md §1.8).

mod display;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::labels::{LabelError, validate_key, validate_value};

/// Longest selector text accepted, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Most requirements in one selector.
pub const MAX_REQUIREMENTS: usize = 64;

/// What a requirement asks of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The label exists with the one value given.
    Equals,
    /// The label exists with one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// One condition on one label key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// A parsed selector: all its requirements must hold. Without requirements it matches everything.
///
/// `a!=x` is kept as `a notin (x)`, and all `!=` on one key are one requirement. Equality of two selectors is that of
/// their canonical text; see [`Selector::is_equivalent`] for equality of meaning.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// As `matchExpressions` are stored: by key, then what came from `!=`, by key.
    requirements: Vec<Requirement>,
}

/// Why a selector was refused. The text fits `INVALID_ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text is longer than [`MAX_TEXT`].
    #[error("selector is {length} bytes long: use at most {MAX_TEXT}")]
    TooLong {
        /// Length found.
        length: usize,
    },
    /// More requirements than [`MAX_REQUIREMENTS`].
    #[error("selector has {count} requirements: use at most {MAX_REQUIREMENTS}")]
    TooMany {
        /// Number found.
        count: usize,
    },
    /// The text does not follow the grammar.
    #[error("selector `{selector}`: found {found}, expected {expected}")]
    Syntax {
        /// The whole text, cut when long.
        selector: String,
        /// What stands where the grammar breaks.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A key or value that no label can have.
    #[error("selector: {0}")]
    Label(#[from] LabelError),
    /// `in` or `notin` without values.
    #[error("selector: `{key}` needs at least one value with `in` and `notin`")]
    NoValues {
        /// Key of the requirement.
        key: String,
    },
    /// `Exists` or `DoesNotExist` with values.
    #[error("selector: `{key}` takes no values with `Exists` and `DoesNotExist`")]
    UnexpectedValues {
        /// Key of the requirement.
        key: String,
    },
    /// An operator that Kubernetes does not define for label selectors.
    #[error("selector: `{operator}` on `{key}` is not an operator: use In, NotIn, Exists or DoesNotExist")]
    UnknownOperator {
        /// Key of the requirement.
        key: String,
        /// The operator found.
        operator: String,
    },
    /// One key cannot have two values at once.
    #[error("selector: `{key}` cannot be both `{first}` and `{second}`")]
    Conflict {
        /// Key of both requirements.
        key: String,
        /// First value.
        first: String,
        /// A different value.
        second: String,
    },
}

impl Selector {
    /// Parses the selector of a lease.
    ///
    /// # Errors
    /// Anything outside the grammar, and two equalities of one key with different values, which nothing can satisfy.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let selector = Self::parse_filter(text)?;
        let mut seen = BTreeMap::new();
        for (key, value) in selector.equalities() {
            if let Some(first) = seen.insert(key, value)
                && first != value
            {
                return Err(SelectorError::Conflict {
                    key: key.to_owned(),
                    first: first.to_owned(),
                    second: value.to_owned(),
                });
            }
        }
        Ok(selector)
    }

    /// Parses the filter of a list request: as [`Selector::parse`], but a filter may contradict itself and then simply
    /// matches nothing.
    pub fn parse_filter(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_TEXT {
            return Err(SelectorError::TooLong { length: text.len() });
        }
        let clauses = parse::clauses(text)?;
        if clauses.len() > MAX_REQUIREMENTS {
            return Err(SelectorError::TooMany { count: clauses.len() });
        }
        let mut requirements = Vec::new();
        let mut unequal = BTreeMap::<String, BTreeSet<String>>::new();
        for clause in clauses {
            match clause {
                parse::Clause::Is(requirement) => requirements.push(requirement),
                parse::Clause::NotEquals { key, value } => {
                    unequal.entry(key).or_default().insert(value);
                }
            }
        }
        let merged = unequal.into_iter().map(|(key, values)| Requirement { key, operator: Operator::NotIn, values });
        requirements.sort_by(Requirement::order);
        requirements.extend(merged);
        Ok(Self { requirements: without_repetition(requirements) })
    }

    /// Reads the structured form.
    pub fn from_label_selector(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let labels = selector.match_labels.iter().flatten();
        let expressions = selector.match_expressions.iter().flatten();
        let mut requirements = labels
            .map(|(key, value)| Requirement::new(key, Operator::Equals, [value.clone()]))
            .chain(expressions.map(Requirement::from_expression))
            .collect::<Result<Vec<_>, _>>()?;
        if requirements.len() > MAX_REQUIREMENTS {
            return Err(SelectorError::TooMany { count: requirements.len() });
        }
        requirements.sort_by(Requirement::order);
        Ok(Self { requirements: without_repetition(requirements) })
    }

    /// The structured form, as stored in a lease: equalities become `matchLabels`, the rest `matchExpressions`.
    pub fn to_label_selector(&self) -> LabelSelector {
        let mut labels = BTreeMap::new();
        let mut expressions = Vec::new();
        for requirement in &self.requirements {
            match requirement.operator {
                Operator::Equals if !labels.contains_key(&requirement.key) => {
                    let value = requirement.values.first().cloned().unwrap_or_default();
                    labels.insert(requirement.key.clone(), value);
                }
                _ => expressions.push(requirement.to_expression()),
            }
        }
        LabelSelector {
            match_labels: (!labels.is_empty()).then_some(labels),
            match_expressions: (!expressions.is_empty()).then_some(expressions),
        }
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether there are no requirements, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The same selector with one requirement less; the same one when there is none of that index.
    #[must_use]
    pub fn without(&self, index: usize) -> Self {
        let kept = self.requirements.iter().enumerate().filter(|(at, _)| *at != index);
        Self { requirements: kept.map(|(_, requirement)| requirement.clone()).collect() }
    }

    /// Key and value of each `key=value` requirement.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements.iter().filter_map(Requirement::equality)
    }

    /// The `key=value` requirements as labels.
    pub fn equality_labels(&self) -> BTreeMap<String, String> {
        self.equalities().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Whether both say the same in other words: order, repetition, `a=x` for `a in (x)`, and `a!=x,a!=y` for
    /// `a notin (x,y)` make no difference. Deeper logic is not attempted.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.plain() == other.plain()
    }

    /// Requirements as an ordered set, with `in` of one value as equality and one `notin` per key.
    fn plain(&self) -> BTreeSet<Requirement> {
        let mut plain = BTreeSet::new();
        let mut unequal = BTreeMap::<&str, BTreeSet<String>>::new();
        for requirement in &self.requirements {
            match requirement.operator {
                Operator::NotIn => {
                    unequal.entry(&requirement.key).or_default().extend(requirement.values.iter().cloned());
                }
                Operator::In if requirement.values.len() == 1 => {
                    plain.insert(Requirement { operator: Operator::Equals, ..requirement.clone() });
                }
                Operator::Equals | Operator::In | Operator::Exists | Operator::DoesNotExist => {
                    plain.insert(requirement.clone());
                }
            }
        }
        plain.extend(unequal.into_iter().map(|(key, values)| Requirement {
            key: key.to_owned(),
            operator: Operator::NotIn,
            values,
        }));
        plain
    }
}

/// Each requirement once, where it first stands.
fn without_repetition(requirements: Vec<Requirement>) -> Vec<Requirement> {
    let mut once = Vec::with_capacity(requirements.len());
    for requirement in requirements {
        if !once.contains(&requirement) {
            once.push(requirement);
        }
    }
    once
}

impl Requirement {
    /// A checked requirement.
    pub fn new(key: &str, operator: Operator, values: impl IntoIterator<Item = String>) -> Result<Self, SelectorError> {
        validate_key(key)?;
        let values = values.into_iter().collect::<BTreeSet<_>>();
        for value in &values {
            validate_value(value)?;
        }
        match operator {
            Operator::Equals | Operator::In | Operator::NotIn if values.is_empty() => {
                Err(SelectorError::NoValues { key: key.to_owned() })
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Err(SelectorError::UnexpectedValues { key: key.to_owned() })
            }
            Operator::Equals if values.len() > 1 => {
                let mut values = values.into_iter();
                let mut next = || values.next().unwrap_or_default();
                Err(SelectorError::Conflict { key: key.to_owned(), first: next(), second: next() })
            }
            _ => Ok(Self { key: key.to_owned(), operator, values }),
        }
    }

    /// By key, equality first; otherwise as given, since the sort is stable.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |requirement: &Self| requirement.operator != Operator::Equals;
        self.key.cmp(&other.key).then(rank(self).cmp(&rank(other)))
    }

    fn from_expression(expression: &LabelSelectorRequirement) -> Result<Self, SelectorError> {
        let operator = match expression.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                return Err(SelectorError::UnknownOperator { key: expression.key.clone(), operator: other.to_owned() });
            }
        };
        Self::new(&expression.key, operator, expression.values.iter().flatten().cloned())
    }

    fn to_expression(&self) -> LabelSelectorRequirement {
        let operator = match self.operator {
            Operator::Equals | Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
        };
        LabelSelectorRequirement {
            key: self.key.clone(),
            operator: operator.to_owned(),
            values: (!self.values.is_empty()).then(|| self.values.iter().cloned().collect()),
        }
    }

    /// The label key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is asked of it.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values, in order and without repetition; one for `Equals`, none for `Exists` and `DoesNotExist`.
    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// Key and value, when this is `key=value`.
    pub fn equality(&self) -> Option<(&str, &str)> {
        match self.operator {
            Operator::Equals => self.values.first().map(|value| (self.key.as_str(), value.as_str())),
            Operator::In | Operator::NotIn | Operator::Exists | Operator::DoesNotExist => None,
        }
    }

    /// Whether labels satisfy this requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key);
        match self.operator {
            Operator::Equals | Operator::In => found.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => found.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
        }
    }
}
