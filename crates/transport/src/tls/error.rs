//! Why there is no usable certificate.

use std::io;
use std::path::PathBuf;

/// Why a certificate could not be made, loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path} is not usable: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {key} does not belong to the certificate in {certificate}: give the two files of one pair")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Only one half of our CA is there.
    #[error(
        "{present} exists but {missing} does not: restore it from a backup, or remove both to have a new CA made (every client and exporter then needs the new one)"
    )]
    HalfCa {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// A name that no certificate can carry.
    #[error("{0:?} cannot stand in a certificate: give a host name or an IP address, without scheme and port")]
    Host(String),
    /// The cryptographic library refused.
    #[error("cannot make a certificate: {0}")]
    Crypto(String),
}
