//! Carries out one transaction's writes inside an open `SQLite` transaction.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};
use uuid::{ContextV7, Uuid};

use crate::{
    Clock, Event, Key, Kind, Object, Precondition, ResourceVersion, StoreError, Write,
    semantics::{self, Part},
};

/// Tries to find a free name for `generateName`.
const NAME_TRIES: usize = 8;
/// Characters of generated names, as Kubernetes picks them: no vowels, no look-alikes.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const NAME_SUFFIX: usize = 5;
/// Longest prefix that leaves room for the suffix in 63 characters.
const NAME_PREFIX: usize = 63 - NAME_SUFFIX;

/// Why a write was not carried out: the database failed, or the store's rules say no.
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An event with the size of its JSON.
pub(super) struct Record {
    pub(super) event: Event,
    pub(super) bytes: usize,
}

/// Makes identities. Those of one store sort by creation.
pub(super) struct Identities {
    clock: Clock,
    context: ContextV7,
}

impl Identities {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, context: ContextV7::new() }
    }

    fn next(&self) -> String {
        let now = self.clock.now();
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(&self.context, seconds, nanos)).to_string()
    }
}

/// The state of one transaction in the making.
pub(super) struct Apply<'a> {
    pub(super) connection: &'a Connection,
    pub(super) identities: &'a Identities,
    /// The last version given out.
    pub(super) version: u64,
    pub(super) records: Vec<Record>,
}

impl Apply<'_> {
    pub(super) fn run(&mut self, writes: &[Write], keep_uids: bool) -> Result<Vec<Object>, Failure> {
        writes.iter().map(|write| self.write(write, keep_uids)).collect()
    }

    fn write(&mut self, write: &Write, keep_uids: bool) -> Result<Object, Failure> {
        match write {
            Write::Create(object) if keep_uids && !object.uid().is_empty() => self.create(object, object.uid()),
            Write::Create(object) => self.create(object, &self.identities.next()),
            Write::Update(object) => self.change(object, Part::Desired),
            Write::UpdateStatus(object) => self.change(object, Part::Status),
            Write::Replace(object) => self.change(object, Part::Both),
            Write::Delete(key, expected) => self.delete(key, expected.as_ref()),
        }
    }

    fn create(&mut self, incoming: &Object, uid: &str) -> Result<Object, Failure> {
        let key = self.free_key(incoming)?;
        let body = semantics::created(incoming, &key, uid, self.identities.clock.now())?;
        self.put(body, None)
    }

    fn change(&mut self, incoming: &Object, part: Part) -> Result<Object, Failure> {
        let current = self.existing(incoming.key())?;
        match semantics::changed(&current, incoming, part)? {
            Some(body) => self.put(body, Some(&current)),
            None => Ok(current),
        }
    }

    fn delete(&mut self, key: &Key, expected: Option<&Precondition>) -> Result<Object, Failure> {
        let current = self.existing(key)?;
        if let Some(expected) = expected {
            semantics::check_precondition(&current, expected)?;
        }
        let mut gone = vec![current.clone()];
        while let Some(object) = gone.pop() {
            self.remove(&object)?;
            for dependent in self.dependents(object.uid())? {
                if self.has_owner(&dependent)? {
                    self.put(semantics::without_owner(&dependent, object.uid()), Some(&dependent))?;
                } else {
                    gone.push(dependent);
                }
            }
        }
        Ok(current)
    }

    fn free_key(&self, incoming: &Object) -> Result<Key, Failure> {
        let mut key = incoming.key().clone();
        if !key.name.is_empty() {
            return if self.load(&key)?.is_some() { Err(StoreError::AlreadyExists(key).into()) } else { Ok(key) };
        }
        let prefix = incoming.metadata().get("generateName").and_then(Value::as_str).unwrap_or_default();
        if prefix.is_empty() {
            return Err(
                StoreError::Invalid(format!("{key}: metadata.name or metadata.generateName is required")).into()
            );
        }
        let prefix: String = prefix.chars().take(NAME_PREFIX).collect();
        for _ in 0..NAME_TRIES {
            key.name = format!("{prefix}{}", random_suffix());
            if self.load(&key)?.is_none() {
                return Ok(key);
            }
        }
        Err(StoreError::AlreadyExists(key).into())
    }

    fn existing(&self, key: &Key) -> Result<Object, Failure> {
        self.load(key)?.ok_or_else(|| StoreError::NotFound(key.clone()).into())
    }

    fn load(&self, key: &Key) -> Result<Option<Object>, Failure> {
        Ok(load(self.connection, key)??)
    }

    fn put(&mut self, body: Map<String, Value>, before: Option<&Object>) -> Result<Object, Failure> {
        let version = self.version + 1;
        let object = semantics::stamped(body, ResourceVersion(version))?;
        let key = object.key();
        let text = object.value().to_string();
        if text.len() > semantics::MAX_OBJECT {
            let detail = format!("{key} has {} bytes, {} are allowed", text.len(), semantics::MAX_OBJECT);
            return Err(StoreError::Invalid(detail).into());
        }
        let labels = object.metadata().get("labels").map_or_else(|| "{}".to_owned(), Value::to_string);
        self.connection
            .prepare_cached(
                "INSERT INTO obj (kind, namespace, name, uid, rv, labels, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (kind, namespace, name) DO UPDATE SET rv = ?5, labels = ?6, body = ?7",
            )?
            .execute(params![
                key.kind.name(),
                key.namespace,
                key.name,
                object.uid(),
                sql_version(version),
                labels,
                text
            ])?;
        if before.map_or_else(Vec::new, semantics::owners) != semantics::owners(&object) {
            self.disown(object.uid())?;
            for owner in semantics::owners(&object) {
                self.connection
                    .prepare_cached("INSERT INTO owner (owner_uid, uid) VALUES (?1, ?2)")?
                    .execute(params![owner, object.uid()])?;
            }
        }
        let event = if before.is_some() { Event::Modified(object.clone()) } else { Event::Added(object.clone()) };
        self.record(event, &text)?;
        Ok(object)
    }

    fn remove(&mut self, object: &Object) -> Result<(), Failure> {
        let key = object.key();
        self.connection
            .prepare_cached("DELETE FROM obj WHERE kind = ?1 AND namespace = ?2 AND name = ?3")?
            .execute(params![key.kind.name(), key.namespace, key.name])?;
        if !semantics::owners(object).is_empty() {
            self.disown(object.uid())?;
        }
        let body = object.value().as_object().cloned().unwrap_or_default();
        let last = semantics::stamped(body, ResourceVersion(self.version + 1))?;
        let text = last.value().to_string();
        self.record(Event::Deleted(last), &text)
    }

    fn disown(&self, uid: &str) -> Result<(), Failure> {
        self.connection.prepare_cached("DELETE FROM owner WHERE uid = ?1")?.execute([uid])?;
        Ok(())
    }

    /// Objects that name this owner. Their rows keep the reference, so ask after the owner itself is removed.
    fn dependents(&self, owner: &str) -> Result<Vec<Object>, Failure> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT body FROM owner JOIN obj USING (uid) WHERE owner.owner_uid = ?1 ORDER BY uid")?;
        let bodies = statement.query_map([owner], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(bodies.iter().map(|body| parse(body)).collect::<Result<_, _>>()?)
    }

    fn has_owner(&self, object: &Object) -> Result<bool, Failure> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM obj WHERE uid = ?1")?;
        for owner in semantics::owners(object) {
            if statement.exists([owner])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn record(&mut self, event: Event, text: &str) -> Result<(), Failure> {
        self.version += 1;
        self.connection
            .prepare_cached("INSERT INTO ev (rv, type, kind, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![sql_version(self.version), type_name(&event), event.object().kind().name(), text])?;
        self.records.push(Record { event, bytes: text.len() });
        Ok(())
    }
}

/// Reads one object.
pub(super) fn load(connection: &Connection, key: &Key) -> rusqlite::Result<Result<Option<Object>, StoreError>> {
    let body: Option<String> = connection
        .prepare_cached("SELECT body FROM obj WHERE kind = ?1 AND namespace = ?2 AND name = ?3")?
        .query_row(params![key.kind.name(), key.namespace, key.name], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| parse(&body)).transpose())
}

