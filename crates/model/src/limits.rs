//! Bounds on what a client may send with a lease (kubernetes.md §1.4, §4.6).

#[cfg(test)]
mod tests;

use crate::{
    GoDuration,
    labels::{EXPORTER_OWNED_PREFIX, LabelError, MAX_LABEL_PART, TAG_LABEL_PREFIX, validate_value},
    quote::shorten,
};

/// Most tags on one lease, whatever the configuration says.
pub const MAX_TAGS: usize = 10;
/// Most context entries on one lease.
pub const MAX_CONTEXT_ENTRIES: usize = 8;
/// Longest context key, in characters.
pub const MAX_CONTEXT_KEY: usize = 32;
/// Longest context value, in characters.
pub const MAX_CONTEXT_VALUE: usize = 64;
/// Longest lease: ten years, far beyond any real one and far below where date arithmetic ends.
pub const MAX_LEASE_DURATION: GoDuration = GoDuration::from_secs(10 * 365 * 24 * 3600);

/// Why the extras of a lease were refused. The text fits `INVALID_ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// More tags than allowed.
    #[error("too many tags: {count}, at most {limit} are allowed")]
    TooManyTags {
        /// Number found.
        count: usize,
        /// Number allowed.
        limit: usize,
    },
    /// A tag key with a prefix.
    #[error("tag key `{key}` must not contain `/`")]
    TagKeyPrefix {
        /// The key.
        key: String,
    },
    /// A tag key in a name space that belongs to the service.
    #[error("tag key `{key}` must not start with the reserved prefix `{prefix}`")]
    TagKeyReserved {
        /// The key.
        key: String,
        /// The prefix.
        prefix: &'static str,
    },
    /// A tag key that cannot become a label.
    #[error(
        "tag key `{key}` is malformed: use at most {MAX_LABEL_PART} letters, digits, `-`, `_` or `.`, with a letter or \
         digit at both ends"
    )]
    TagKey {
        /// The key, cut when long.
        key: String,
    },
    /// A tag value that cannot become a label value.
    #[error("tag `{key}`: {source}")]
    TagValue {
        /// The key.
        key: String,
        /// What is wrong with the value.
        source: LabelError,
    },
    /// More context entries than allowed.
    #[error("too many context entries: {count}, at most {MAX_CONTEXT_ENTRIES} are allowed")]
    TooManyContextEntries {
        /// Number found.
        count: usize,
    },
    /// A context key that is too long.
    #[error("context key `{key}` is {length} characters long, at most {MAX_CONTEXT_KEY} are allowed")]
    ContextKey {
        /// The key, cut when long.
        key: String,
        /// Length found.
        length: usize,
    },
    /// A context value that is too long.
    #[error("context value of `{key}` is {length} characters long, at most {MAX_CONTEXT_VALUE} are allowed")]
    ContextValue {
        /// The key.
        key: String,
        /// Length found.
        length: usize,
    },
}

/// Checks the tags of a new lease against the configured limit, which is never more than [`MAX_TAGS`].
pub fn validate_tags<'a>(
    tags: impl IntoIterator<Item = (&'a String, &'a String)>,
    max_tags: usize,
) -> Result<(), LimitError> {
    let limit = max_tags.min(MAX_TAGS);
    let tags = tags.into_iter().collect::<Vec<_>>();
    if tags.len() > limit {
        return Err(LimitError::TooManyTags { count: tags.len(), limit });
    }
    tags.into_iter().try_for_each(|(key, value)| validate_tag(key, value))
}

fn validate_tag(key: &str, value: &str) -> Result<(), LimitError> {
    for prefix in [EXPORTER_OWNED_PREFIX, TAG_LABEL_PREFIX] {
        if key.starts_with(prefix) {
            return Err(LimitError::TagKeyReserved { key: shorten(key), prefix });
        }
    }
    if key.contains('/') {
        return Err(LimitError::TagKeyPrefix { key: shorten(key) });
    }
    crate::labels::validate_key(key).map_err(|_| LimitError::TagKey { key: shorten(key) })?;
    validate_value(value).map_err(|source| LimitError::TagValue { key: key.to_owned(), source })
}

/// Checks the context of a new lease.
pub fn validate_context<'a>(context: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<(), LimitError> {
    let context = context.into_iter().collect::<Vec<_>>();
    if context.len() > MAX_CONTEXT_ENTRIES {
        return Err(LimitError::TooManyContextEntries { count: context.len() });
    }
    for (key, value) in context {
        let length = key.chars().count();
        if length > MAX_CONTEXT_KEY {
            return Err(LimitError::ContextKey { key: shorten(key), length });
        }
        let length = value.chars().count();
        if length > MAX_CONTEXT_VALUE {
            return Err(LimitError::ContextValue { key: key.clone(), length });
        }
    }
    Ok(())
}
