//! The embedded store with the manners of a distant one: slow, one write after the other, sometimes failing in the
//! middle, and a watch that is late and repeats itself.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream};
use jumpstarter_store::{
    EmbeddedStore, Event, EventStream, Key, Kind, List, ListOptions, Object, ResourceVersion, Store, StoreError, Write,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio::time::sleep;

/// How bad it is. Chances are in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// Longest time of one call, in milliseconds.
    pub(crate) latency: u64,
    /// A write is refused as if the object had changed.
    pub(crate) conflict: u32,
    /// A write is not made, and says that it is not known whether it was.
    pub(crate) lost: u32,
    /// A write is made, and says that it is not known whether it was.
    pub(crate) unknown: u32,
    /// A read fails.
    pub(crate) unread: u32,
    /// An event is followed by an older one.
    pub(crate) repeat: u32,
    /// A watch breaks off.
    pub(crate) cut: u32,
}

impl Faults {
    /// Slow, and nothing else.
    pub(crate) const SLOW: Self = Self { latency: 20, conflict: 0, lost: 0, unknown: 0, unread: 0, repeat: 0, cut: 0 };
    /// Everything at once.
    pub(crate) const MANY: Self = Self { latency: 10, conflict: 4, lost: 3, unknown: 3, unread: 3, repeat: 10, cut: 1 };
}

/// See the module.
pub(crate) struct SlowStore {
    inner: EmbeddedStore,
    faults: Faults,
    dice: Arc<Mutex<StdRng>>,
    /// Transactions asked for so far.
    pub(crate) transactions: AtomicUsize,
    /// When set, the next transactions that begin with a write of this kind stop after so many single writes.
    pub(crate) cut: Mutex<Option<(Kind, usize)>>,
    /// When set, so many more requests are made whose object names this, and then none.
    pub(crate) cut_naming: Mutex<Option<(&'static str, usize)>>,
    /// Requests that were not made for that.
    pub(crate) cut_off: AtomicUsize,
    /// What is read of this object is answered only when this is taken away; and how often that was asked for.
    pub(crate) held: Mutex<Option<Key>>,
    pub(crate) held_reads: AtomicUsize,
    /// Transactions that begin with this object are made only when this is taken away.
    pub(crate) held_write: Mutex<Option<Key>>,
    /// When set, no call is ever answered.
    pub(crate) hangs: Arc<std::sync::atomic::AtomicBool>,
}

impl SlowStore {
    pub(crate) fn new(inner: EmbeddedStore, faults: Faults, seed: u64) -> Self {
        Self {
            inner,
            faults,
            dice: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            transactions: AtomicUsize::new(0),
            cut: Mutex::new(None),
            cut_naming: Mutex::new(None),
            cut_off: AtomicUsize::new(0),
            held: Mutex::new(None),
            held_reads: AtomicUsize::new(0),
            held_write: Mutex::new(None),
            hangs: Arc::default(),
        }
    }

    fn chance(&self, percent: u32) -> bool {
        percent > 0 && self.dice.lock().unwrap().random_range(0..100) < percent
    }

    async fn dawdle(&self) {
        while self.hangs.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5)).await;
        }
        let longest = self.faults.latency * 1000;
        let micros = self.dice.lock().unwrap().random_range(0..=longest);
        sleep(Duration::from_micros(micros)).await;
    }

    /// One request of its own.
    async fn request(&self, write: Write) -> Result<Object, StoreError> {
        self.dawdle().await;
        if self.chance(self.faults.conflict) {
            return Err(StoreError::Conflict { key: write.key().clone(), detail: "so the dice say".to_owned() });
        }
        if self.chance(self.faults.lost) {
            return Err(StoreError::Unavailable("the request was lost".to_owned()));
        }
        let unknown = self.chance(self.faults.unknown);
        let written = self.inner.transact(vec![write]).await?.remove(0);
        if unknown {
            return Err(StoreError::Unavailable("the answer was lost".to_owned()));
        }
        self.dawdle().await;
        Ok(written)
    }

    /// The requests of one write: status and the rest apart.
    async fn write(&self, write: Write, budget: &mut usize) -> Result<Object, StoreError> {
        match write {
            Write::Create(object) if object.value().get("status").is_some_and(|status| !status.is_null()) => {
                let mut bare = object.clone().into_value();
                bare.as_object_mut().unwrap().shift_remove("status");
                let created = self.spend(budget, Write::Create(Object::from_value(bare).unwrap())).await?;
                self.spend(budget, Write::UpdateStatus(at_version_of(&object, &created))).await
            }
            Write::Replace(object) => {
                let observed = self.spend(budget, Write::UpdateStatus(object.clone())).await?;
                self.spend(budget, Write::Update(at_version_of(&object, &observed))).await
            }
            other => self.spend(budget, other).await,
        }
    }

    /// Whether a request is one too many of those that name something.
    fn is_one_too_many(&self, write: &Write) -> bool {
        let mut cut = self.cut_naming.lock().unwrap();
        let (Some((name, left)), Write::Create(object) | Write::UpdateStatus(object)) = (cut.as_mut(), write) else {
            return false;
        };
        let names = object.value().to_string().contains(*name);
        let spent = names && *left == 0;
        *left -= usize::from(names && !spent);
        spent
    }

    async fn spend(&self, budget: &mut usize, write: Write) -> Result<Object, StoreError> {
        if *budget == 0 || self.is_one_too_many(&write) {
            self.cut_off.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Unavailable("cut off here".to_owned()));
        }
        *budget -= 1;
        self.request(write).await
    }
}

