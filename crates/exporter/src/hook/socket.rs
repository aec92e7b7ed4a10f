//! The local socket through which a hook's `j` reaches its session.
use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// A socket in a directory of its own (mode 0700); the directory goes away with this value.
pub(crate) struct HookSocket {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl HookSocket {
    /// Binds below `$XDG_RUNTIME_DIR`, else `/tmp`.
    pub(crate) fn bind() -> io::Result<(Self, UnixListener)> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        let runtime = runtime.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let dir = tempfile::Builder::new()
            .prefix("jumpstarter-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(&runtime)
            .map_err(|err| io::Error::new(err.kind(), format!("create a directory in {}: {err}", runtime.display())))?;
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path)
            .map_err(|err| io::Error::new(err.kind(), format!("bind {}: {err}", path.display())))?;
        Ok((Self { path, _dir: dir }, listener))
    }

    /// The value for `JUMPSTARTER_HOST`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
