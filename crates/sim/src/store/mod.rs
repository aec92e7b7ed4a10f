//! A store in memory with the semantics of Kubernetes, that can be in trouble.
//!
//! A call that its caller gives up goes on, as a request does that was sent: its writes may be made later.

mod core;
mod trouble;
mod watch;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use jumpstarter_model::{GoDuration, lease_group::GROUP_LABEL};
use jumpstarter_scheduler::transition::REQUEUED_FROM;
use jumpstarter_store::{
    Clock, EventStream, Key, Kind, List, ListOptions, Object, ResourceVersion, Store, StoreError, Write,
};
use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::TaskTracker;

pub(crate) use self::{
    core::Commit,
    trouble::{Step, Trap},
};
use self::{
    core::Core,
    trouble::{Fate, Trouble},
};
use crate::{
    dice::Dice,
    plan::{Faults, Flaw},
};

/// Longer than anybody waits for an answer.
const NEVER: Duration = Duration::from_secs(90);

/// Told of each commit at the moment at which it is made.
pub(crate) type Observer = Arc<dyn Fn(&Commit) + Send + Sync>;

/// The store; clones are the same store.
#[derive(Clone)]
pub struct SimStore(Arc<Inner>);

struct Inner {
    core: Mutex<Core>,
    trouble: Mutex<Trouble>,
    /// Rings when there are events, or something happens to watches.
    bell: Notify,
    tasks: TaskTracker,
    clock: Clock,
    flaw: Flaw,
    observer: Option<Observer>,
}

impl SimStore {
    /// A store without troubles, which remembers this many events.
    pub fn sound(clock: Clock, kept: usize) -> Self {
        Self::new(clock, kept, Faults::default(), Dice::named(0, "store"), Flaw::None, None)
    }

    pub(crate) fn new(
        clock: Clock,
        kept: usize,
        faults: Faults,
        dice: Dice,
        flaw: Flaw,
        observer: Option<Observer>,
    ) -> Self {
        Self(Arc::new(Inner {
            core: Mutex::new(Core::new(kept)),
            trouble: Mutex::new(Trouble::new(faults, dice)),
            bell: Notify::new(),
            tasks: TaskTracker::new(),
            clock,
            flaw,
            observer,
        }))
    }

    /// Writes at once and without any trouble, as an administrator beside the service does.
    pub(crate) fn commit(&self, writes: &[Write]) -> Result<Vec<Object>, StoreError> {
        self.0.commit(writes)
    }

    /// Reads at once.
    pub(crate) fn read(&self, key: &Key) -> Option<Object> {
        self.0.core().get(key).cloned()
    }

    /// Lists at once.
    pub(crate) fn all(&self, kind: Kind, namespace: &str) -> Vec<Object> {
        self.0.core().list(kind, namespace, &ListOptions::default()).map(|list| list.items).unwrap_or_default()
    }

