//! A copy of the store while it is in use.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, backup::Backup};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{EmbeddedStore, apply, error, files};
use crate::StoreError;

/// All pages in one step: one snapshot, which in WAL mode keeps no writer waiting.
const ALL_PAGES: i32 = i32::MAX;

/// More versions than are made between a backup and the loss of its store: a year of a hundred each second.
const LEAP: u64 = 1 << 32;

impl EmbeddedStore {
    /// Copies the store, as it is at one moment, to a new file that only its owner may read. The copy is complete and
    /// on the disk before it gets its name; it is a store file to put in the place of a lost one.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the file exists: it is left as it is.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_owned();
        self.0.readers.run(move |connection| backup(connection, &to)).await
    }
}

fn backup(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(exists(to));
    }
    let name = to.file_name().ok_or_else(|| StoreError::Invalid(format!("{} names no file", to.display())))?;
    let dir = match to.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let partial = dir.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
    let written = copy(connection, &partial).and_then(|()| {
        place(&partial, to).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists { exists(to) } else { broken(to, &error) }
        })?;
        files::sync_dir(dir).map_err(|error| broken(to, &error))
    });
    if written.is_err() {
        remove(&partial);
    }
    written
}

fn copy(connection: &Connection, partial: &Path) -> Result<(), StoreError> {
    let sqlite = |error: rusqlite::Error| error::from_sqlite(&error);
    let file = files::private_file(partial).map_err(|error| broken(partial, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(partial, flags).map_err(sqlite)?;
    Backup::new(connection, &mut copy)
        .and_then(|backup| backup.run_to_completion(ALL_PAGES, Duration::ZERO, None))
        .map_err(sqlite)?;
    // One file without companions, whatever mode the original is in.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(sqlite)?;
    forget_history(&copy).map_err(sqlite)?;
    let verdict: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if verdict != "ok" {
        return Err(StoreError::Corrupt(format!("the copy is not sound: {verdict}")));
    }
    copy.close().map_err(|(_, error)| sqlite(error))?;
    file.sync_all().map_err(|error| broken(partial, &error))
}

/// Versions after a restore must not be those that the lost store gave to something else: they start far beyond, and
/// whoever watched from before is told to list again.
fn forget_history(copy: &Connection) -> rusqlite::Result<()> {
    let next = apply::sql_version(apply::last_version(copy)?.saturating_add(LEAP));
    copy.execute_batch("BEGIN; DELETE FROM ev; DELETE FROM sqlite_sequence WHERE name = 'ev'")?;
    copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('ev', ?1)", [next])?;
    copy.execute("UPDATE meta SET value = ?1 WHERE key = 'floor'", [next])?;
    copy.execute_batch("COMMIT")
}

/// Gives the copy its name unless that is taken; some file systems cannot do both at once.
fn place(partial: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, partial, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => fs::rename(partial, to),
        result => Ok(result?),
    }
}

fn remove(partial: &Path) {
    let journal = PathBuf::from(format!("{}-journal", partial.display()));
    for file in [partial, &journal] {
        if let Err(error) = fs::remove_file(file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %file.display(), %error, "remove an unfinished backup");
        }
    }
}

fn exists(to: &Path) -> StoreError {
    StoreError::Invalid(format!("{} exists already: backups never replace a file, choose another name", to.display()))
}

fn broken(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full(format!("{}: {error}", path.display()))
        }
        _ => files::unavailable(path, error),
    }
}
