//! What a session has made, and its removal.
use std::{
    collections::BTreeSet,
    io,
    path::{Component, Path, PathBuf},
    sync::Mutex,
};

use crate::{DriverLog, LogLevel};

/// The paths that were made, normalized.
pub(super) struct Created {
    paths: Mutex<BTreeSet<String>>,
    remove: bool,
    /// The directory behind the storage, when it is one.
    root: Option<PathBuf>,
}

impl Created {
    pub(super) fn new(remove: bool, scheme: &str, root: PathBuf) -> Self {
        Self { paths: Mutex::default(), remove, root: (scheme == "fs").then_some(root) }
    }

    pub(super) fn add(&self, path: &str) {
        self.paths.lock().expect("no code panics while it holds the paths").insert(normalized(path));
    }

    pub(super) fn forget(&self, path: &str) {
        self.paths.lock().expect("no code panics while it holds the paths").remove(&normalized(path));
    }

    pub(super) fn paths(&self) -> BTreeSet<String> {
        self.paths.lock().expect("no code panics while it holds the paths").clone()
    }

    /// Removes everything that was made, if that was asked for: what lies deeper first, and nothing outside the root.
    pub(super) async fn clean(&self, log: &DriverLog) {
        let paths = std::mem::take(&mut *self.paths.lock().expect("no code panics while it holds the paths"));
        if !self.remove || paths.is_empty() {
            return;
        }
        let Some(root) = &self.root else {
            log.warning("what was created stays: it can be removed from storage of scheme 'fs' alone");
            return;
        };
        for path in paths.iter().rev().filter(|path| is_inside(path)) {
            if let Err(err) = remove(&root.join(path)).await {
                log.line(LogLevel::Error, &format!("remove '{path}': {err}"));
            }
        }
    }
}

/// With slashes, and without dot segments and slashes at the ends.
fn normalized(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let absolute = path.starts_with(['/', '\\']);
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Names something below the root, and not the root itself.
fn is_inside(path: &str) -> bool {
    let mut components = Path::new(path).components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

async fn remove(path: &Path) -> io::Result<()> {
    let removed = match tokio::fs::symlink_metadata(path).await {
        Ok(found) if found.is_dir() => tokio::fs::remove_dir_all(path).await,
        Ok(_) => tokio::fs::remove_file(path).await,
        Err(err) => Err(err),
    };
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::NoLog;

    #[test]
    fn paths_are_normalized() {
        for (path, wanted) in [
            ("test_dir", "test_dir"),
            ("test_dir/", "test_dir"),
            ("/test_dir/", "test_dir"),
            ("nested/dir", "nested/dir"),
            ("dir\\backslash", "dir/backslash"),
            ("./current", "current"),
            ("parent/../simple", "simple"),
            ("//double//slash//path", "double/slash/path"),
            ("", ""),
            (".", ""),
            ("/", ""),
            ("../outside", "../outside"),
            ("/../inside", "inside"),
        ] {
            assert_eq!(normalized(path), wanted, "{path}");
        }
    }

    #[tokio::test]
    async fn what_was_made_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("made/deep")).unwrap();
        std::fs::create_dir_all(root.join("kept")).unwrap();
        for file in ["made/deep/file", "made/unregistered", "kept/file", "../outside", "loose"] {
            std::fs::write(root.join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
        let created = Created::new(true, "fs", root.clone());
        for path in ["made/", "made/deep/file", "loose", "../outside", "/", "never/was", "link"] {
            created.add(path);
        }
        created.add("kept/file");
        created.forget("/kept/file/");
        created.clean(&DriverLog::new("test", Arc::new(NoLog))).await;
        assert!(root.join("kept/file").exists() && dir.path().join("outside").exists());
        assert!(!root.join("made").exists() && !root.join("loose").exists() && !root.join("link").is_symlink());
        assert!(created.paths().is_empty());
    }
}
