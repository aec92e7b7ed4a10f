//! Looking after the store: is it sound, and what may go.

use jumpstarter_model::Timestamp;
use rusqlite::{Connection, params};

use super::{EmbeddedStore, apply, apply::sql_count, error};
use crate::{Key, Kind, Object, Precondition, Store, StoreError, Write, semantics};

/// Leases removed in one transaction, so that others are not kept waiting.
const PRUNE: usize = 200;

impl EmbeddedStore {
    /// Every fault of the file and of what is in it; none is an empty list. Reads the whole file.
    pub async fn integrity_check(&self) -> Result<Vec<String>, StoreError> {
        self.0.readers.run(|connection| check(connection).map_err(|error| error::from_sqlite(&error))).await
    }

    /// Removes the leases that ended before `older_than`, and answers how many those were.
    pub async fn prune_ended(&self, older_than: Timestamp) -> Result<usize, StoreError> {
        let mut pruned = 0;
        loop {
            let ended = self
                .0
                .readers
                .run(move |connection| ended(connection, older_than).map_err(|error| error::from_sqlite(&error)))
                .await?;
            let writes: Vec<Write> = ended.into_iter().map(|(key, uid)| delete(key, uid)).collect();
            let count = writes.len();
            match self.transact(writes).await {
                Ok(_) => pruned += count,
                // Somebody else removed one; look again.
                Err(StoreError::NotFound(_) | StoreError::Conflict { .. }) => continue,
                Err(error) => return Err(error),
            }
            if count < PRUNE {
                return Ok(pruned);
            }
        }
    }
}

fn delete(key: Key, uid: String) -> Write {
    Write::Delete(key, Some(Precondition { uid: Some(uid), resource_version: None }))
}

/// Times in whole seconds UTC sort as text.
fn ended(connection: &Connection, older_than: Timestamp) -> rusqlite::Result<Vec<(Key, String)>> {
    let mut statement = connection.prepare_cached(
        "SELECT namespace, name, uid FROM obj
         WHERE kind = ?1 AND json_extract(body, '$.status.ended') = 1
           AND coalesce(json_extract(body, '$.status.endTime'), json_extract(body, '$.metadata.creationTimestamp')) < ?2
         LIMIT ?3",
    )?;
    let rows = statement
        .query_map(params![Kind::Lease.name(), semantics::seconds(older_than), sql_count(PRUNE)], |row| {
            Ok((Key::new(Kind::Lease, row.get::<_, String>(0)?, row.get::<_, String>(1)?), row.get(2)?))
        })?;
    rows.collect()
}

fn check(connection: &mut Connection) -> rusqlite::Result<Vec<String>> {
    let transaction = connection.transaction()?;
    let verdicts: Vec<String> = transaction
        .prepare("PRAGMA integrity_check(100)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut faults: Vec<String> = verdicts.into_iter().filter(|verdict| verdict != "ok").collect();
    let latest = apply::last_version(&transaction)?;
    let mut statement = transaction.prepare("SELECT kind, namespace, name, uid, rv, body FROM obj")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, namespace, name): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (uid, version, body): (String, i64, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let fault = match apply::parse(&body) {
            Err(error) => Some(error.to_string()),
            Ok(object) => {
                mismatch(&object, &kind, &namespace, &name, &uid, version.unsigned_abs(), latest).map(str::to_owned)
            }
        };
        faults.extend(fault.map(|fault| format!("{kind} {namespace}/{name}: {fault}")));
    }
    Ok(faults)
}

fn mismatch(
    object: &Object,
    kind: &str,
    namespace: &str,
    name: &str,
    uid: &str,
    version: u64,
    latest: u64,
) -> Option<&'static str> {
    if apply::kind(kind) != Some(object.kind()) || object.namespace() != namespace || object.name() != name {
        return Some("the row names another object than its content");
    }
    if object.uid() != uid {
        return Some("the row has another uid than its content");
    }
    if object.resource_version().0 != version || version > latest {
        return Some("the version does not fit");
    }
    None
}
