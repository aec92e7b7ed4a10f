//! The objects and their history, without time or faults: one write at a time, with the rules of every other store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jumpstarter_model::Timestamp;
use jumpstarter_store::{
    Event, Key, Kind, List, ListOptions, Object, Precondition, ResourceVersion, StoreError, Write,
    semantics::{self, Part},
};
use serde_json::Value;
use tokio::time::Instant;

/// One change with what was there before.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// The change.
    pub(crate) event: Event,
    /// The object before it.
    pub(crate) before: Option<Object>,
}

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Core {
    objects: BTreeMap<Key, Object>,
    by_uid: BTreeMap<String, Key>,
    /// Objects by the `uid` of each of their owners.
    dependents: BTreeMap<String, BTreeSet<Key>>,
    version: u64,
    /// Events and when they were made.
    history: VecDeque<(Instant, Event)>,
    kept: usize,
    floor: u64,
    named: u64,
}

impl Core {
    /// An empty store that remembers this many events.
    pub(crate) fn new(kept: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            dependents: BTreeMap::new(),
            version: 0,
            history: VecDeque::new(),
            kept,
            floor: 0,
            named: 0,
        }
    }

    /// The last version given out.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version that a watch can start at.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// The object of this name.
    pub(crate) fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// How many objects there are of a kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.objects.range(Key::new(kind, "", "")..).take_while(|(key, _)| key.kind == kind).count()
    }

    /// The first event after this version, if history still has it.
    pub(crate) fn after(&self, version: u64) -> Option<&(Instant, Event)> {
        let start = self.history.partition_point(|(_, event)| event.resource_version().0 <= version);
        self.history.get(start)
    }

    /// Carries out one write, completely or not at all.
    pub(crate) fn write(&mut self, write: &Write, now: Timestamp) -> Result<(Object, Vec<Commit>), StoreError> {
        match write {
            Write::Create(object) => self.create(object, now),
            Write::Update(object) => self.change(object, Part::Desired),
            Write::UpdateStatus(object) => self.change(object, Part::Status),
            Write::Replace(object) => self.change(object, Part::Both),
            Write::Delete(key, expected) => self.delete(key, expected.as_ref()),
        }
    }

    /// Carries out all writes or none.
    pub(crate) fn write_all(
        &mut self,
        writes: &[Write],
        now: Timestamp,
    ) -> Result<(Vec<Object>, Vec<Commit>), StoreError> {
        let version = self.version;
        let (mut objects, mut commits) = (Vec::new(), Vec::new());
        for write in writes {
            match self.write(write, now) {
                Ok((object, more)) => {
                    objects.push(object);
                    commits.extend(more);
                }
                Err(error) => {
                    self.undo(commits);
                    self.version = version;
                    return Err(error);
                }
            }
        }
        Ok((objects, commits))
    }

    /// Makes commits visible to watches.
    pub(crate) fn publish(&mut self, commits: &[Commit]) {
        let now = Instant::now();
        for commit in commits {
            self.history.push_back((now, commit.event.clone()));
        }
        while self.history.len() > self.kept
            && let Some((_, event)) = self.history.pop_front()
        {
            self.floor = event.resource_version().0;
        }
    }

    /// One page of the objects of a kind.
    pub(crate) fn list(&self, kind: Kind, namespace: &str, options: &ListOptions) -> Result<List, StoreError> {
        let bad = || StoreError::Invalid("the continue token is not one that this store gave out".to_owned());
        let (version, after) = match &options.continue_token {
            None => (self.version, None),
            Some(token) => {
                let mut parts = token.splitn(3, '/');
                let version = parts.next().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
                let (namespace, name) = (parts.next().ok_or_else(bad)?, parts.next().ok_or_else(bad)?);
                if version < self.floor {
                    return Err(StoreError::Gone { requested: version, oldest: self.floor });
                }
                (version, Some(Key::new(kind, namespace, name)))
            }
        };
        let selector = options.label_selector.as_ref().filter(|selector| !selector.is_empty());
        let limit = options.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let of_kind = self.objects.range(Key::new(kind, "", "")..).take_while(|(key, _)| key.kind == kind);
        let mut matching = of_kind
            .filter(|(key, _)| namespace.is_empty() || key.namespace == namespace)
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .filter(|(_, object)| selector.is_none_or(|selector| selector.matches(&object.labels())))
            .map(|(_, object)| object.clone());
        let items: Vec<Object> = matching.by_ref().take(limit).collect();
        let more = matching.next().is_some();
        let token = |last: &Object| format!("{version}/{}/{}", last.namespace(), last.name());
        let continue_token = items.last().filter(|_| more).map(token);
        Ok(List { items, resource_version: ResourceVersion(version), continue_token })
    }

    fn create(&mut self, incoming: &Object, now: Timestamp) -> Result<(Object, Vec<Commit>), StoreError> {
        let mut key = incoming.key().clone();
        self.named += 1;
        if key.name.is_empty() {
            let prefix = incoming.value().pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
            if prefix.is_empty() {
                let text = format!("{key}: metadata.name or metadata.generateName is required");
                return Err(StoreError::Invalid(text));
            }
            key.name = format!("{prefix}{:05}", self.named);
        }
        if self.objects.contains_key(&key) {
            return Err(StoreError::AlreadyExists(key));
        }
        let uid = format!("00000000-0000-7000-8000-{:012x}", self.named);
        let body = semantics::created(incoming, &key, &uid, now)?;
        let object = self.stamp(body)?;
        let commit = self.put(object.clone());
        Ok((object, vec![commit]))
    }

    fn change(&mut self, incoming: &Object, part: Part) -> Result<(Object, Vec<Commit>), StoreError> {
        let key = incoming.key();
        let current = self.objects.get(key).ok_or_else(|| StoreError::NotFound(key.clone()))?.clone();
        let Some(body) = semantics::changed(&current, incoming, part)? else { return Ok((current, Vec::new())) };
        let object = self.stamp(body)?;
        let commit = self.put(object.clone());
        Ok((object, vec![commit]))
    }

    fn delete(&mut self, key: &Key, expected: Option<&Precondition>) -> Result<(Object, Vec<Commit>), StoreError> {
        let current = self.objects.get(key).ok_or_else(|| StoreError::NotFound(key.clone()))?.clone();
        if let Some(expected) = expected {
            semantics::check_precondition(&current, expected)?;
        }
        let mut commits = Vec::new();
        let mut gone = vec![current.clone()];
        while let Some(object) = gone.pop() {
            let dependents = self.dependents.get(object.uid()).cloned().unwrap_or_default();
            commits.push(self.remove(&object)?);
            for dependent in dependents.iter().filter_map(|key| self.objects.get(key)).cloned().collect::<Vec<_>>() {
                if semantics::owners(&dependent).iter().any(|uid| self.by_uid.contains_key(*uid)) {
                    let object = self.stamp(semantics::without_owner(&dependent, object.uid()))?;
                    commits.push(self.put(object));
                } else {
                    gone.push(dependent);
                }
            }
        }
        Ok((current, commits))
    }

    fn stamp(&mut self, body: serde_json::Map<String, Value>) -> Result<Object, StoreError> {
        let object = semantics::stamped(body, ResourceVersion(self.version + 1))?;
        self.version += 1;
        Ok(object)
    }

    fn put(&mut self, object: Object) -> Commit {
        let before = self.set(object.key(), Some(object.clone()));
        let event = if before.is_some() { Event::Modified(object) } else { Event::Added(object) };
        Commit { event, before }
    }

    fn remove(&mut self, object: &Object) -> Result<Commit, StoreError> {
        let body = object.value().as_object().cloned().unwrap_or_default();
        let last = self.stamp(body)?;
        let before = self.set(object.key(), None);
        Ok(Commit { event: Event::Deleted(last), before })
    }

    /// Puts a state in place of another, and keeps the indices true.
    fn set(&mut self, key: &Key, object: Option<Object>) -> Option<Object> {
        let before = self.objects.remove(key);
        if let Some(before) = &before {
            self.by_uid.remove(before.uid());
            for owner in semantics::owners(before) {
                if let Some(keys) = self.dependents.get_mut(owner) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.dependents.remove(owner);
                    }
                }
            }
        }
        if let Some(object) = object {
            self.by_uid.insert(object.uid().to_owned(), key.clone());
            for owner in semantics::owners(&object) {
                self.dependents.entry(owner.to_owned()).or_default().insert(key.clone());
            }
            self.objects.insert(key.clone(), object);
        }
        before
    }

    fn undo(&mut self, commits: Vec<Commit>) {
        for Commit { event, before } in commits.into_iter().rev() {
            self.set(event.object().key(), before);
        }
    }
}
