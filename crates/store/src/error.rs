//! What can go wrong, one variant for each thing a caller can do about it.

use crate::{Key, Kind};

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The object does not exist.
    #[error("{0} does not exist")]
    NotFound(Key),
    /// An object of this name exists already.
    #[error("{0} already exists")]
    AlreadyExists(Key),
    /// The object is not in the state that the writer saw: read it again and decide again.
    #[error("{key} has changed: {detail}")]
    Conflict {
        /// The object.
        key: Key,
        /// Expected and found.
        detail: String,
    },
    /// History does not reach back (or forward) to the version asked for: list again, then watch from there.
    #[error("version {requested} is no longer in the history, which begins after {oldest}: list again")]
    Gone {
        /// Version asked for.
        requested: u64,
        /// Oldest version that a watch can start at.
        oldest: u64,
    },
    /// The request makes no sense, whatever the state.
    #[error("{0}")]
    Invalid(String),
    /// No space left; nothing was written. Reads go on, and writes work again once there is space.
    #[error("the store is full, nothing was written: {0}")]
    Full(String),
    /// The store cannot be reached or is closing; the outcome of a write is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

/// Why an object is not a value of the type asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The object is of another kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// Kind asked for.
        expected: Kind,
        /// What the object is.
        found: String,
    },
    /// A field does not have the form that the kind demands.
    #[error("{key}: {detail}")]
    Content {
        /// The object.
        key: Key,
        /// Which field and why.
        detail: String,
    },
    /// No object at all: `apiVersion`, `kind` or `metadata` is missing or has the wrong form.
    #[error("{0}")]
    Shape(String),
}
