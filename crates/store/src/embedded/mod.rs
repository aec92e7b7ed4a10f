//! The embedded store: one `SQLite` file, one process, one thread that writes.
//!
//! A commit is on the disk before anybody hears of it, be it the writer, a reader or a watcher. While the store is
//! open the file has two companions (`-wal`, `-shm`): copy it with [`EmbeddedStore::backup`], never with `cp`.

mod apply;
mod backup;
mod check;
mod error;
mod files;
mod hub;
mod list;
mod reader;
mod schema;
mod transfer;
mod watch;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

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
    /// How long to wait for another process to let go of the data directory.
    pub lock_patience: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { clock: Clock::system(), history: 20_000, max_bytes: None, lock_patience: Duration::ZERO }
    }
}

/// A store in one file of a data directory. Cheap to clone; the last clone to go closes it.
#[derive(Clone)]
pub struct EmbeddedStore(Arc<Shared>);

struct Shared {
    path: PathBuf,
    hub: Arc<hub::Hub>,
    /// Taken when the store closes, which ends the writer once it has done what is queued.
    writer: Option<mpsc::Sender<writer::Request>>,
    readers: reader::Readers,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    /// After the threads: fields are dropped in order.
    _lock: files::Lock,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.writer = None;
        self.readers.close();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // The last clone may be dropped by a job on one of the threads, which cannot wait for itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedStore").field(&self.0.path).finish()
    }
}

impl EmbeddedStore {
    /// Opens the store of a data directory, creating both if need be. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another process has it open, [`StoreError::Corrupt`] when the file is damaged,
    /// newer than this program or not a store: it is then left as it is.
    pub fn open(data_dir: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let EmbeddedOptions { clock, history, max_bytes, lock_patience } = options;
        files::prepare(data_dir)?;
        let lock = files::lock(data_dir, lock_patience)?;
        let path = files::store(data_dir)?;
        let connection = files::connect(&path)?;
        let sqlite = |error: rusqlite::Error| error::from_sqlite(&error);
        if let Some(max_bytes) = max_bytes {
            let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(sqlite)?;
            let pages = u32::try_from(max_bytes / u64::from(page)).unwrap_or(u32::MAX - 1).max(1);
            connection.pragma_update(None, "max_page_count", pages).map_err(sqlite)?;
        }
        let hub = Arc::new(hub::Hub::new(apply::last_version(&connection).map_err(sqlite)?));
        let (readers, mut threads) = reader::Readers::start(&path)?;
        let (writer, thread) = writer::start(connection, Arc::clone(&hub), apply::Identities::new(clock), history)
            .map_err(|error| StoreError::Unavailable(format!("start the writer: {error}")))?;
        threads.push(thread);
        Ok(Self(Arc::new(Shared {
            path,
            hub,
            writer: Some(writer),
            readers,
            threads: Mutex::new(threads),
            _lock: lock,
        })))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Store for EmbeddedStore {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        let key = key.clone();
        Box::pin(async move {
            let read = move |connection: &mut rusqlite::Connection| {
                apply::load(connection, &key).map_err(|error| error::from_sqlite(&error))?
            };
            self.0.readers.run(read).await
        })
    }

    fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        let namespace = namespace.to_owned();
        Box::pin(async move {
            self.0.readers.run(move |connection| list::list(connection, kind, &namespace, &options)).await
        })
    }

    fn transact(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Vec<Object>, StoreError>> {
        Box::pin(async move {
            if writes.is_empty() {
                return Ok(Vec::new());
            }
            let (reply, answer) = oneshot::channel();
            let writer = self.0.writer.as_ref().ok_or_else(error::closed)?;
            writer
                .send(writer::Request { work: writer::Work { writes, keep_uids: false }, reply })
                .await
                .map_err(|_| error::closed())?;
            answer.await.map_err(|_| error::closed())?
        })
    }

    fn watch<'a>(&'a self, kinds: &'a [Kind], from: ResourceVersion) -> BoxFuture<'a, Result<EventStream, StoreError>> {
        Box::pin(async move { watch::start(&self.0.hub, &self.0.readers, kinds, from).await })
    }
}
