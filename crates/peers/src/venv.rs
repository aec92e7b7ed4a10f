//! A virtual environment with one release in it.

use std::path::{Path, PathBuf};

use crate::cache::{CacheError, cache_root, is_complete};

/// One release of the Python packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// As on `PyPI`, such as `0.9.0`.
    pub version: &'static str,
    /// Every package with its exact version, in the format of `pip install --requirement`.
    pub requirements: &'static str,
}

/// Why a release cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// It was never installed, half installed, or installed from other requirements.
    #[error("the Python peers {version} are not installed in {path}: run `cargo xtask setup`")]
    NotInstalled {
        /// The release.
        version: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no cache to look in.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Release {
    /// Where this release belongs, installed or not.
    pub fn path(&self) -> Result<PathBuf, CacheError> {
        Ok(cache_root()?.join(format!("peers-{}", self.version)))
    }

    /// The installed release.
    pub fn find(&self) -> Result<Venv, Missing> {
        let path = self.path()?;
        if is_complete(&path, self.requirements) {
            Ok(Venv { path })
        } else {
            Err(Missing::NotInstalled { version: self.version, path })
        }
    }
}

/// An installed release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Venv {
    path: PathBuf,
}

impl Venv {
    /// The directory with its programs, for the front of a `PATH`.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.path.join("bin")
    }

    /// A program of it: `jmp`, `j`, `python`.
    #[must_use]
    pub fn program(&self, name: impl AsRef<Path>) -> PathBuf {
        self.bin().join(name)
    }
}

#[cfg(test)]
mod tests {
    use crate::{NEWEST, OLDEST};

    #[test]
    fn requirements_pin_their_own_release() {
        for release in [NEWEST, OLDEST] {
            let version = release.version;
            for package in ["jumpstarter", "jumpstarter-cli", "jumpstarter-protocol", "jumpstarter-driver-power"] {
                assert!(release.requirements.contains(&format!("{package}=={version}\n")), "{package} {version}");
            }
            assert!(release.requirements.lines().all(|line| line.contains("==")), "{version}");
        }
    }
}
