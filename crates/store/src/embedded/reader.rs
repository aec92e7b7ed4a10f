//! The threads that read, each with its own connection, so that a long list delays neither writes nor short reads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{error, files};
use crate::StoreError;

/// One for long lists, one for the rest while that lasts.
const THREADS: usize = 2;
/// Reads that may wait; more wait for a place.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Hands reads to the threads. Watches hold clones, which outlive the store; it is [`Readers::close`] that ends them.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    jobs: mpsc::Sender<Job>,
    closing: Arc<AtomicBool>,
}

impl Readers {
    /// Starts the threads.
    pub(super) fn start(path: &Path) -> Result<(Self, Vec<thread::JoinHandle<()>>), StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..THREADS).map(|_| {
            let mut connection = files::connect(path)?;
            connection.pragma_update(None, "query_only", true).map_err(|error| error::from_sqlite(&error))?;
            let (queue, closing) = (Arc::clone(&queue), Arc::clone(&closing));
            thread::Builder::new()
                .name("store-reader".to_owned())
                .spawn(move || {
                    while !closing.load(Ordering::Acquire) {
                        // A statement of its own: the lock goes before the job runs.
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                        let Some(job) = job else { break };
                        // One bad read must not take the thread from all others.
                        if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                            tracing::error!("a read of the store panicked");
                        }
                    }
                })
                .map_err(|error| StoreError::Unavailable(format!("start a reader: {error}")))
        });
        let threads = threads.collect::<Result<_, _>>()?;
        Ok((Self { jobs, closing }, threads))
    }

    /// Ends the threads. Reads that wait are not done.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        for _ in 0..THREADS {
            // Wakes a thread that waits; when the queue is full, none does.
            let _ = self.jobs.try_send(Box::new(|_| ()));
        }
    }

    /// Runs `read` on one of the threads.
    pub(super) async fn run<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = reply.send(read(connection));
        });
        self.jobs.send(job).await.map_err(|_| error::closed())?;
        answer.await.map_err(|_| error::closed())?
    }
}
