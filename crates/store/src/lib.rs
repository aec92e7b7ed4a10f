//! Durable resources with Kubernetes object semantics: the [`Store`] trait and the embedded, single-file store.
//!
//! A backend keeps [`Object`]s of six [`Kind`]s. Every write gives the object a new `resourceVersion`; a write that
//! carries one is a compare-and-swap. [`Store::list`] and [`Store::watch`] fit together: a watch that starts at the
//! version of a list misses nothing and repeats nothing.

mod api;
mod clock;
mod error;
mod key;
mod kind;
mod object;
mod recorder;
pub mod semantics;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod embedded;
pub mod manifest;
pub mod validate;

pub use api::{Event, EventStream, List, ListOptions, Precondition, Store, Write};
pub use clock::Clock;
pub use embedded::{EmbeddedOptions, EmbeddedStore};
pub use error::{DecodeError, StoreError};
pub use key::{Key, ResourceVersion};
pub use kind::{Kind, StoredKind};
pub use object::Object;
pub use recorder::{EventKind, EventRecorder, LogEvents, NoEvents, ObjectEvent};
