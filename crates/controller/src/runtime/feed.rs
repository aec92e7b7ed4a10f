//! What happens in the store, as one stream that mends itself: a watch, and a list where the watch cannot go on.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream, stream::BoxStream};
use jumpstarter_store::{Event, EventStream, Kind, List, ListOptions, ResourceVersion, Store, StoreError};
use tokio::time::sleep;
use tracing::{debug, warn};

/// First wait after a failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// One piece of it.
pub(super) enum News {
    /// Something changed.
    Event(Event),
    /// All there is of every kind: the watch had lost its place.
    Listed(Vec<(Kind, List)>),
}

enum State {
    Watch,
    Open(EventStream),
    List,
}

struct Feed {
    store: Arc<dyn Store>,
    namespace: String,
    state: State,
    /// Where the watch begins.
    version: ResourceVersion,
    wait: Duration,
}

/// Everything that happens after `from`, for ever. Cancel safe: a dropped `next` loses nothing.
pub(super) fn feed(store: Arc<dyn Store>, namespace: String, from: ResourceVersion) -> BoxStream<'static, News> {
    let feed = Feed { store, namespace, state: State::Watch, version: from, wait: FIRST_WAIT };
    stream::unfold(feed, |mut feed| async move { Some((feed.next().await, feed)) }).boxed()
}

/// Lists every kind; a watch from the version misses nothing and repeats a little.
pub(super) async fn list_all(
    store: &dyn Store,
    namespace: &str,
) -> Result<(Vec<(Kind, List)>, ResourceVersion), StoreError> {
    let mut lists = Vec::with_capacity(Kind::OBSERVED.len());
    for kind in Kind::OBSERVED {
        lists.push((kind, store.list(kind, namespace, ListOptions::default()).await?));
    }
    let oldest = lists.iter().map(|(_, list)| list.resource_version).min();
    Ok((lists, oldest.unwrap_or_default()))
}

impl Feed {
    async fn next(&mut self) -> News {
        loop {
            match &mut self.state {
                State::Watch => match self.store.watch(&Kind::OBSERVED, self.version).await {
                    Ok(events) => self.state = State::Open(events),
                    Err(StoreError::Gone { .. }) => self.state = State::List,
                    Err(error) => {
                        warn!(%error, "the store cannot be watched, trying again");
                        self.rest().await;
                    }
                },
                State::Open(events) => match events.next().await {
                    Some(Ok(event)) => {
                        self.wait = FIRST_WAIT;
                        return News::Event(event);
                    }
                    // A watch of several kinds goes on from a list only: their events are not in one order.
                    Some(Err(StoreError::Gone { .. })) => self.state = State::List,
                    ended => {
                        debug!(error = ?ended.and_then(Result::err), "the watch has ended");
                        self.state = State::List;
                        self.rest().await;
                    }
                },
                State::List => match list_all(&*self.store, &self.namespace).await {
                    Ok((lists, version)) => {
                        self.version = version;
                        self.state = State::Watch;
                        self.wait = FIRST_WAIT;
                        return News::Listed(lists);
                    }
                    Err(error) => {
                        warn!(%error, "the store cannot be listed, trying again");
                        self.rest().await;
                    }
                },
            }
        }
    }

    async fn rest(&mut self) {
        sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}
