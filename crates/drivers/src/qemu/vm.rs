//! One running emulator: its process group, its console, and what it says before it ends.
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncReadExt as _,
    net::UnixListener,
    process::{Child, ChildStderr, Command},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::{
    DriverError, DriverLog, Value,
    process::{GRACE, Group, Groups},
};

use super::{program, qmp::Qmp};

/// From the start of the process to its first word; a busy host needs some of it.
const START_LIMIT: Duration = Duration::from_secs(30);
/// What is kept of its last words.
const TAIL: usize = 2048;
/// From the end of a connection to the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where a machine has its sockets.
pub(super) struct Places {
    pub(super) qmp: PathBuf,
    pub(super) vnc: PathBuf,
    /// Link to the terminal of its serial port; not there while no machine runs.
    pub(super) pty: PathBuf,
}

/// A running machine. Dropping it kills it.
pub(super) struct Vm {
    group: Group,
    /// Why it ended.
    ended: watch::Receiver<Option<String>>,
    stopping: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    pid: Option<u32>,
}

impl Vm {
    /// Starts `program` with its machine halted before the first instruction; [`run`](Self::run) sets it going.
    pub(super) fn spawn(
        program: &Path,
        args: &[String],
        places: &Places,
        log: &DriverLog,
    ) -> Result<(Self, UnixListener), DriverError> {
        let shown = program.display().to_string();
        // The emulator connects to us, so that neither has to wait for a file to appear.
        let listener = listen(&places.qmp)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let spawned = command.process_group(0).kill_on_drop(true).spawn();
        let mut child = spawned.map_err(|source| program::failed(&shown, source))?;
        let pid = child.id();
        let group = Groups::default().add(&child);
        let (told, ended) = watch::channel(None);
        let stopping = Arc::new(AtomicBool::new(false));
        let stderr = child.stderr.take();
        let mut tasks = JoinSet::new();
        let watched = Watched { child, pty: places.pty.clone(), log: log.clone(), stopping: Arc::clone(&stopping) };
        tasks.spawn(watched.watch(stderr, told));
        Ok((Self { group, ended, stopping, tasks, pid }, listener))
    }

    /// Waits for the emulator to be there, links its serial port and lets the machine run.
    pub(super) async fn run(
        &mut self,
        listener: UnixListener,
        places: &Places,
        log: &DriverLog,
    ) -> Result<(), DriverError> {
        let ended = self.ended.clone();
        let work = async {
            let (stream, _) = listener.accept().await.map_err(|source| DriverError::Io {
                message: format!("accept the emulator's control connection: {source}"),
                source,
            })?;
            let mut qmp = Qmp::new(stream).await?;
            let terminal = terminal(&qmp.execute("query-chardev").await?)?;
            link(&terminal, &places.pty)?;
            qmp.execute("cont").await?;
            Ok(qmp)
        };
        let done = tokio::select! {
            // An emulator that ends closes its connection too; why it ended says more.
            biased;
            why = over(ended.clone()) => return Err(early(&why)),
            done = timeout(START_LIMIT, work) => done,
        };
        let qmp = match done {
            Ok(Ok(qmp)) => qmp,
            // Most likely it has ended, and is about to say why.
            Ok(Err(err)) => return Err(timeout(LAST_WORDS, over(ended)).await.map_or(err, |why| early(&why))),
            Err(_) => {
                let seconds = START_LIMIT.as_secs();
                return Err(DriverError::Timeout(format!("the emulator was not ready within {seconds} s")));
            }
        };
        self.tasks.spawn(tell_events(qmp, log.clone()));
        Ok(())
    }

    /// The first process of its group.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Why the machine has ended, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Asks the emulator to end, and kills it after [`GRACE`]. Nothing of it runs afterwards.
    pub(super) async fn stop(mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if self.ended().is_none() {
            self.group.end().await;
            // Killed or not, the watching task reaps it.
            let _ = timeout(GRACE, over(self.ended.clone())).await;
        }
        if self.ended().is_some() {
            self.group.release();
        }
        self.tasks.shutdown().await;
    }
}

