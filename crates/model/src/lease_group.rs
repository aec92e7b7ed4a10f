//! Leases that belong together: which group a lease says it is in.
//!
//! A group is nothing but its members, ordinary leases tied together by a label and annotations, so that definitions in
//! clusters and clients need not know of it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{labels, quote::shorten};

/// Label of a lease: the name of its group.
pub const GROUP_LABEL: &str = "jumpstarter.dev/lease-group";
/// Annotation of a lease in a group: how many leases the group has.
pub const SIZE_ANNOTATION: &str = "jumpstarter.dev/lease-group-size";
/// Annotation of a lease in a group: the keys of exporter labels that must have equal values on all of its devices,
/// separated by commas.
pub const SAME_ANNOTATION: &str = "jumpstarter.dev/lease-group-same";

/// Most leases of a group. Boards that belong together are few, and the cost of finding devices for all of them at once
/// grows faster than their number.
pub const MAX_GROUP: usize = 16;
/// Most labels that must be equal.
pub const MAX_SAME: usize = 4;

/// What one lease says of the group that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGroup {
    /// Its name: a label value that is not empty.
    pub name: String,
    /// How many leases it has, at most [`MAX_GROUP`].
    pub size: usize,
    /// Keys of exporter labels that must have equal values on all devices, in order, each once.
    pub same: Vec<String>,
}

/// Why what a lease says of its group makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseGroupError {
    /// No label value, or empty.
    #[error(
        "`{0}` is not a name of a group: use 1 to 63 letters, digits, `-`, `_` or `.`, with a letter or digit at both ends"
    )]
    Name(String),
    /// No number, or not one that a group may have.
    #[error("`{0}` is not the size of a group: a group has 1 to {MAX_GROUP} leases")]
    Size(String),
    /// The lease has the label alone.
    #[error("the annotation {SIZE_ANNOTATION} is missing: it says how many leases the group has, 1 to {MAX_GROUP}")]
    NoSize,
    /// Not a label key.
    #[error(transparent)]
    Same(#[from] labels::LabelError),
    /// Too many label keys.
    #[error("{0} labels are to be equal within the group: {MAX_SAME} are allowed")]
    TooManySame(usize),
}

impl LeaseGroup {
    /// A checked group.
    ///
    /// # Errors
    /// What about it makes no sense.
    pub fn new(name: &str, size: usize, same: impl IntoIterator<Item = String>) -> Result<Self, LeaseGroupError> {
        if name.is_empty() || labels::validate_value(name).is_err() {
            return Err(LeaseGroupError::Name(shorten(name)));
        }
        if !(1..=MAX_GROUP).contains(&size) {
            return Err(LeaseGroupError::Size(size.to_string()));
        }
        let mut same = same.into_iter().collect::<Vec<_>>();
        same.sort();
        same.dedup();
        if same.len() > MAX_SAME {
            return Err(LeaseGroupError::TooManySame(same.len()));
        }
        for key in &same {
            labels::validate_key(key)?;
        }
        Ok(Self { name: name.to_owned(), size, same })
    }

    /// The name of the group that an object says it is in.
    pub fn name_of(metadata: &ObjectMeta) -> Option<&str> {
        metadata.labels.as_ref()?.get(GROUP_LABEL).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// What an object says of its group; `None` when it is in none.
    pub fn of(metadata: &ObjectMeta) -> Option<Result<Self, LeaseGroupError>> {
        let name = Self::name_of(metadata)?;
        let annotation = |key: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let Some(size) = annotation(SIZE_ANNOTATION) else { return Some(Err(LeaseGroupError::NoSize)) };
        let Ok(size) = size.parse() else { return Some(Err(LeaseGroupError::Size(shorten(size)))) };
        let same = annotation(SAME_ANNOTATION).map(String::as_str).unwrap_or_default().split(',').map(str::trim);
        Some(Self::new(name, size, same.filter(|key| !key.is_empty()).map(str::to_owned)))
    }

    /// Makes an object say that it is in this group.
    pub fn write(&self, metadata: &mut ObjectMeta) {
        metadata.labels.get_or_insert_default().insert(GROUP_LABEL.to_owned(), self.name.clone());
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(SIZE_ANNOTATION.to_owned(), self.size.to_string());
        if !self.same.is_empty() {
            annotations.insert(SAME_ANNOTATION.to_owned(), self.same.join(","));
        }
    }

    /// Takes whatever says so off labels and annotations.
    pub fn erase(labels: &mut BTreeMap<String, String>, annotations: &mut BTreeMap<String, String>) {
        labels.remove(GROUP_LABEL);
        annotations.remove(SIZE_ANNOTATION);
        annotations.remove(SAME_ANNOTATION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let group = LeaseGroup::new("duo", 2, ["rack".to_owned(), "lab.dev/row".to_owned()]).unwrap();
        let mut metadata = ObjectMeta::default();
        assert_eq!(LeaseGroup::of(&metadata), None);
        group.write(&mut metadata);
        assert_eq!(LeaseGroup::of(&metadata), Some(Ok(group)));
        let (mut labels, mut annotations) = (metadata.labels.unwrap(), metadata.annotations.unwrap());
        LeaseGroup::erase(&mut labels, &mut annotations);
        assert!(labels.is_empty() && annotations.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let said = |name: &str, size: Option<&str>, same: &str| {
            let mut metadata = ObjectMeta::default();
            metadata.labels.get_or_insert_default().insert(GROUP_LABEL.to_owned(), name.to_owned());
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(SAME_ANNOTATION.to_owned(), same.to_owned());
            if let Some(size) = size {
                annotations.insert(SIZE_ANNOTATION.to_owned(), size.to_owned());
            }
            LeaseGroup::of(&metadata).unwrap().map(|group| group.same).map_err(|error| error.to_string())
        };
        assert_eq!(said("g", Some("2"), " rack,,rack "), Ok(vec!["rack".to_owned()]));
        for (name, size, same, fault) in [
            ("g", None, "", "is missing"),
            ("g", Some("0"), "", "1 to 16"),
            ("g", Some("17"), "", "1 to 16"),
            ("g", Some("-1"), "", "1 to 16"),
            ("g", Some("many"), "", "1 to 16"),
            ("-", Some("2"), "", "not a name"),
            ("g", Some("2"), "a b", "not a label key"),
            ("g", Some("2"), "a,b,c,d,e", "4 are allowed"),
        ] {
            let found = said(name, size, same).unwrap_err();
            assert!(found.contains(fault), "{found}");
        }
    }
}
