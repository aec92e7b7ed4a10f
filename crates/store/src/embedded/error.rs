//! What `SQLite`'s errors mean to a caller of the store.

use rusqlite::ErrorCode;

use crate::StoreError;

/// The caller's view of a database error.
pub(super) fn from_sqlite(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            StoreError::Full("free some space on its disk, or raise its size limit".to_owned())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt(format!("{error}. Stop the service and restore a backup of the store file"))
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Whether space is what is missing.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}
