//! The `jmp` of a client: the released Python one or ours. Both take the same arguments.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use jumpstarter_peers::Venv;
use serde_json::Value;

use crate::{Process, Sandbox, Terminal, service::binary, wait::eventually};

/// Longer than any command of a test takes; the released client itself waits 20 s for a lost tunnel.
const LIMIT: Duration = Duration::from_secs(150);

/// Where `jmp` and `j` come from.
#[derive(Debug, Clone)]
pub enum Release {
    /// Unmodified packages from `PyPI`.
    Python(Venv),
    /// This workspace.
    Rust,
}

impl Release {
    /// The newest Python release.
    #[track_caller]
    pub fn newest() -> Self {
        Self::Python(jumpstarter_peers::NEWEST.find().unwrap_or_else(|missing| panic!("{missing}")))
    }

    /// The oldest Python release that can still be installed.
    #[track_caller]
    pub fn oldest() -> Self {
        Self::Python(jumpstarter_peers::OLDEST.find().unwrap_or_else(|missing| panic!("{missing}")))
    }

    /// A directory that holds `jmp` and `j` of this release.
    fn bin(&self, sandbox: &Sandbox) -> PathBuf {
        match self {
            Self::Python(venv) => venv.bin(),
            Self::Rust => {
                let dir = sandbox.dir("bin");
                for name in ["jmp", "j"] {
                    // There already when another process of this sandbox was started before.
                    let _ = std::os::unix::fs::symlink(binary("jmp"), dir.join(name));
                }
                dir
            }
        }
    }

    /// `jmp` of this release, with `j` beside it on the `PATH`.
    pub(crate) fn jmp(&self, sandbox: &Sandbox, owner: &str) -> Command {
        let bin = self.bin(sandbox);
        Self::with_path(sandbox.command(&bin.join("jmp"), owner), &bin)
    }

    /// A shell with `jmp` and `j` of this release on its `PATH`.
    pub(crate) fn shell(&self, sandbox: &Sandbox, owner: &str) -> Command {
        Self::with_path(sandbox.command(Path::new("/bin/sh"), owner), &self.bin(sandbox))
    }

    fn with_path(mut command: Command, bin: &Path) -> Command {
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()));
        command
    }
}

/// One client with its configuration.
#[derive(Debug, Clone)]
pub struct Jmp {
    sandbox: Arc<Sandbox>,
    release: Release,
    name: String,
    config: PathBuf,
}

impl Jmp {
    /// A client whose configuration file is `config`. It becomes the current client of a home of its own.
    pub fn new(sandbox: &Arc<Sandbox>, release: Release, name: &str, config: &Path) -> Self {
        let jmp = Self { sandbox: Arc::clone(sandbox), release, name: name.to_owned(), config: config.to_owned() };
        let home = jmp.home();
        fs::create_dir_all(home.join("clients")).expect("create the clients' directory");
        fs::copy(config, home.join(format!("clients/{name}.yaml"))).expect("copy the client's configuration");
        let user =
            format!("apiVersion: jumpstarter.dev/v1alpha1\nkind: UserConfig\nconfig:\n  current-client: {name}\n");
        fs::write(home.join("config.yaml"), user).expect("write the user's configuration");
        jmp
    }

    fn home(&self) -> PathBuf {
        self.sandbox.path().join("homes").join(&self.name).join(".config/jumpstarter")
    }

    /// The client's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client's configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The same client, with other programs.
    pub fn with(&self, release: Release) -> Self {
        Self { release, ..self.clone() }
    }

    /// `jmp` with `args`, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.release.jmp(&self.sandbox, &self.name);
        command.args(args);
        command
    }

    /// Runs `jmp` with `args` to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Done {
        self.run_command(self.command(args))
    }

    /// Runs a command made by [`Jmp::command`] to its end.
    #[track_caller]
    pub fn run_command(&self, mut command: Command) -> Done {
        let log = self.sandbox.log(&self.name);
        let out = log.with_extension("out");
        let err = log.with_extension("err");
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("create a file for output"))
            .stderr(File::create(&err).expect("create a file for errors"))
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", Path::new(command.get_program()).display()));
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        let shown = format!("jmp {}", args.join(" "));
        let status = crate::wait::within(LIMIT, || child.try_wait().expect("ask for a child's status"));
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let done = Done {
            shown,
            status: status.unwrap_or_default(),
            stdout: read(&out),
            stderr: read(&err),
            took: started.elapsed(),
        };
        // One file for the eyes; the other two were for us.
        fs::write(&log, done.report()).expect("write a log");
        let _ = (fs::remove_file(out), fs::remove_file(err));
        assert!(status.is_some(), "{}\nnot within {LIMIT:?}", done.report());
        done
    }

    /// Starts `jmp` with `args` beside the test.
    #[track_caller]
    pub fn start(&self, args: &[&str]) -> Process {
        Process::start(&self.sandbox, &self.name, self.command(args))
    }

    /// Starts `jmp` with `args` on a terminal.
    #[track_caller]
    pub fn on_terminal(&self, args: &[&str]) -> Terminal {
        self.command_on_terminal(&self.command(args))
    }

    /// Starts a command made by [`Jmp::command`] on a terminal.
    #[track_caller]
    pub fn command_on_terminal(&self, command: &Command) -> Terminal {
        Terminal::start(&self.sandbox, &self.name, command)
    }

    /// Repeats `jmp` with `args` until `condition` holds for its output.
    #[track_caller]
    pub fn until(&self, what: &str, args: &[&str], condition: impl Fn(&Done) -> bool) -> Done {
        eventually(what, LIMIT, || Some(self.run(args)).filter(|done| condition(done)))
    }
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Done {
    shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Done {
    /// The same, when it ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "unexpected failure\n{}", self.report());
        self
    }

    /// The same, when it ended with `code`.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "unexpected exit status\n{}", self.report());
        self
    }

    /// The same, when one of its outputs contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "no `{text}` in\n{}", self.report());
        self
    }

    /// The same, when neither of its outputs contains `text`.
    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "`{text}` in\n{}", self.report());
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error})\n{}", self.report()))
    }

    /// Its output without space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// All of it, for people.
    pub fn report(&self) -> String {
        let mut report = format!("$ {}\n({}, {:.1?})\n", self.shown, self.status, self.took);
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                let _ = writeln!(report, "[{name}]\n{}", text.trim_end());
            }
        }
        report
    }
}