/// The object in a row.
pub(super) fn parse(body: &str) -> Result<Object, StoreError> {
    serde_json::from_str(body)
        .map_err(|error| error.to_string())
        .and_then(|value| Object::from_value(value).map_err(|error| error.to_string()))
        .map_err(|detail| {
            let start: String = body.chars().take(80).collect();
            StoreError::Corrupt(format!("a row is no object ({detail}): {start}…"))
        })
}

/// The event in a row.
pub(super) fn parse_event(type_: &str, body: &str) -> Result<Event, StoreError> {
    let object = parse(body)?;
    match type_ {
        "ADDED" => Ok(Event::Added(object)),
        "MODIFIED" => Ok(Event::Modified(object)),
        "DELETED" => Ok(Event::Deleted(object)),
        other => Err(StoreError::Corrupt(format!("an event has the unknown type {other}"))),
    }
}

/// The last version given out.
pub(super) fn last_version(connection: &Connection) -> rusqlite::Result<u64> {
    let version: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'ev'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(version.map_or(0, |version| u64::try_from(version).unwrap_or_default()))
}

/// The oldest version that a watch can start at.
pub(super) fn floor(connection: &Connection) -> rusqlite::Result<u64> {
    let floor: i64 =
        connection.prepare_cached("SELECT value FROM meta WHERE key = 'floor'")?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(floor).unwrap_or_default())
}

/// Versions as `SQLite` counts; it ends at 2⁶³, which no store will see.
pub(super) fn sql_version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// A count as `SQLite` counts.
pub(super) fn sql_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A kind from its column.
pub(super) fn kind(name: &str) -> Option<Kind> {
    Kind::from_name(name)
}

fn type_name(event: &Event) -> &'static str {
    match event {
        Event::Added(_) => "ADDED",
        Event::Modified(_) => "MODIFIED",
        Event::Deleted(_) => "DELETED",
    }
}

fn random_suffix() -> String {
    let random = Uuid::new_v4();
    random.as_bytes()[..NAME_SUFFIX]
        .iter()
        .map(|byte| char::from(NAME_ALPHABET[usize::from(*byte) % NAME_ALPHABET.len()]))
        .collect()
}
