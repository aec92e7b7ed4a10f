//! Names that many indexes share.

use std::sync::Arc;

use jumpstarter_model::Timestamp;

/// Name of an object; cloning costs a reference count.
pub(crate) type Name = Arc<str>;

/// Place of a lease among equals: creation, then uid (UUIDv7 on our own store, so ordered in time within a second),
/// then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    /// When the lease was created; an object without that time counts as the youngest.
    pub(crate) created: Timestamp,
    /// Its uid.
    pub(crate) uid: Name,
    /// Its name.
    pub(crate) name: Name,
}
