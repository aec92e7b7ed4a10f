//! The embedded store: one `SQLite` file, one process.

use std::path::Path;

use futures::future::BoxFuture;

use crate::{Clock, EventStream, Key, Kind, List, ListOptions, Object, ResourceVersion, Store, StoreError, Write};

/// How an embedded store behaves.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Source of `creationTimestamp`.
    pub clock: Clock,
    /// Events kept for watches that resume.
    pub history: u64,
    /// Upper limit of the file's size in bytes; `None` is the disk's.
    pub max_bytes: Option<u64>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { clock: Clock::system(), history: 20_000, max_bytes: None }
    }
}

/// A store in one file of a data directory. Cheap to clone; the last clone to go closes it.
#[derive(Clone, Debug)]
pub struct EmbeddedStore {}

impl EmbeddedStore {
    /// Opens the store of a data directory, creating both if need be. Blocks on the disk.
    pub fn open(data_dir: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let _ = (data_dir, options);
        Err(StoreError::Unavailable("not there yet".into()))
    }
}

impl Store for EmbeddedStore {
    fn get<'a>(&'a self, _key: &'a Key) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        todo!()
    }
    fn list<'a>(&'a self, _: Kind, _: &'a str, _: ListOptions) -> BoxFuture<'a, Result<List, StoreError>> {
        todo!()
    }
    fn transact(&self, _: Vec<Write>) -> BoxFuture<'_, Result<Vec<Object>, StoreError>> {
        todo!()
    }
    fn watch<'a>(&'a self, _: &'a [Kind], _: ResourceVersion) -> BoxFuture<'a, Result<EventStream, StoreError>> {
        todo!()
    }
}
