//! Keeps a controller that was stopped from writing.

use futures::future::BoxFuture;
use jumpstarter_store::{EventStream, Key, Kind, List, ListOptions, Object, ResourceVersion, Store, StoreError, Write};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A store until the fence goes up; afterwards nothing more is sent to it.
///
/// Calls that are under way are dropped, so what was already sent may still be made: everything that this controller
/// writes is either conditional on the version that it saw or harmless when late.
#[derive(Clone)]
pub(crate) struct FencedStore {
    store: Arc<dyn Store>,
    fence: CancellationToken,
}

impl FencedStore {
    /// Lets calls through until `fence` fires.
    pub(crate) fn new(store: Arc<dyn Store>, fence: CancellationToken) -> Self {
        Self { store, fence }
    }

    async fn guarded<T>(&self, call: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::select! {
            // The fence first: a call that was never polled has sent nothing.
            biased;
            () = self.fence.cancelled() => Err(StoreError::Unavailable("this controller has stopped".to_owned())),
            answer = call => answer,
        }
    }
}

impl Store for FencedStore {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        Box::pin(self.guarded(self.store.get(key)))
    }

    fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(self.guarded(self.store.list(kind, namespace, options)))
    }

    fn transact(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Vec<Object>, StoreError>> {
        Box::pin(self.guarded(self.store.transact(writes)))
    }

    fn watch<'a>(&'a self, kinds: &'a [Kind], from: ResourceVersion) -> BoxFuture<'a, Result<EventStream, StoreError>> {
        Box::pin(self.guarded(self.store.watch(kinds, from)))
    }
}
