//! The contract that every backend fulfils; the `conformance` module checks it.

use futures::{future::BoxFuture, stream::BoxStream};
use jumpstarter_model::Selector;

use crate::{Key, Kind, Object, ResourceVersion, StoreError};

/// One change of a transaction.
///
/// A write that carries `metadata.resourceVersion` (or `metadata.uid`) holds only for an object in exactly that
/// state, else it fails with [`StoreError::Conflict`]; without them it is unconditional. `metadata.generation` grows
/// when the desired state (`spec`) changes and only then. A write that changes nothing makes no new version.
/// `uid`, `creationTimestamp`, `generation` and `resourceVersion` are the store's own: what a writer puts there is a
/// condition or is ignored. A store that knows the schemas (Kubernetes) fills in their defaults, so read what comes back.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new object, status included: on Kubernetes by a second request, whose conflict leaves the object without.
    /// `metadata.generateName` makes a name when `metadata.name` is empty.
    Create(Object),
    /// Labels, annotations, owner references and the desired state (`spec`, or a core kind's `data`); status is
    /// left alone.
    Update(Object),
    /// Status alone; everything else is left alone.
    UpdateStatus(Object),
    /// Both halves. On Kubernetes the status first, then the rest.
    Replace(Object),
    /// Removal, together with every object whose owners are all gone by then.
    Delete(Key, Option<Precondition>),
}

impl Write {
    /// The object that it is about; the name is empty for a create with `generateName`.
    pub fn key(&self) -> &Key {
        match self {
            Self::Create(object) | Self::Update(object) | Self::UpdateStatus(object) | Self::Replace(object) => {
                object.key()
            }
            Self::Delete(key, _) => key,
        }
    }
}

/// The state that an object must be in to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// Its `uid`.
    pub uid: Option<String>,
    /// Its version.
    pub resource_version: Option<ResourceVersion>,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Only objects with these labels.
    pub label_selector: Option<Selector>,
    /// At most so many items.
    pub limit: Option<usize>,
    /// Where an earlier page ended. The other options must be those of that page.
    pub continue_token: Option<String>,
}

/// Objects by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The objects, not yet decoded: one that does not decode spoils no other.
    pub items: Vec<Object>,
    /// Version to watch from. Later pages repeat that of the first, so that a watch from it misses nothing.
    pub resource_version: ResourceVersion,
    /// Present when more follow.
    pub continue_token: Option<String>,
}

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It exists.
    Added(Object),
    /// It changed.
    Modified(Object),
    /// It is gone; the last state, with the version of the deletion.
    Deleted(Object),
}

impl Event {
    /// The object after the event; for a deletion, before it.
    pub fn object(&self) -> &Object {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted(object) => object,
        }
    }

    /// The version that the event made.
    pub fn resource_version(&self) -> ResourceVersion {
        self.object().resource_version()
    }
}

/// Events of each kind in the order of their versions; of different kinds see [`Store::watch`]. Ends after an error, and
/// only then.
pub type EventStream = BoxStream<'static, Result<Event, StoreError>>;

/// Objects that last.
pub trait Store: Send + Sync + 'static {
    /// The object of this name, if there is one.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Object>, StoreError>>;

    /// Objects of one kind; of all namespaces when `namespace` is empty.
    fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, StoreError>>;

    /// Makes the changes in order and answers with each object as written (for a delete: as it last was).
    ///
    /// The embedded store makes all of them or none, durably, before it answers. Kubernetes makes one after the
    /// other and stops at the first that fails, so **write them so that every prefix is a state that the caller
    /// recovers from**: the claim on an exporter before the lease that names it, for example.
    ///
    /// # Cancel safety
    /// A dropped future leaves the outcome unknown: the changes may be made.
    fn transact(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Vec<Object>, StoreError>>;

    /// Every change of these kinds, in all namespaces of the store, after `from`, which is a
    /// [`List::resource_version`], or the version of an event from a watch of one kind.
    ///
    /// The embedded store tells events of different kinds in the order of their versions, too. Kubernetes tells them in
    /// the order in which they arrive, except that what this process has written shows in the order in which it was
    /// written. So what is told of one kind may be older than what was last told of another: a watch of several kinds
    /// continues from a list, not from an event.
    ///
    /// Fails with [`StoreError::Gone`], at once or later in the stream, when history no longer holds the next event:
    /// `from` is too old, or the reader too slow. A slow reader costs no memory.
    fn watch<'a>(&'a self, kinds: &'a [Kind], from: ResourceVersion) -> BoxFuture<'a, Result<EventStream, StoreError>>;
}
