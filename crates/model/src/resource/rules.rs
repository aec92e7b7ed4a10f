//! The rules on leases that an API server checks with CEL, and the same rules in Rust for a store without one
//! (kubernetes.md §1.4).

use super::LeaseSpec;
use crate::limits::{MAX_CONTEXT_ENTRIES, MAX_CONTEXT_KEY, MAX_CONTEXT_VALUE, MAX_TAGS};

/// Rule 1: something to look for.
pub const TARGET_CEL: &str = "(has(self.selector) && ((has(self.selector.matchLabels) && \
     size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && \
     size(self.selector.matchExpressions) > 0))) || (has(self.exporterRef) && has(self.exporterRef.name) && \
     size(self.exporterRef.name) > 0)";
/// Message of rule 1.
pub const TARGET_MESSAGE: &str = "one of selector or exporterRef.name is required";
/// Rule 2: tags stay once set.
pub const TAGS_CEL: &str = "!has(oldSelf.tags) || (has(self.tags) && self.tags == oldSelf.tags)";
/// Message of rule 2.
pub const TAGS_MESSAGE: &str = "tags are immutable after creation";
/// Rule 3: context stays once set.
pub const CONTEXT_CEL: &str = "!has(oldSelf.context) || (has(self.context) && self.context == oldSelf.context)";
/// Message of rule 3.
pub const CONTEXT_MESSAGE: &str = "context is immutable after creation";
/// Rule 4: context entries are small.
pub const CONTEXT_SIZE_CEL: &str =
    "!has(self.context) || self.context.all(key, size(key) <= 32 && size(self.context[key]) <= 64)";
/// Message of rule 4.
pub const CONTEXT_SIZE_MESSAGE: &str = "context keys max 32 chars, values max 64 chars";

/// A lease that an API server would refuse. The texts are those of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRuleError {
    /// Rule 1.
    #[error("{TARGET_MESSAGE}")]
    NoTarget,
    /// Rule 2.
    #[error("{TAGS_MESSAGE}")]
    TagsChanged,
    /// Rule 3.
    #[error("{CONTEXT_MESSAGE}")]
    ContextChanged,
    /// Rule 4.
    #[error("{CONTEXT_SIZE_MESSAGE}")]
    ContextTooLarge,
    /// More tags than the schema allows.
    #[error("tags: must have at most {MAX_TAGS} items")]
    TooManyTags,
    /// More context entries than the schema allows.
    #[error("context: must have at most {MAX_CONTEXT_ENTRIES} items")]
    TooManyContextEntries,
}

/// Checks a new lease.
pub fn check_create(spec: &LeaseSpec) -> Result<(), LeaseRuleError> {
    let labels = spec.selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty());
    let expressions = spec.selector.match_expressions.as_ref().is_some_and(|list| !list.is_empty());
    let pinned = spec.exporter_ref.as_ref().is_some_and(|exporter| !exporter.name.is_empty());
    if !labels && !expressions && !pinned {
        return Err(LeaseRuleError::NoTarget);
    }
    if spec.tags.as_ref().is_some_and(|tags| tags.len() > MAX_TAGS) {
        return Err(LeaseRuleError::TooManyTags);
    }
    let Some(context) = &spec.context else {
        return Ok(());
    };
    if context.len() > MAX_CONTEXT_ENTRIES {
        return Err(LeaseRuleError::TooManyContextEntries);
    }
    let small = |(key, value): (&String, &String)| {
        key.chars().count() <= MAX_CONTEXT_KEY && value.chars().count() <= MAX_CONTEXT_VALUE
    };
    if context.iter().all(small) { Ok(()) } else { Err(LeaseRuleError::ContextTooLarge) }
}

/// Checks a changed lease against the one stored. Tags and context may be added once, when there were none.
pub fn check_update(old: &LeaseSpec, new: &LeaseSpec) -> Result<(), LeaseRuleError> {
    check_create(new)?;
    if old.tags.is_some() && new.tags != old.tags {
        return Err(LeaseRuleError::TagsChanged);
    }
    if old.context.is_some() && new.context != old.context {
        return Err(LeaseRuleError::ContextChanged);
    }
    Ok(())
}
