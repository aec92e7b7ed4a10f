//! The layout of the file, its versions, and what a connection is set to.

use rusqlite::Connection;

/// Marks the file as ours (`PRAGMA application_id`): "jmps".
pub(super) const APPLICATION_ID: i32 = 0x6a6d_7073;

/// One script for each step; the file's `user_version` counts those it has had.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// What a file turned out to be.
pub(super) enum Layout {
    Current,
    Older(usize),
    Newer { found: i64, known: usize },
    Foreign,
}

/// Looks, changes nothing.
pub(super) fn layout(connection: &Connection) -> rusqlite::Result<Layout> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Ok(Layout::Foreign);
    }
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(match usize::try_from(found) {
        Ok(version) if version == MIGRATIONS.len() => Layout::Current,
        Ok(version) if version < MIGRATIONS.len() => Layout::Older(version),
        _ => Layout::Newer { found, known: MIGRATIONS.len() },
    })
}

/// Fills a new, empty file.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(connection, 0)
}

/// Brings an older file up to date, all steps in one transaction.
pub(super) fn migrate(connection: &mut Connection, from: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for script in &MIGRATIONS[from..] {
        transaction.execute_batch(script)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX))?;
    transaction.commit()
}

/// Settings of every connection. `FULL`: a commit is on the disk before anybody hears of it.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}
