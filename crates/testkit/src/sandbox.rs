//! A directory for one test, with everything that processes would otherwise take from the user's home.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use tempfile::TempDir;
use uuid::Uuid;

/// Marks every process of a sandbox, and what it starts in turn.
const MARK: &str = "JUMPSTARTER_TESTKIT";

/// How much of the end of a log is shown when a test fails.
const SHOWN: usize = 24 * 1024;

/// A temporary directory whose processes are ended, and whose logs are shown if the test fails, with it.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
    mark: String,
    logs: AtomicUsize,
}

impl Sandbox {
    /// An empty sandbox.
    pub fn new() -> Self {
        // Short: the path of a Unix socket may have 107 bytes.
        let dir = tempfile::Builder::new().prefix("jt").tempdir().expect("create a temporary directory");
        Self { dir, mark: Uuid::new_v4().to_string(), logs: AtomicUsize::new(0) }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A directory in it, created when missing.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("create a directory in the sandbox");
        path
    }

    /// A fresh path for a log. Logs are numbered in the order in which processes started.
    pub fn log(&self, name: &str) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.dir("logs").join(format!("{number:02}-{name}.log"))
    }

    /// A command that sees nothing of the user: no home, no configuration, no variable but `PATH`.
    pub fn command(&self, program: &Path, owner: &str) -> Command {
        let mut command = Command::new(program);
        let home = self.dir("homes").join(owner);
        let runtime = self.dir("run");
        fs::create_dir_all(&home).expect("create a home in the sandbox");
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .env("XDG_RUNTIME_DIR", runtime)
            .env("TMPDIR", self.dir("tmp"))
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("TERM", "dumb")
            // Tables are folded at this width by some releases when there is no terminal.
            .env("COLUMNS", "250")
            .env("NO_COLOR", "1")
            .env(MARK, &self.mark)
            .current_dir(&home);
        command
    }

    /// The processes of this sandbox that are alive, wherever they went.
    fn processes(&self) -> Vec<rustix::process::Pid> {
        let mark = format!("{MARK}={}", self.mark).into_bytes();
        let entries = fs::read_dir("/proc").expect("read /proc");
        entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let pid: i32 = path.file_name()?.to_str()?.parse().ok()?;
                let environ = fs::read(path.join("environ")).ok()?;
                let marked = environ.split(|byte| *byte == 0).any(|variable| variable == mark);
                marked.then(|| rustix::process::Pid::from_raw(pid))?
            })
            .collect()
    }

    fn show_logs(&self) {
        let mut logs: Vec<PathBuf> = fs::read_dir(self.dir("logs"))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        logs.sort();
        for log in logs {
            let bytes = fs::read(&log).unwrap_or_default();
            let from = bytes.len().saturating_sub(SHOWN);
            let name = log.file_stem().unwrap_or_default().to_string_lossy();
            eprintln!("──── {name} ({} bytes) ────\n{}", bytes.len(), String::from_utf8_lossy(&bytes[from..]));
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Twice, since a process may start another while the first list is worked through.
        for _ in 0..2 {
            for pid in self.processes() {
                // It may have ended by itself in between, which is all we want.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if thread::panicking() {
            self.show_logs();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    #[test]
    fn nothing_survives_a_sandbox() {
        let sandbox = Sandbox::new();
        // The child leaves the process group and outlives its parent.
        let mut shell = sandbox.command(Path::new("/bin/sh"), "test");
        shell.args(["-c", "setsid sleep 600 & exit 0"]).status().unwrap();
        let pid = eventually("the child", crate::MINUTE, || sandbox.processes().pop());
        drop(sandbox);
        eventually("its end", crate::MINUTE, || {
            let gone = rustix::process::test_kill_process(pid).is_err();
            let zombie = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
                .is_ok_and(|stat| stat.contains(") Z"));
            (gone || zombie).then_some(())
        });
    }

    #[test]
    fn the_users_environment_stays_outside() {
        let sandbox = Sandbox::new();
        let output = sandbox.command(Path::new("/usr/bin/env"), "test").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("CARGO"), "{text}");
        assert!(text.contains(&format!("HOME={}", sandbox.path().display())), "{text}");
    }
}
