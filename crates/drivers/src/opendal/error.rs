//! What the storage says when it fails.
use std::{error::Error as _, io};

use opendal::{Error, ErrorKind};

use crate::DriverError;

/// The error of a call: the library's own text, and what to do where a person can do something.
#[expect(clippy::needless_pass_by_value, reason = "the argument of map_err")]
pub(super) fn failed(err: Error) -> DriverError {
    if let Some(kind) = system_error(&err)
        && matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    {
        let message = format!("the exporter's storage is full, make room on it: {err}");
        return DriverError::Io { message, source: kind.into() };
    }
    match err.kind() {
        ErrorKind::Unsupported => DriverError::Unimplemented(err.to_string()),
        _ => DriverError::Other(err.to_string()),
    }
}

/// What the operating system said, if it was asked.
fn system_error(err: &Error) -> Option<io::ErrorKind> {
    let mut next = err.source();
    while let Some(err) = next {
        if let Some(err) = err.downcast_ref::<io::Error>() {
            return Some(err.kind());
        }
        next = err.source();
    }
    None
}
