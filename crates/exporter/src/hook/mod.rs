//! Runs one hook to its end: a program on a terminal of its own, whose lines go to the session's log.
mod clean;
mod command;
mod lines;
mod motd;
mod process;
mod socket;

use std::{collections::HashMap, path::Path, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use jumpstarter_config::{Hook, OnFailure};
use jumpstarter_drivers::LogLevel;
use jumpstarter_protocol::v1::LogStreamResponse;
use tokio_util::sync::CancellationToken;

use crate::{Assignment, HookKind, LogRing, Session};

pub(crate) use clean::clean;
pub(crate) use socket::HookSocket;

/// A program that a hook asks for.
pub struct HookProgram<'a> {
    /// The program and its arguments.
    pub argv: &'a [String],
    /// Variables beyond the exporter's own.
    pub environment: &'a HashMap<&'a str, String>,
    /// Time after which it has failed.
    pub limit: Duration,
    /// Fires when its end is not to be waited for.
    pub cancel: &'a CancellationToken,
    /// Takes its lines.
    pub line: &'a mut (dyn FnMut(&str) + Send),
}

/// What runs the programs of hooks: processes on this machine, unless a simulated host takes their place.
pub trait HookRunner: Send + Sync {
    /// Runs a program to its end, within its limit; the error is a sentence for people.
    fn run<'a>(&'a self, program: HookProgram<'a>) -> BoxFuture<'a, Result<(), String>>;
}

/// Processes on this machine.
pub(crate) struct Processes;

impl HookRunner for Processes {
    fn run<'a>(&'a self, program: HookProgram<'a>) -> BoxFuture<'a, Result<(), String>> {
        let HookProgram { argv, environment, limit, cancel, line } = program;
        process::run(argv, environment, limit, cancel, line).boxed()
    }
}

/// A hook of one session.
pub(crate) struct Run<'a> {
    pub(crate) runner: &'a dyn HookRunner,
    pub(crate) kind: HookKind,
    pub(crate) hook: &'a Hook,
    pub(crate) holder: &'a Assignment,
    /// Socket that leads to the session.
    pub(crate) host: &'a Path,
    pub(crate) session: &'a Session,
    /// Variables beyond the usual ones.
    pub(crate) extra: &'a [(&'static str, String)],
}

impl Run<'_> {
    /// Runs the hook until it ends, its time is over, or `cancel` fires; the error says why it failed.
    ///
    /// # Cancel safety
    /// Dropping the future kills the program, not what it started.
    pub(crate) async fn run(self, cancel: &CancellationToken) -> Result<(), String> {
        let Self { runner, kind, hook, holder, host, session, extra } = self;
        let name = kind.name();
        tracing::info!(hook = name, lease = %holder.lease, client = %holder.client, "hook starts");
        let motd = match kind {
            HookKind::BeforeLease => motd::MotdFile::create(),
            // Nobody comes in to read what a check would say.
            HookKind::Check | HookKind::AfterLease => None,
        };
        let mut environment: HashMap<&str, String> = extra.iter().map(|(key, value)| (*key, value.clone())).collect();
        environment.insert("JUMPSTARTER_HOST", host.display().to_string());
        environment.insert("JMP_DRIVERS_ALLOW", "UNSAFE".to_owned());
        environment.insert("LEASE_NAME", holder.lease.clone());
        environment.insert("CLIENT_NAME", holder.client.clone());
        // A terminal only so that lines come as they are written: nobody is there to answer.
        environment.insert("TERM", "dumb".to_owned());
        environment.insert("DEBIAN_FRONTEND", "noninteractive".to_owned());
        environment.insert("GIT_TERMINAL_PROMPT", "0".to_owned());
        if let Some(motd) = &motd {
            environment.insert("JMP_MOTD_FILE", motd.path().display().to_string());
        }
        let log = HookLog { kind, ring: session.logs() };
        let limit = Duration::from_secs(hook.timeout);
        let mut line = |text: &str| log.line(LogLevel::Info, text);
        let argv = command::argv(hook);
        let program = HookProgram { argv: &argv, environment: &environment, limit, cancel, line: &mut line };
        let outcome = runner.run(program).await;
        if let Some(text) = motd.and_then(motd::MotdFile::read) {
            session.add_motd(&text);
        }
        match &outcome {
            Ok(()) => tracing::info!(hook = name, "hook completed"),
            Err(failure) if hook.on_failure == OnFailure::Warn => {
                log.line(LogLevel::Warning, &format!("{failure} (on_failure=warn, continuing)"));
            }
            Err(failure) => {
                let word = if hook.on_failure == OnFailure::Exit { "exit" } else { "endLease" };
                log.line(LogLevel::Error, &format!("{failure} (on_failure={word})"));
            }
        }
        outcome
    }
}

/// Where a hook's lines go: the session's log and the host's.
struct HookLog<'a> {
    kind: HookKind,
    ring: &'a LogRing,
}

impl HookLog<'_> {
    fn line(&self, level: LogLevel, message: &str) {
        let hook = self.kind.name();
        match level {
            LogLevel::Debug => tracing::debug!(hook, "{message}"),
            LogLevel::Info => tracing::info!(hook, "{message}"),
            LogLevel::Warning => tracing::warn!(hook, "{message}"),
            LogLevel::Error => tracing::error!(hook, "{message}"),
        }
        self.ring.push(LogStreamResponse {
            severity: level.as_str().to_owned(),
            message: message.to_owned(),
            source: Some(self.kind.source().into()),
            timestamp: Some(std::time::SystemTime::now().into()),
            ..LogStreamResponse::default()
        });
    }
}
