//! The file in which a beforeLease hook leaves a greeting for this session's shells.
use std::{io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use super::clean;

/// Longest greeting.
const MAX: u64 = 64 * 1024;

/// An empty file; it goes away with this value.
pub(super) struct MotdFile(tempfile::NamedTempFile);

impl MotdFile {
    /// A new file, if one can be made: a hook without it still runs.
    pub(super) fn create() -> Option<Self> {
        let file = tempfile::Builder::new().prefix("jumpstarter-motd-").tempfile();
        file.inspect_err(|err| tracing::warn!(%err, "create the file JMP_MOTD_FILE")).ok().map(Self)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What the hook wrote, if anything. The hook may have put something else in the place of the file: only a regular
    /// file is read, and opening anything else does not wait.
    pub(super) fn read(self) -> Option<String> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).ok()?;
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(self.path()).ok()?;
        if !file.metadata().ok()?.is_file() {
            tracing::warn!("what the hook left as JMP_MOTD_FILE is no regular file");
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MAX).read_to_end(&mut bytes).ok()?;
        let text = clean(&String::from_utf8_lossy(&bytes), true);
        (!text.trim().is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_a_regular_file_of_some_length_counts() {
        assert_eq!(MotdFile::create().unwrap().read(), None);
        let file = MotdFile::create().unwrap();
        fs::write(file.path(), "hello\n\u{1b}]0;x\u{7}there\n").unwrap();
        assert_eq!(file.read().as_deref(), Some("hello\nthere\n"));
        let file = MotdFile::create().unwrap();
        fs::write(file.path(), vec![b'x'; 100_000]).unwrap();
        assert_eq!(file.read().unwrap().len(), 65536);
        let file = MotdFile::create().unwrap();
        fs::remove_file(file.path()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", file.path()).unwrap();
        assert_eq!(file.read(), None);
    }
}
