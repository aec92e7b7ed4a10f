//! Label syntax, and the labels that the service itself reads and writes (kubernetes.md §2.1).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::{Selector, lease_group::GROUP_LABEL, name::is_subdomain, quote::shorten};

/// On a lease, `true` once it is over; "active" means that the label is absent.
pub const LEASE_ENDED_LABEL: &str = "jumpstarter.dev/lease-ended";
/// Prefix of the copy of each tag among a lease's labels.
pub const TAG_LABEL_PREFIX: &str = "metadata.jumpstarter.dev/";
/// Prefix of the exporter labels that the exporter process owns.
pub const EXPORTER_OWNED_PREFIX: &str = "jumpstarter.dev/";

/// Longest name part of a key, and longest value.
pub const MAX_LABEL_PART: usize = 63;

/// Why a text is no label key or value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not `[prefix/]name`.
    #[error(
        "`{0}` is not a label key: use [prefix/]name, with at most 63 letters, digits, `-`, `_` or `.` in the name \
         and a DNS name as prefix"
    )]
    Key(String),
    /// Not a label value.
    #[error(
        "`{0}` is not a label value: use at most 63 letters, digits, `-`, `_` or `.`, with a letter or digit at both \
         ends, or nothing"
    )]
    Value(String),
}

/// Checks a label key: an optional DNS prefix of at most 253 characters, `/`, and a name of at most 63.
pub fn validate_key(key: &str) -> Result<(), LabelError> {
    let well_formed = match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name_part(name),
        None => is_name_part(key),
    };
    if well_formed { Ok(()) } else { Err(LabelError::Key(shorten(key))) }
}

/// Checks a label value: empty, or as the name part of a key.
pub fn validate_value(value: &str) -> Result<(), LabelError> {
    if value.is_empty() || is_name_part(value) { Ok(()) } else { Err(LabelError::Value(shorten(value))) }
}

fn is_name_part(text: &str) -> bool {
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else {
        return false;
    };
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= MAX_LABEL_PART
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && text.bytes().all(inner)
}

/// The labels of a new lease object: the selector's equality labels, so that leases can be listed by board, and a
/// prefixed copy of each tag.
///
/// Keys that the service writes itself are not taken from the selector: a tag copy cannot be forged, and a lease
/// cannot be born ended or into somebody's group.
pub fn lease_labels(selector: &Selector, tags: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let from_selector = selector
        .equality_labels()
        .into_iter()
        .filter(|(key, _)| !key.starts_with(TAG_LABEL_PREFIX) && key != LEASE_ENDED_LABEL && key != GROUP_LABEL);
    let from_tags = tags.iter().map(|(key, value)| (format!("{TAG_LABEL_PREFIX}{key}"), value.clone()));
    from_selector.chain(from_tags).collect()
}

/// The labels of an exporter after it registered: administrators' labels stay, those that the exporter owns are
/// replaced by the ones it reported. Reported keys without the prefix, and malformed ones, are ignored.
pub fn sync_exporter_labels<'a>(
    existing: &BTreeMap<String, String>,
    reported: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let kept = existing
        .iter()
        .filter(|(key, _)| !key.starts_with(EXPORTER_OWNED_PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()));
    let owned = reported
        .into_iter()
        .filter(|(key, value)| {
            key.starts_with(EXPORTER_OWNED_PREFIX) && validate_key(key).is_ok() && validate_value(value).is_ok()
        })
        .map(|(key, value)| (key.clone(), value.clone()));
    kept.chain(owned).collect()
}