/// The object, for a write that follows another one of the same object.
fn at_version_of(object: &Object, written: &Object) -> Object {
    let mut value = object.clone().into_value();
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut).unwrap();
    metadata.insert("resourceVersion".into(), written.resource_version().to_string().into());
    metadata.insert("uid".into(), written.uid().into());
    Object::from_value(value).unwrap()
}

impl Store for SlowStore {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Object>, StoreError>> {
        Box::pin(async move {
            self.dawdle().await;
            if self.chance(self.faults.unread) {
                return Err(StoreError::Unavailable("the request was lost".to_owned()));
            }
            let found = self.inner.get(key).await;
            let is_held = || self.held.lock().unwrap().as_ref() == Some(key);
            if is_held() {
                self.held_reads.fetch_add(1, Ordering::Relaxed);
                while is_held() {
                    sleep(Duration::from_millis(5)).await;
                }
            }
            found
        })
    }

    fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            self.dawdle().await;
            let list = self.inner.list(kind, namespace, options).await;
            // What is listed is old by the time that it arrives.
            self.dawdle().await;
            list
        })
    }

    fn transact(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Vec<Object>, StoreError>> {
        Box::pin(async move {
            self.transactions.fetch_add(1, Ordering::Relaxed);
            let held = writes.first().map(|write| write.key().clone());
            while held.is_some() && *self.held_write.lock().unwrap() == held {
                sleep(Duration::from_millis(5)).await;
            }
            let first = writes.first().map(|write| write.key().kind);
            let mut budget = match *self.cut.lock().unwrap() {
                Some((kind, budget)) if first == Some(kind) => budget,
                _ => usize::MAX,
            };
            let mut written = Vec::new();
            for write in writes {
                written.push(self.write(write, &mut budget).await?);
            }
            Ok(written)
        })
    }

    fn watch<'a>(&'a self, kinds: &'a [Kind], from: ResourceVersion) -> BoxFuture<'a, Result<EventStream, StoreError>> {
        Box::pin(async move {
            self.dawdle().await;
            let events = self.inner.watch(kinds, from).await?;
            let late =
                Late { events, faults: self.faults, dice: Arc::clone(&self.dice), past: VecDeque::new(), again: None };
            Ok(stream::unfold(Some(late), |late| async move {
                let mut late = late?;
                let event = late.next().await?;
                let open = event.is_ok();
                Some((event, open.then_some(late)))
            })
            .boxed())
        })
    }
}

/// A watch that is late and repeats itself.
struct Late {
    events: EventStream,
    faults: Faults,
    dice: Arc<Mutex<StdRng>>,
    past: VecDeque<Event>,
    again: Option<Event>,
}

impl Late {
    async fn next(&mut self) -> Option<Result<Event, StoreError>> {
        if let Some(event) = self.again.take() {
            return Some(Ok(event));
        }
        let event = match self.events.next().await? {
            Ok(event) => event,
            Err(error) => return Some(Err(error)),
        };
        let (micros, cut, repeat, index) = {
            let mut dice = self.dice.lock().unwrap();
            let micros = dice.random_range(0..=self.faults.latency * 1000);
            let cut = dice.random_range(0..100) < self.faults.cut;
            let repeat = dice.random_range(0..100) < self.faults.repeat;
            (micros, cut, repeat, dice.random_range(0..64))
        };
        sleep(Duration::from_micros(micros)).await;
        if cut {
            return Some(Err(StoreError::Unavailable("the watch broke off".to_owned())));
        }
        if repeat && !self.past.is_empty() {
            self.again = Some(self.past[index % self.past.len()].clone());
        }
        self.past.push_back(event.clone());
        if self.past.len() > 64 {
            self.past.pop_front();
        }
        Some(Ok(event))
    }
}
