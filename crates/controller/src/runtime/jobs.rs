//! Calls to the store that are under way, each with what it is for.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jumpstarter_model::Exporter;
use jumpstarter_scheduler::Action;
use jumpstarter_store::{Key, Object, ResourceVersion, Store, StoreError, Write};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{draft::Draft, inbox::Envelope};

/// The longest that a call to the store may take; a store has limits of its own, which are shorter.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Something to be written.
pub(super) enum Work {
    /// What a caller asked for.
    Command(Envelope),
    /// What the core decided.
    Action(Action),
    /// The removal of an ended lease.
    Remove { lease: String, uid: String },
    /// What a maintenance window is to say of itself.
    Judge { window: String },
}

/// A work whose call is under way.
pub(super) struct Job {
    pub(super) work: Work,
    /// A decision that follows from the command and is written along with it.
    pub(super) follow: Option<Action>,
    /// The command's change, when the core was told to assume it.
    pub(super) assumed: Option<Draft>,
    /// The objects that nobody else writes meanwhile.
    pub(super) keys: Vec<Key>,
    /// Exporters as they were before.
    pub(super) before: Vec<Arc<Exporter>>,
    /// Readings that failed since the write.
    pub(super) misses: u32,
    /// The versions of the objects that were known when they began to be read again.
    pub(super) known: Vec<Option<ResourceVersion>>,
}

impl Job {
    /// A work that was just begun, of which nothing else is to be known.
    pub(super) fn new(work: Work, keys: Vec<Key>) -> Self {
        Self { work, follow: None, assumed: None, keys, before: Vec::new(), misses: 0, known: Vec::new() }
    }
}

/// How a call ended.
pub(super) enum Outcome {
    /// The objects as written.
    Written(Vec<Object>),
    /// The write failed.
    Failed(StoreError),
    /// The objects as they are after a failed write; `None` for those that do not exist.
    Read(Vec<(Key, Option<Object>)>),
    /// They could not be read either.
    Unread(StoreError),
    /// The service stops.
    Abandoned,
}

/// A call that has ended.
pub(super) struct Landing {
    pub(super) job: Job,
    pub(super) outcome: Outcome,
}

/// Makes the changes.
pub(super) fn write(store: Arc<dyn Store>, job: Job, writes: Vec<Write>) -> BoxFuture<'static, Landing> {
    Box::pin(async move {
        let outcome = match limited(store.transact(writes)).await {
            Ok(objects) => Outcome::Written(objects),
            Err(error) => Outcome::Failed(error),
        };
        Landing { job, outcome }
    })
}

/// Reads the objects of a failed write again, after a while.
pub(super) fn read_again(
    store: Arc<dyn Store>,
    job: Job,
    after: Duration,
    stop: CancellationToken,
) -> BoxFuture<'static, Landing> {
    Box::pin(async move {
        let keys = job.keys.clone();
        let read = async {
            sleep(after).await;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let object = limited(store.get(&key)).await?;
                found.push((key, object));
            }
            Ok(found)
        };
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Outcome::Abandoned,
            read = read => match read {
                Ok(found) => Outcome::Read(found),
                Err(error) => Outcome::Unread(error),
            },
        };
        Landing { job, outcome }
    })
}

async fn limited<T>(call: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable(format!("no answer within {} s", CALL_LIMIT.as_secs()));
    timeout(CALL_LIMIT, call).await.map_err(late)?
}