    /// How many objects there are of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.0.core().count(kind)
    }

    /// Answers nothing before this instant.
    pub(crate) fn stall(&self, until: Instant) {
        self.0.trouble().stalled_until = Some(until);
    }

    /// Ends every watch; with `gone`, as if history had been cut.
    pub(crate) fn cut_watches(&self, gone: bool) {
        let mut trouble = self.0.trouble();
        trouble.watches += 1;
        trouble.gone = gone;
        drop(trouble);
        self.0.bell.notify_waiters();
    }

    /// Makes every watch tell its last events again.
    pub(crate) fn replay(&self, events: u64) {
        let mut trouble = self.0.trouble();
        trouble.replays += 1;
        trouble.replayed = events;
        drop(trouble);
        self.0.bell.notify_waiters();
    }

    /// Makes every watch tell nothing before this instant.
    pub(crate) fn silence(&self, until: Instant) {
        self.0.trouble().silent_until = Some(until);
    }

    /// Sets a trap in place of the last one.
    pub(crate) fn set_trap(&self, trap: Option<Trap>) {
        self.0.trouble().trap = trap;
    }

    /// Ends all troubles, for good.
    pub(crate) fn mend(&self) {
        let mut trouble = self.0.trouble();
        let faults = &trouble.faults;
        trouble.faults = Faults { one_by_one: faults.one_by_one, store_delay: 5, ..Faults::default() };
        trouble.trap = None;
    }
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, writes: &[Write]) -> Result<Vec<Object>, StoreError> {
        let mut core = self.core();
        let (objects, commits) = core.write_all(writes, self.clock.now())?;
        core.publish(&commits);
        drop(core);
        if let Some(observer) = &self.observer {
            for commit in &commits {
                observer(commit);
            }
        }
        self.bell.notify_waiters();
        Ok(objects)
    }

    /// A message travels to the store, which may stall.
    async fn arrive(&self) {
        let latency = self.trouble().latency();
        if !latency.is_zero() {
            sleep(latency).await;
        }
        loop {
            let stalled = self.trouble().stalled_until.filter(|until| *until > Instant::now());
            let Some(until) = stalled else { return };
            sleep_until(until).await;
        }
    }

    async fn depart(&self) {
        let latency = self.trouble().latency();
        if !latency.is_zero() {
            sleep(latency).await;
        }
    }

    /// Carries a transaction out, with whatever goes wrong. `None`: there is no answer.
    async fn serve(&self, writes: Vec<Write>) -> Option<Result<Vec<Object>, StoreError>> {
        let unavailable = |text: &str| Some(Err(StoreError::Unavailable(text.to_owned())));
        self.arrive().await;
        let fate = {
            let mut trouble = self.trouble();
            trouble.step(Step::Before);
            trouble.fate(writes.len())
        };
        let answer = match fate {
            Fate::Refused => unavailable("the store is overloaded"),
            Fate::Conflict if let Some(key) = conditional(&writes) => {
                Some(Err(StoreError::Conflict { key, detail: "so says the store".to_owned() }))
            }
            Fate::Hangs { done: false } => None,
            Fate::Half => {
                let first = self.commit(&writes[..1]);
                self.trouble().step(Step::Between);
                match first {
                    Ok(_) => unavailable("the store stopped in between"),
                    Err(error) => Some(Err(error)),
                }
            }
            Fate::Fine | Fate::Conflict | Fate::AnswerLost | Fate::Hangs { done: true } => {
                let done = self.carry_out(&writes).await;
                self.trouble().step(Step::After);
                match fate {
                    Fate::AnswerLost => unavailable("the connection to the store was lost"),
                    Fate::Hangs { .. } => None,
                    _ => Some(done),
                }
            }
        };
        self.depart().await;
        answer
    }

    async fn carry_out(&self, writes: &[Write]) -> Result<Vec<Object>, StoreError> {
        if self.flaw == Flaw::ForgottenWrites && self.trouble().dice.chance(0.02) {
            let remembered = |write: &Write| matches!(write, Write::Update(_) | Write::Create(_));
            if writes.len() == 1 && writes.iter().all(remembered) && writes[0].key().kind == Kind::Lease {
                return Ok(writes.iter().map(forgotten).collect());
            }
        }
        if self.flaw == Flaw::LostSuccessor && writes.iter().any(stands_in) {
            let rest: Vec<Write> = writes.iter().filter(|write| !stands_in(write)).cloned().collect();
            let mut objects = self.commit(&rest)?;
            for (at, write) in writes.iter().enumerate().filter(|(_, write)| stands_in(write)) {
                objects.insert(at, forgotten(write));
            }
            return Ok(objects);
        }
        let stripped;
        let writes = if self.flaw == Flaw::ReadThenWrite {
            stripped = writes.iter().map(whatever_was_read).collect::<Vec<_>>();
            &stripped[..]
        } else {
            writes
        };
        let one_by_one = self.trouble().faults.one_by_one;
        if !one_by_one {
            return self.commit(writes);
        }
        let mut objects = Vec::new();
        for (done, write) in writes.iter().enumerate() {
            if done > 0 {
                self.trouble().step(Step::Between);
                self.arrive().await;
            }
            objects.extend(self.commit(std::slice::from_ref(write))?);
        }
        Ok(objects)
    }

    /// What the service gets to see of an object.
    fn shown(&self, object: Object) -> Object {
        match (self.flaw, object.kind()) {
            (Flaw::YoungestFirst, Kind::Lease) => self.mirrored(object),
            (Flaw::SpotForAll, Kind::Lease) => as_spot(object),
            (Flaw::LooseGroups, Kind::Lease) => seen_as(object, |value| {
                if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
                    labels.remove(GROUP_LABEL);
                }
            }),
            (Flaw::LooseCaps, Kind::LeaseQuota) => seen_as(object, |value| {
                if let Some(most) = value.pointer("/spec/maxDevices").and_then(Value::as_u64) {
                    value["spec"]["maxDevices"] = (2 * most).into();
                }
            }),
            (Flaw::ShortWindows, Kind::MaintenanceWindow) => seen_as(object, |value| {
                let length = value.pointer("/spec/duration").and_then(|text| text.as_str()?.parse::<GoDuration>().ok());
                if let Some(length) = length {
                    value["spec"]["duration"] = GoDuration::from_nanos(length.as_nanos() / 2).to_string().into();
                }
            }),
            _ => object,
        }
    }

    fn mirrored(&self, object: Object) -> Object {
        let mut value = object.value().clone();
        let time = value.pointer("/metadata/creationTimestamp").and_then(|time| time.as_str()?.parse().ok());
        if let Some(created) = time {
            let created: jiff::Timestamp = created;
            let mirror = 2 * (self.clock.now().as_second() / 100_000_000 * 100_000_000);
            let mirrored = jiff::Timestamp::from_second(mirror - created.as_second()).unwrap_or(created);
            value["metadata"]["creationTimestamp"] = mirrored.to_string().into();
        }
        Object::from_value(value).unwrap_or(object)
    }
}

