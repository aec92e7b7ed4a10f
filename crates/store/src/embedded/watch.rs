//! Watches: a cursor over what happened.

use std::sync::{Arc, Weak};

use futures::stream;
use rusqlite::{Connection, params};
use tokio::sync::watch;

use super::{
    apply, error,
    hub::{Found, Hub},
    reader::Readers,
};
use crate::{Event, EventStream, Kind, ResourceVersion, StoreError};

/// Events taken at a time.
const CHUNK: usize = 256;

struct Cursor {
    hub: Weak<Hub>,
    readers: Readers,
    bell: watch::Receiver<u64>,
    kinds: Vec<Kind>,
    at: u64,
    ready: std::vec::IntoIter<Event>,
}

/// Opens a watch after `from`.
pub(super) async fn start(
    hub: &Arc<Hub>,
    readers: &Readers,
    kinds: &[Kind],
    from: ResourceVersion,
) -> Result<EventStream, StoreError> {
    let bell = hub.bell();
    let latest = hub.latest();
    if from.0 > latest {
        // A version from before a restore: what it stood for never happened here.
        return Err(StoreError::Gone { requested: from.0, oldest: latest });
    }
    let oldest = readers.run(|connection| apply::floor(connection).map_err(|error| error::from_sqlite(&error))).await?;
    if from.0 < oldest {
        return Err(StoreError::Gone { requested: from.0, oldest });
    }
    let cursor = Cursor {
        hub: Arc::downgrade(hub),
        readers: readers.clone(),
        bell,
        kinds: kinds.to_vec(),
        at: from.0,
        ready: Vec::new().into_iter(),
    };
    Ok(Box::pin(stream::unfold(Some(cursor), |cursor| async move {
        let mut cursor = cursor?;
        match cursor.next().await {
            Ok(event) => Some((Ok(event), Some(cursor))),
            Err(error) => Some((Err(error), None)),
        }
    })))
}

impl Cursor {
    async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            for event in self.ready.by_ref() {
                if self.kinds.contains(&event.object().kind()) {
                    return Ok(event);
                }
            }
            // Before the look, so that a publication between the look and the wait still rings.
            self.bell.borrow_and_update();
            let found = self.hub.upgrade().ok_or_else(error::closed)?.after(self.at, CHUNK);
            match found {
                Found::Events(events, last) => {
                    self.ready = events.into_iter();
                    self.at = last;
                }
                Found::Nothing => self.bell.changed().await.map_err(|_| error::closed())?,
                Found::Older => {
                    let at = self.at;
                    let events = self.readers.run(move |connection| history(connection, at)).await?;
                    if let Some(last) = events.last() {
                        self.at = last.resource_version().0;
                    }
                    self.ready = events.into_iter();
                }
            }
        }
    }
}

/// Events after `cursor`, from the file.
fn history(connection: &mut Connection, cursor: u64) -> Result<Vec<Event>, StoreError> {
    let sqlite = |error: rusqlite::Error| error::from_sqlite(&error);
    let transaction = connection.transaction().map_err(sqlite)?;
    let oldest = apply::floor(&transaction).map_err(sqlite)?;
    if cursor < oldest {
        return Err(StoreError::Gone { requested: cursor, oldest });
    }
    let mut statement =
        transaction.prepare_cached("SELECT type, body FROM ev WHERE rv > ?1 ORDER BY rv LIMIT ?2").map_err(sqlite)?;
    let rows = statement
        .query_map(params![apply::sql_version(cursor), apply::sql_count(CHUNK)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .map_err(sqlite)?;
    let mut events = Vec::new();
    for row in rows {
        let (type_, body) = row.map_err(sqlite)?;
        events.push(apply::parse_event(&type_, &body)?);
    }
    Ok(events)
}
