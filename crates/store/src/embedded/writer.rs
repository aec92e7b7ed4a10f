//! The one thread that writes: takes what has queued up, commits it together, then tells everybody.

use std::{sync::Arc, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    apply::{self, Apply, Failure, Identities, Record},
    error,
    hub::Hub,
};
use crate::{Object, StoreError, Write};

/// Transactions that may wait for the writer; more wait for a place.
const QUEUE: usize = 1024;
/// Transactions in one commit: enough to hide the cost of the disk, few enough for the first to be answered soon.
const BATCH: usize = 256;
/// Events beyond the limit before a compaction, so that it is not done for each one.
const SLACK: u64 = 256;
/// Free pages given back to the file system at a time.
const VACUUM_PAGES: u32 = 256;

/// A transaction.
pub(super) struct Work {
    pub(super) writes: Vec<Write>,
    /// Whether creates keep the `uid` that they carry.
    pub(super) keep_uids: bool,
}

/// A transaction that somebody waits for.
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Vec<Object>, StoreError>>,
}

/// Starts the thread. It ends when every sender is gone and the queue is empty.
pub(super) fn start(
    connection: Connection,
    hub: Arc<Hub>,
    identities: Identities,
    history: u64,
) -> std::io::Result<(mpsc::Sender<Request>, thread::JoinHandle<()>)> {
    let (sender, queue) = mpsc::channel(QUEUE);
    let mut writer = Writer { connection, hub, identities, history };
    let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(queue))?;
    Ok((sender, thread))
}

struct Writer {
    connection: Connection,
    hub: Arc<Hub>,
    identities: Identities,
    history: u64,
}

type Outcome = Result<Vec<Object>, StoreError>;

impl Writer {
    fn run(&mut self, mut queue: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(BATCH);
        while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
            self.commit(&batch.iter().map(|request| &request.work).collect::<Vec<_>>())
                .into_iter()
                .zip(batch.drain(..))
                .for_each(|(outcome, request)| {
                    // Whoever asked may have gone; the change is made all the same.
                    let _ = request.reply.send(outcome);
                });
            self.compact(self.history, SLACK);
        }
    }

    /// One outcome for each transaction.
    fn commit(&mut self, batch: &[&Work]) -> Vec<Outcome> {
        match self.attempt(batch) {
            Ok(outcomes) => outcomes,
            Err(error) if error::is_full(&error) => {
                // The log and history are what can go. Then each transaction has its own chance, since one large one must
                // not fail the small ones beside it.
                self.shorten_log();
                self.compact(self.history / 8, 0);
                batch.iter().map(|work| self.alone(work)).collect()
            }
            Err(error) => {
                tracing::error!(%error, "commit to the store");
                batch.iter().map(|_| Err(error::from_sqlite(&error))).collect()
            }
        }
    }

    /// Moves what is in the log into the file, which often has room for it, and gives the log's space back.
    fn shorten_log(&self) {
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "shorten the store's log");
        }
    }

    fn alone(&mut self, work: &Work) -> Outcome {
        match self.attempt(&[work]) {
            Ok(mut outcomes) => outcomes.pop().unwrap_or_else(|| Err(error::closed())),
            Err(error) => Err(error::from_sqlite(&error)),
        }
    }

    /// Commits all transactions that the rules allow; on a database error none is made.
    fn attempt(&mut self, batch: &[&Work]) -> rusqlite::Result<Vec<Outcome>> {
        let result = self.begin_and_commit(batch);
        if result.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "roll back in the store");
        }
        let (outcomes, records) = result?;
        self.hub.publish(records);
        Ok(outcomes)
    }

    fn begin_and_commit(&mut self, batch: &[&Work]) -> rusqlite::Result<(Vec<Outcome>, Vec<Record>)> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut apply = Apply {
            connection: &self.connection,
            identities: &self.identities,
            version: apply::last_version(&self.connection)?,
            records: Vec::new(),
        };
        let mut outcomes = Vec::with_capacity(batch.len());
        for work in batch {
            let (version, events) = (apply.version, apply.records.len());
            apply.connection.execute_batch("SAVEPOINT request")?;
            match apply.run(&work.writes, work.keep_uids) {
                Ok(objects) => outcomes.push(Ok(objects)),
                Err(Failure::Sqlite(error)) => return Err(error),
                Err(Failure::Store(error)) => {
                    apply.connection.execute_batch("ROLLBACK TO request")?;
                    apply.version = version;
                    apply.records.truncate(events);
                    outcomes.push(Err(error));
                }
            }
            apply.connection.execute_batch("RELEASE request")?;
        }
        let records = apply.records;
        self.connection.execute_batch("COMMIT")?;
        Ok((outcomes, records))
    }

    /// Drops events so that at most `keep` remain, if there are more than `slack` too many.
    fn compact(&mut self, keep: u64, slack: u64) {
        let compacted = (|| -> rusqlite::Result<()> {
            let floor = self.hub.latest().saturating_sub(keep);
            if floor <= apply::floor(&self.connection)?.saturating_add(slack) {
                return Ok(());
            }
            let transaction = self.connection.transaction()?;
            let floor = apply::sql_version(floor);
            transaction.prepare_cached("DELETE FROM ev WHERE rv <= ?1")?.execute([floor])?;
            transaction.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'floor'")?.execute([floor])?;
            transaction.commit()?;
            self.give_back()
        })();
        if let Err(error) = compacted {
            tracing::warn!(%error, "drop old events from the store");
        }
    }

    /// Shrinks the file when much of it is unused; a little is used again soon.
    fn give_back(&self) -> rusqlite::Result<()> {
        let pages: u32 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let free: u32 = self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free > 4 * VACUUM_PAGES && free > pages / 2 {
            let mut statement = self.connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut steps = statement.query([])?; // One page a step.
            while steps.next()?.is_some() {}
        }
        Ok(())
    }
}
