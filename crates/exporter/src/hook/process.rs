//! A program on a pseudo-terminal, with a limit.
use std::{
    collections::HashMap,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process_group},
    pty::OpenptFlags,
};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, Command},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::lines::Lines;

/// Time between asking a program to end and ending it.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// How long, and how much, is still read when the program has ended: what it started may hold the terminal open.
const DRAIN: Duration = Duration::from_secs(2);
const DRAIN_BYTES: usize = 256 * 1024;
/// Silence after the program's end that says that all was read.
const DRAIN_QUIET: Duration = Duration::from_millis(100);
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// Runs `argv` on a terminal in a process group of its own, passing on its lines, until it ends, `limit` is over or
/// `cancel` fires; in the latter cases the whole group is ended. The error is a sentence for people.
///
/// What the program leaves running when it ends in time is left alone: a hook may start a service for its lease.
pub(super) async fn run(
    argv: &[String],
    environment: &HashMap<&str, String>,
    limit: Duration,
    cancel: &CancellationToken,
    line: &mut (dyn FnMut(&str) + Send),
) -> Result<(), String> {
    let [program, args @ ..] = argv else { return Err("Error executing hook: no program".to_owned()) };
    let (terminal, mut child) =
        start(program, args, environment).map_err(|err| format!("Error executing hook: run {program}: {err}"))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut output = Output { terminal, lines: Lines::default(), open: true, chunk: vec![0; CHUNK] };
    let ended = tokio::select! {
        status = output.follow(&mut child, line) => status.map_err(|err| format!("Error executing hook: {err}")),
        () = tokio::time::sleep(limit) => Err(format!("Hook timed out after {} seconds", limit.as_secs())),
        () = cancel.cancelled() => Err("Hook cancelled: the exporter stops".to_owned()),
    };
    if ended.is_err() {
        end_group(group, &mut child, &mut output, line).await;
    }
    output.drain(line).await;
    output.lines.finish(line);
    let status = ended?;
    if status.success() { Ok(()) } else { Err(failure(status)) }
}

/// The code in the way that people know it: negative for signals.
fn failure(status: ExitStatus) -> String {
    let code = status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1);
    format!("Hook failed with exit code {code}")
}

fn start(program: &str, args: &[String], environment: &HashMap<&str, String>) -> io::Result<(AsyncFd<OwnedFd>, Child)> {
    let terminal = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&terminal)?;
    rustix::pty::unlockpt(&terminal)?;
    let name = rustix::pty::ptsname(&terminal, Vec::new())?;
    let inner = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::ioctl_fionbio(&terminal, true)?;
    let mut command = Command::new(program);
    command
        .args(args)
        .envs(environment)
        .env_remove("PS1")
        // The service manager's socket is for this process alone.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::from(inner.try_clone()?))
        .stdout(Stdio::from(inner.try_clone()?))
        .stderr(Stdio::from(inner))
        // The terminal does not become the controlling one: the end of the program would hang up on what it started.
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn()?;
    // Dropping the command closes our side of the inner end, so that the end of the last program is seen.
    drop(command);
    #[expect(deprecated, reason = "its successor is unsafe, for descriptors that are not owned; this one is")]
    let terminal = AsyncFd::new(terminal)?;
    Ok((terminal, child))
}

/// Ends everything in the program's group, gently first.
async fn end_group(group: Option<Pid>, child: &mut Child, output: &mut Output, line: &mut (dyn FnMut(&str) + Send)) {
    let Some(group) = group else { return };
    // A group that is gone is what we want.
    let _ = kill_process_group(group, Signal::TERM);
    let _ = timeout(TERM_GRACE, output.follow(child, line)).await;
    let _ = kill_process_group(group, Signal::KILL);
    if timeout(TERM_GRACE, child.wait()).await.is_err() {
        tracing::error!(pid = group.as_raw_nonzero(), "a hook cannot be killed: it waits for the kernel");
    }
}

