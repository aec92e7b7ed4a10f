//! What is where in a data directory.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jumpstarter_auth::{KeyError, KeyRing, SigningKey};

/// A data directory: `store.sqlite`, `keys/`, `tls/` and `admin.sock`, all for the operator alone.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Signed identity tokens before the store held the keys; read at the first start with such a store.
    pub(crate) fn token_key(&self) -> PathBuf {
        self.0.join("keys/token.pem")
    }

    /// Signs router tickets; shared with routers of other processes.
    pub(crate) fn ticket_key(&self) -> PathBuf {
        self.0.join("keys/router.key")
    }

    /// A further key whose tickets the router of this process accepts, while the key is being replaced.
    pub(crate) fn previous_ticket_key(&self) -> PathBuf {
        self.0.join("keys/router-previous.key")
    }

    /// Our own CA and the certificates that it signed.
    pub(crate) fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    /// Where the running service answers the operator.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// Makes the directory and its parts, readable to the owner alone.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        for directory in [self.0.clone(), self.0.join("keys"), self.tls()] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        Ok(())
    }
}

/// The keys of a store that has none yet: the key of the releases before, so that its tokens go on working, or a new
/// one.
///
/// # Errors
/// When the file of before is damaged, or the system gives no randomness.
pub(crate) fn first_ring(data_dir: &DataDir, now: Timestamp) -> Result<KeyRing, KeyError> {
    match SigningKey::load(&data_dir.token_key())? {
        Some(key) => Ok(KeyRing::of(key, now)),
        None => KeyRing::generate(now),
    }
}