/// An object that is written only if it is what it was.
fn conditional(writes: &[Write]) -> Option<Key> {
    writes.iter().find_map(|write| match write {
        Write::Update(object) | Write::UpdateStatus(object) | Write::Replace(object) => {
            (object.resource_version().0 > 0).then(|| object.key().clone())
        }
        Write::Create(_) | Write::Delete(..) => None,
    })
}

/// An answer to a write that was not made.
fn forgotten(write: &Write) -> Object {
    let (Write::Create(object) | Write::Update(object) | Write::UpdateStatus(object) | Write::Replace(object)) = write
    else {
        unreachable!("only these are forgotten")
    };
    let mut value = object.value().clone();
    let version = object.resource_version().0 + 1;
    value["metadata"]["resourceVersion"] = version.to_string().into();
    Object::from_value(value).unwrap_or_else(|_| object.clone())
}

/// Creates a lease in the stead of another.
fn stands_in(write: &Write) -> bool {
    matches!(write, Write::Create(object) if object.annotations().contains_key(REQUEUED_FROM))
}

/// An object with something changed about it.
fn seen_as(object: Object, change: impl FnOnce(&mut Value)) -> Object {
    let mut value = object.value().clone();
    change(&mut value);
    Object::from_value(value).unwrap_or(object)
}

/// A lease that holds a device, as if it held it as spot.
fn as_spot(object: Object) -> Object {
    let mut value = object.value().clone();
    if value.pointer("/status/exporterRef").is_none() {
        return object;
    }
    value["status"]["spotAccess"] = true.into();
    Object::from_value(value).unwrap_or(object)
}

/// The claim as one makes it who reads, decides, and writes without asking whether anything has changed.
fn whatever_was_read(write: &Write) -> Write {
    let claims = |object: &Object| {
        object.kind() == Kind::Exporter
            && object.value().pointer("/status/leaseRef/name").is_some_and(|name| name != "")
    };
    match write {
        Write::UpdateStatus(object) if claims(object) => Write::UpdateStatus(object.clone().unconditional()),
        Write::Replace(object) if claims(object) => Write::Replace(object.clone().unconditional()),
        other => other.clone(),
    }
}

impl Store for SimStore {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        Box::pin(async move {
            self.0.arrive().await;
            if self.0.trouble().fate(1) == Fate::Refused {
                return Err(StoreError::Unavailable("the store is overloaded".to_owned()));
            }
            let found = self.0.core().get(key).cloned();
            self.0.depart().await;
            Ok(found.map(|object| self.0.shown(object)))
        })
    }

    fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            self.0.arrive().await;
            if self.0.trouble().fate(1) == Fate::Refused {
                return Err(StoreError::Unavailable("the store is overloaded".to_owned()));
            }
            let list = self.0.core().list(kind, namespace, &options);
            self.0.depart().await;
            list.map(|mut list| {
                list.items = list.items.into_iter().map(|object| self.0.shown(object)).collect();
                list
            })
        })
    }

    fn transact(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Vec<Object>, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            // A task of its own: what was sent is not called back by giving up.
            let tasks = inner.tasks.clone();
            tasks.spawn(async move {
                match inner.serve(writes).await {
                    Some(done) => _ = reply.send(done),
                    None => sleep(NEVER).await,
                }
            });
            let closed = |_| StoreError::Unavailable("the connection to the store was lost".to_owned());
            let objects = answer.await.map_err(closed)??;
            Ok(objects.into_iter().map(|object| self.0.shown(object)).collect())
        })
    }

    fn watch<'a>(&'a self, kinds: &'a [Kind], from: ResourceVersion) -> BoxFuture<'a, Result<EventStream, StoreError>> {
        Box::pin(async move {
            self.0.arrive().await;
            watch::start(&self.0, kinds, from)
        })
    }
}
