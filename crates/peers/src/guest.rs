//! What a small virtual machine is made of: Debian's kernel, some of its modules, and busybox.

use std::path::{Path, PathBuf};

use crate::cache::{CacheError, cache_root, is_complete};

/// Says how the entry was made; a new one makes it anew.
pub const GUEST_RECIPE: &str = "linux-image-cloud-amd64 and busybox-static, first edition";
/// Packages that hold the parts. The first only depends on the kernel of the day.
pub const GUEST_PACKAGES: [&str; 2] = ["linux-image-cloud-amd64", "busybox-static"];
/// Modules that a guest needs for its disks and its network card, each after those that it uses.
pub const GUEST_MODULES: [&str; 9] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
];

/// The parts, in a directory of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    path: PathBuf,
}

impl Guest {
    /// Where the parts belong, there or not.
    pub fn place() -> Result<PathBuf, CacheError> {
        Ok(cache_root()?.join("guest"))
    }

    /// The parts.
    ///
    /// # Errors
    /// A text that says how to get them.
    pub fn find() -> Result<Self, String> {
        let path = Self::place().map_err(|err| err.to_string())?;
        if is_complete(&path, GUEST_RECIPE) {
            return Ok(Self { path });
        }
        Err(format!("the kernel of the test machine is not in {}: run `cargo xtask setup`", path.display()))
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.path.join("vmlinuz")
    }

    /// The module `name`, one of [`GUEST_MODULES`].
    #[must_use]
    pub fn module(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name).with_extension("ko")
    }

    /// A shell and everything that goes with it, in one static program.
    #[must_use]
    pub fn busybox(&self) -> PathBuf {
        self.path.join("busybox")
    }
}