struct Output {
    terminal: AsyncFd<OwnedFd>,
    lines: Lines,
    open: bool,
    chunk: Vec<u8>,
}

impl Output {
    /// Passes on lines until the program ends.
    async fn follow(&mut self, child: &mut Child, line: &mut (dyn FnMut(&str) + Send)) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                // Both are cancel safe: a read that does not happen loses nothing.
                status = child.wait() => return status,
                _ = self.read(line), if self.open => {}
            }
        }
    }

    /// Reads once; the number of bytes, none at the end.
    async fn read(&mut self, line: &mut (dyn FnMut(&str) + Send)) -> usize {
        let Self { terminal, chunk, .. } = self;
        let count = loop {
            let Ok(mut ready) = terminal.readable().await else { break 0 };
            match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut chunk[..])?)) {
                Ok(count) => break count.unwrap_or(0),
                Err(_would_block) => {}
            }
        };
        self.open = count > 0;
        self.lines.push(&self.chunk[..count], line);
        count
    }

    /// Reads what is left in the terminal.
    async fn drain(&mut self, line: &mut (dyn FnMut(&str) + Send)) {
        let until = Instant::now() + DRAIN;
        let mut left = DRAIN_BYTES;
        while self.open && left > 0 {
            let quiet = (Instant::now() + DRAIN_QUIET).min(until);
            match timeout_at(quiet, self.read(line)).await {
                Ok(count) => left = left.saturating_sub(count),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, limit: Duration, cancel: &CancellationToken) -> (Result<(), String>, Vec<String>) {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let mut out = Vec::new();
        let environment = HashMap::from([("WORD", "hello".to_owned())]);
        let outcome = run(&argv, &environment, limit, cancel, &mut |line| out.push(line.to_owned())).await;
        (outcome, out)
    }

    const LONG: Duration = Duration::from_mins(5);

    #[tokio::test]
    async fn lines_codes_and_the_terminal() {
        let never = CancellationToken::new();
        let (outcome, out) = sh("test -t 0 && test -t 1 && echo $WORD; printf err >&2; exit 3", LONG, &never).await;
        assert_eq!(out, ["hello", "err"]);
        assert_eq!(outcome.unwrap_err(), "Hook failed with exit code 3");
        assert_eq!(sh("kill -9 $$", LONG, &never).await.0.unwrap_err(), "Hook failed with exit code -9");
        let many = sh("seq 1 20000", LONG, &never).await;
        assert_eq!((many.0, many.1.len()), (Ok(()), 20000));
        let missing = run(&["/no/such".to_owned()], &HashMap::new(), LONG, &never, &mut |_| {}).await;
        assert!(missing.unwrap_err().contains("run /no/such"));
    }

    #[tokio::test]
    async fn a_late_hook_ends_with_all_that_it_started() {
        let never = CancellationToken::new();
        // The shell ignores the request; its child outlives it unless the group is killed.
        let script = "trap '' TERM; sleep 1000 & echo $!; wait; wait";
        let (outcome, out) = sh(script, Duration::from_secs(1), &never).await;
        assert_eq!(outcome.unwrap_err(), "Hook timed out after 1 seconds");
        let pid = Pid::from_raw(out[0].parse().unwrap()).unwrap();
        let mut looks = 0;
        while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(&out[0]) {
            looks += 1;
            assert!(looks < 6000, "the child of a hook lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_zombie(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z"))
    }

    #[tokio::test]
    async fn a_stopped_hook_ends() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(sh("sleep 1000", LONG, &stop).await.0.unwrap_err().contains("the exporter stops"));
    }

    #[tokio::test]
    async fn what_a_hook_leaves_running_neither_delays_nor_dies() {
        let never = CancellationToken::new();
        let (outcome, out) = sh("sleep 1000 & echo $!", LONG, &never).await;
        assert_eq!(outcome, Ok(()));
        let pid = Pid::from_raw(out[0].parse().unwrap()).unwrap();
        rustix::process::test_kill_process(pid).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
