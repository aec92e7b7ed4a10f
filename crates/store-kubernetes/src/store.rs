//! The store: one namespace of a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::BoxFuture;
use jumpstarter_store::{EventStream, Key, Kind, List, ListOptions, Object, ResourceVersion, Store, StoreError, Write};
use kube::Client;
use tokio::task::JoinSet;

use crate::{
    KubernetesMetrics, KubernetesOptions,
    api::Api,
    decode::Reporter,
    hub::{Hub, Watched},
    list, write,
};

/// The objects of one namespace, on the Kubernetes API. Cheap to clone; the last clone to go ends the watches.
///
/// Only that namespace exists here: reads of another find nothing, writes to another are invalid. Use it within a tokio
/// runtime.
#[derive(Clone)]
pub struct KubernetesStore(Arc<Shared>);

struct Shared {
    api: Arc<Api>,
    options: KubernetesOptions,
    reporter: Reporter,
    hubs: Mutex<BTreeMap<Kind, Arc<Hub>>>,
    /// One for each kind that is watched; aborted with the store.
    tasks: Mutex<JoinSet<()>>,
    /// Optional kinds that the cluster does not have, or does not show us.
    absent: RwLock<BTreeSet<Kind>>,
    /// Newest version that the API server is known to have reached.
    newest: Arc<AtomicU64>,
}

impl KubernetesStore {
    /// The store of a namespace. Nothing is asked of the API server yet.
    pub fn new(client: Client, options: KubernetesOptions, metrics: KubernetesMetrics) -> Self {
        let api = Api {
            client,
            namespace: options.namespace.clone(),
            request_timeout: options.request_timeout,
            metrics: metrics.clone(),
        };
        Self(Arc::new(Shared {
            api: Arc::new(api),
            reporter: Reporter::new(Arc::clone(&options.events), metrics),
            options,
            hubs: Mutex::default(),
            tasks: Mutex::default(),
            absent: RwLock::default(),
            newest: Arc::default(),
        }))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.0.api.namespace
    }

    /// Begins to watch these kinds before anybody asks, so that whoever does is served at once: for a standby.
    ///
    /// Waits for the first list of each; an error says why there is none, and the attempts go on all the same.
    pub async fn warm(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        let present = kinds.iter().filter(|kind| !self.lacks(**kind));
        let hubs: Vec<_> = present.map(|kind| self.watched(*kind, 0)).collect();
        for hub in hubs {
            hub.ready(self.0.options.list_timeout).await?;
        }
        Ok(())
    }

    pub(crate) fn api(&self) -> &Api {
        &self.0.api
    }

    /// Whether there can be no objects of this kind: see [`Kind::is_optional`].
    fn lacks(&self, kind: Kind) -> bool {
        kind.is_optional() && self.0.absent.read().unwrap_or_else(PoisonError::into_inner).contains(&kind)
    }

    /// Notes the optional kinds that are not there.
    pub(crate) fn note_absent(&self, kinds: BTreeSet<Kind>) {
        *self.0.absent.write().unwrap_or_else(PoisonError::into_inner) = kinds;
    }

    fn hub(&self, kind: Kind) -> Option<Arc<Hub>> {
        let hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.get(&kind).filter(|hub| !hub.is_closed()).cloned()
    }

    /// The hub of a kind; a new one remembers what happened after `from`.
    fn watched(&self, kind: Kind, from: u64) -> Arc<Hub> {
        let mut hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(&kind).filter(|hub| !hub.is_closed()) {
            return Arc::clone(hub);
        }
        let hub = Arc::new(Hub::new(kind, from, &self.0.options, Arc::clone(&self.0.newest)));
        let task = Arc::clone(&hub).run(Arc::clone(&self.0.api), self.0.reporter.clone(), self.0.options.clone());
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        hubs.insert(kind, Arc::clone(&hub));
        hub
    }

    fn reached(&self, version: ResourceVersion) {
        self.0.newest.fetch_max(version.0, Ordering::AcqRel);
    }

    async fn list_here(&self, kind: Kind, options: ListOptions) -> Result<List, StoreError> {
        if self.lacks(kind) {
            let reached = ResourceVersion(self.0.newest.load(Ordering::Acquire));
            return Ok(List { resource_version: reached, ..List::default() });
        }
        let Shared { api, reporter, options: behaviour, .. } = &*self.0;
        let list = list::list(api, reporter, kind, options, behaviour.list_timeout).await?;
        self.reached(list.resource_version);
        Ok(list)
    }

    /// Makes the changes one after the other, up to the first that fails.
    async fn write_all(&self, writes: Vec<Write>) -> Result<Vec<Object>, StoreError> {
        let mut written = Vec::with_capacity(writes.len());
        for write in writes {
            let kind = write.key().kind;
            let deletes = matches!(write, Write::Delete(..));
            let hub = self.hub(kind);
            let known = hub.as_ref().and_then(|hub| hub.known(write.key()));
            let object = write::write(&self.0.api, &self.0.reporter, write, known).await.inspect_err(|error| {
                if matches!(error, StoreError::Conflict { .. }) {
                    self.0.api.metrics.conflict(kind);
                }
            })?;
            if !deletes {
                self.reached(object.resource_version());
                if let Some(hub) = hub {
                    hub.announce(object.resource_version());
                }
            }
            written.push(object);
        }
        Ok(written)
    }

    async fn watch_from(&self, kinds: &[Kind], from: ResourceVersion) -> Result<EventStream, StoreError> {
        let Some(first) = kinds.first() else {
            return Err(StoreError::Invalid("a watch needs a kind".into()));
        };
        if from.0 > self.0.newest.load(Ordering::Acquire) {
            // A version that nobody here has heard of: from before a restore, it would never come again.
            let options = ListOptions { limit: Some(1), ..ListOptions::default() };
            let reached = self.list_here(*first, options).await?.resource_version;
            if from > reached {
                return Err(StoreError::Gone { requested: from.0, oldest: reached.0 });
            }
        }
        let mut hubs = Vec::new();
        for kind in kinds.iter().filter(|kind| !self.lacks(**kind)) {
            let hub = self.watched(*kind, from.0);
            if !hubs.iter().any(|other| Arc::ptr_eq(other, &hub)) {
                hubs.push(hub);
            }
        }
        for hub in &hubs {
            hub.ready(self.0.options.list_timeout).await?;
        }
        Watched::open(&hubs, from)
    }
}

impl Store for KubernetesStore {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        Box::pin(async move {
            if key.namespace != self.namespace() {
                return Ok(None);
            }
            let found = list::get(&self.0.api, &self.0.reporter, key).await?;
            if let Some(object) = &found {
                self.reached(object.resource_version());
            }
            Ok(found)
        })
    }

    fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            if !namespace.is_empty() && namespace != self.namespace() {
                return Ok(List::default());
            }
            self.list_here(kind, options).await
        })
    }

    fn transact(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Vec<Object>, StoreError>> {
        Box::pin(self.write_all(writes))
    }

    fn watch<'a>(&'a self, kinds: &'a [Kind], from: ResourceVersion) -> BoxFuture<'a, Result<EventStream, StoreError>> {
        Box::pin(self.watch_from(kinds, from))
    }
}

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesStore").field("namespace", &self.namespace()).finish_non_exhaustive()
    }
}
