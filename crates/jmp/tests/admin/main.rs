//! `jmp admin` as a process, against an API of our own behind the socket of a data directory.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod api;
mod commands;
mod files;
mod usage;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use api::Api;

/// A data directory with an API, a home directory, and the program.
struct Bench {
    api: Api,
    home: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { api: Api::start(), home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.path("config").join(name)
    }

    /// Runs `jmp admin` with these arguments, one word each.
    fn admin(&self, line: &str) -> Done {
        self.admin_with(line, "")
    }

    /// The same with something on the standard input.
    fn admin_with(&self, line: &str, input: &str) -> Done {
        let mut words = vec!["admin"];
        words.extend(line.split_whitespace());
        self.run(&words, Some(self.api.data_dir()), input)
    }

    fn run(&self, words: &[&str], data_dir: Option<&Path>, input: &str) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jmp"));
        command
            .args(words)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("JMP_CLIENT_CONFIG_HOME", self.path("config"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(data_dir) = data_dir {
            command.env("JUMPSTARTER_DATA_DIR", data_dir);
        }
        let mut child = command.spawn().unwrap();
        // A program that does not read its input may be gone already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        Done::from(child.wait_with_output().unwrap())
    }
}

/// What a run left behind.
#[derive(Debug)]
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// The output of a run that succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// The error text of a run that ended with `code`.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }
}
