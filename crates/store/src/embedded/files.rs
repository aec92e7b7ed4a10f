//! The data directory: who may use it, which file is the store, and what to say when it is not usable.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use rustix::fs::{FlockOperation, flock};

use super::schema::{self, Layout};
use crate::StoreError;

const LOCK: &str = "lock";
const STORE: &str = "store.sqlite";
const HEADER: &[u8] = b"SQLite format 3\0";
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The claim of one process on a data directory; ends with the value or the process.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// Creates the directory, for its owner alone. One that exists is left as it is: it may be shared on purpose.
pub(super) fn prepare(data_dir: &Path) -> Result<(), StoreError> {
    if let Ok(found) = fs::metadata(data_dir) {
        if !found.is_dir() {
            return Err(unavailable(data_dir, "is not a directory"));
        }
        if found.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %data_dir.display(), "others may look into the data directory; its files are private all the same");
        }
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| unavailable(data_dir, error))
}

/// Claims the directory, waiting up to `patience` for another process to let go of it.
pub(super) fn lock(data_dir: &Path, patience: Duration) -> Result<Lock, StoreError> {
    let path = data_dir.join(LOCK);
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unavailable(&path, error))?;
    let mut waited = Duration::ZERO;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(unavailable(&path, error));
        }
        if waited >= patience {
            let mut holder = String::new();
            let _ = (&file).take(32).read_to_string(&mut holder);
            let holder =
                if holder.trim().is_empty() { "another process" } else { &format!("process {}", holder.trim()) };
            return Err(StoreError::Unavailable(format!(
                "the data directory {} is in use by {holder}: stop it first, or choose another directory",
                data_dir.display()
            )));
        }
        std::thread::sleep(LOCK_POLL);
        waited += LOCK_POLL;
    }
    // Only for the message above; the lock does not depend on it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock(file))
}

/// The store file, made if there is none, checked if there is one. Never replaces anything.
pub(super) fn store(data_dir: &Path) -> Result<PathBuf, StoreError> {
    let path = data_dir.join(STORE);
    match fs::symlink_metadata(&path) {
        Ok(_) => check(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(data_dir, &path)?,
        Err(error) => return Err(unavailable(&path, error)),
    }
    Ok(path)
}

/// Opens a connection to an existing file.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| damaged(path, &error))?;
    schema::configure(&connection).map_err(|error| damaged(path, &error))?;
    Ok(connection)
}

/// An empty file that only its owner may read.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A store that cannot be read, and the way out.
pub(super) fn damaged(path: &Path, detail: &dyn std::fmt::Display) -> StoreError {
    let file = path.display();
    StoreError::Corrupt(format!(
        "{file}: {detail}. Nothing was changed. To restore a backup: stop the service, move {file}, {file}-wal and \
         {file}-shm aside, copy the backup to {file}, start again"
    ))
}

/// A file system that does not do as it is told.
pub(super) fn unavailable(path: &Path, detail: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{}: {detail}", path.display()))
}

/// Built under another name first: a crash leaves a whole store or none, so an empty file is never ours.
fn make(data_dir: &Path, path: &Path) -> Result<(), StoreError> {
    let wal = data_dir.join(format!("{STORE}-wal"));
    if wal.exists() {
        return Err(damaged(path, &format!("the file is missing, though {} is there", wal.display())));
    }
    let fresh = data_dir.join(format!("{STORE}.new"));
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error.to_string()),
        _ => unavailable(&fresh, error),
    };
    for leftover in [fresh.clone(), data_dir.join(format!("{STORE}.new-journal"))] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    private_file(&fresh).map_err(io)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(&fresh, flags)
        .and_then(|mut connection| schema::create(&mut connection))
        .map_err(|error| super::error::from_sqlite(&error))?;
    fs::rename(&fresh, path).and_then(|()| sync_dir(data_dir)).map_err(io)
}

fn check(path: &Path) -> Result<(), StoreError> {
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER.len() as u64).read_to_end(&mut header));
    read.map_err(|error| unavailable(path, error))?;
    if header != HEADER {
        return Err(damaged(path, &"this is not a store file"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| damaged(path, &error))?;
    // A file that is refused stays as it is, its log included.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|error| damaged(path, &error))?;
    let layout = schema::layout(&connection).map_err(|error| damaged(path, &error))?;
    match layout {
        Layout::Foreign => {
            return Err(damaged(path, &"this SQLite file is not a store of this program"));
        }
        Layout::Newer { found, known } => {
            let newer = format!(
                "its schema {found} is newer than {known}, the newest that this program knows: use the program that wrote it"
            );
            return Err(damaged(path, &newer));
        }
        Layout::Current | Layout::Older(_) => {}
    }
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| damaged(path, &error))?;
    if verdict != "ok" {
        return Err(damaged(path, &verdict));
    }
    if let Layout::Older(version) = layout {
        tracing::info!(path = %path.display(), version, "bringing the store's schema up to date");
        schema::migrate(&mut connection, version).map_err(|error| damaged(path, &error))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| unavailable(path, error))
}
