//! The cache directory, and stamps that tell a finished entry from one that was cut off half-way.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Name of the file that is written last. Its text is what the entry was made from.
const STAMP: &str = ".complete";

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither variable that could lead to a cache is set.
    #[error("set HOME or XDG_CACHE_HOME: there is no other place to cache what the tests need")]
    NoHome,
    /// The stamp could not be written.
    #[error("write {path}")]
    Stamp {
        /// The stamp's path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// `$XDG_CACHE_HOME/jumpstarter-rs`, or `~/.cache/jumpstarter-rs`.
pub fn cache_root() -> Result<PathBuf, CacheError> {
    root_from(env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::var_os("HOME").map(PathBuf::from))
}

fn root_from(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf, CacheError> {
    // A relative XDG directory is to be ignored, says the base directory specification.
    let base = xdg
        .filter(|path| path.is_absolute())
        .or_else(|| home.filter(|path| path.is_absolute()).map(|path| path.join(".cache")))
        .ok_or(CacheError::NoHome)?;
    Ok(base.join("jumpstarter-rs"))
}

/// Whether `entry` was finished, and from exactly this `recipe`.
#[must_use]
pub fn is_complete(entry: &Path, recipe: &str) -> bool {
    fs::read_to_string(entry.join(STAMP)).is_ok_and(|found| found == recipe)
}

/// Marks `entry` as finished. Call it last: an entry without the mark is thrown away and made again.
pub fn mark_complete(entry: &Path, recipe: &str) -> Result<(), CacheError> {
    let path = entry.join(STAMP);
    fs::write(&path, recipe).map_err(|source| CacheError::Stamp { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_directory_specification_is_followed() {
        let some = |text: &str| Some(PathBuf::from(text));
        let root = |xdg, home| root_from(xdg, home).ok();
        assert_eq!(root(some("/c"), some("/h")), some("/c/jumpstarter-rs"));
        assert_eq!(root(some("c"), some("/h")), some("/h/.cache/jumpstarter-rs"));
        assert_eq!(root(None, some("/h")), some("/h/.cache/jumpstarter-rs"));
        assert_eq!(root(None, None), None);
    }

    #[test]
    fn only_a_finished_entry_of_the_same_recipe_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_complete(dir.path(), "a"));
        mark_complete(dir.path(), "a").unwrap();
        assert!(is_complete(dir.path(), "a"));
        assert!(!is_complete(dir.path(), "b"));
    }
}