/// Waits for the machine to end and tells why.
async fn over(mut ended: watch::Receiver<Option<String>>) -> String {
    let why = ended.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    why.unwrap_or_else(|| "nobody knows why".to_owned())
}

fn early(why: &str) -> DriverError {
    DriverError::Other(format!("the virtual machine did not start: {why}"))
}

fn listen(path: &Path) -> Result<UnixListener, DriverError> {
    // What a machine before has left.
    let _ = fs::remove_file(path);
    UnixListener::bind(path)
        .map_err(|source| DriverError::Io { message: format!("listen on {}: {source}", path.display()), source })
}

/// The terminal of the first serial port, as `query-chardev` tells it.
fn terminal(devices: &Value) -> Result<String, DriverError> {
    let mut devices = devices.as_array().into_iter().flatten();
    let serial = devices.find(|device| device["label"] == "serial0").and_then(|device| device["filename"].as_str());
    let path = serial.and_then(|name| name.strip_prefix("pty:")).map(str::to_owned);
    path.ok_or_else(|| DriverError::Other("the emulator has no terminal for the serial port".to_owned()))
}

fn link(terminal: &str, pty: &Path) -> Result<(), DriverError> {
    let made = match fs::remove_file(pty) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => symlink(terminal, pty),
    };
    made.map_err(|source| DriverError::Io {
        message: format!("link {} to {terminal}: {source}", pty.display()),
        source,
    })
}

/// The process, until it has ended.
struct Watched {
    child: Child,
    pty: PathBuf,
    log: DriverLog,
    stopping: Arc<AtomicBool>,
}

impl Watched {
    async fn watch(mut self, mut stderr: Option<ChildStderr>, told: watch::Sender<Option<String>>) {
        let mut tail = Vec::new();
        let mut buffer = [0; TAIL];
        let status = loop {
            tokio::select! {
                // `wait` and `read` are cancel safe by their documentation.
                status = self.child.wait() => break status,
                read = read(&mut stderr, &mut buffer) => match read {
                    0 => stderr = None,
                    n => self.keep(&mut tail, &buffer[..n]),
                },
            }
        };
        // What it said last may still be in the pipe, which nobody else holds.
        while stderr.is_some()
            && let Ok(n @ 1..) = timeout(LAST_WORDS, read(&mut stderr, &mut buffer)).await
        {
            self.keep(&mut tail, &buffer[..n]);
        }
        // Its terminal's number is given to someone else next.
        let _ = fs::remove_file(&self.pty);
        let status = status.map_or_else(|err| err.to_string(), |status| status.to_string());
        let said = String::from_utf8_lossy(&tail).trim().to_owned();
        let why = if said.is_empty() { status } else { format!("{status}: {said}") };
        if !self.stopping.load(Ordering::Relaxed) {
            self.log.warning(&format!("the virtual machine ended ({why})"));
        }
        told.send_replace(Some(why));
    }

    fn keep(&self, tail: &mut Vec<u8>, said: &[u8]) {
        for line in String::from_utf8_lossy(said).lines().filter(|line| !line.trim().is_empty()) {
            self.log.debug(&format!("emulator: {line}"));
        }
        tail.extend_from_slice(said);
        let old = tail.len().saturating_sub(TAIL);
        tail.drain(..old);
    }
}

/// Bytes read; 0 at the end or when it cannot be read. Waits for ever when there is nothing to read from.
async fn read(from: &mut Option<ChildStderr>, buffer: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// Tells the log what happens in the machine; also keeps the emulator from gathering what nobody reads.
async fn tell_events(mut qmp: Qmp, log: DriverLog) {
    while let Some(event) = qmp.event().await {
        match event.name.as_str() {
            "SHUTDOWN" => {
                let reason = event.data["reason"].as_str().unwrap_or("unknown reason");
                log.info(&format!("the virtual machine shuts down ({reason})"));
            }
            "RESET" => log.info("the virtual machine was reset"),
            "BLOCK_IO_ERROR" => {
                let reason = event.data["reason"].as_str().unwrap_or("unknown reason");
                log.warning(&format!("a disk of the virtual machine fails: {reason}"));
            }
            "GUEST_PANICKED" => log.warning("the guest's kernel panicked"),
            _ => {}
        }
    }
}
