//! The Python process: requests to it, answers, log records, and how it ended.
use std::{
    collections::{HashMap, VecDeque},
    ffi::OsStr,
    fmt::Write as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use jumpstarter_drivers::{LogLevel, LogSink, printable};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    process::{ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{Mutex as AsyncMutex, mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    lines,
    wire::{Line, Record},
};

const SCRIPT: &str = include_str!("host.py");
/// Importing jumpstarter takes a second or two on a small machine, and much longer on a busy one.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Between the end of its input and the end of a child with nothing to do.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);
/// Longest line of an answer, which holds the whole tree, and of an error stream.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
const MAX_LINE: usize = 64 * 1024;
/// Lines of the error stream that explain how a child ended.
const LAST_WORDS: usize = 12;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// Dotted path of the driver at fault.
    pub(crate) path: Option<String>,
}

/// A running child. Dropping it ends the process and what it started in its group.
pub(crate) struct Child {
    stdin: AsyncMutex<ChildStdin>,
    shared: Arc<Shared>,
    ended: watch::Receiver<Option<String>>,
    group: Option<Pid>,
    /// Reads what the child says and waits for its end.
    _tasks: JoinSet<()>,
    /// Dropped to have the process killed.
    _alive: mpsc::Sender<()>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Asked>,
    sinks: Mutex<HashMap<u64, Arc<dyn LogSink>>>,
    last_words: Mutex<VecDeque<String>>,
}

#[derive(Default)]
struct Asked {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Value, Failure>>>,
    /// No answer will come any more.
    over: bool,
}

impl Child {
    /// Starts `interpreter` and waits until it can host drivers. The error is a text for the operator.
    pub(crate) async fn start(interpreter: &OsStr) -> Result<Self, String> {
        let shown = interpreter.to_string_lossy().into_owned();
        let mut command = Command::new(interpreter);
        command.args(["-u", "-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: a Ctrl-C at the exporter's terminal is the exporter's business.
        command.process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(|err| {
            format!(
                "start '{shown}' for the drivers that are written in Python: {err}. Install Python 3 with \
                 `pip install jumpstarter-driver-composite` and the drivers' packages, and name it in JMP_PYTHON"
            )
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(format!("start '{shown}': its pipes are missing"));
        };
        let group = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let shared = Arc::new(Shared::default());
        let (ready, started) = oneshot::channel();
        let (end, ended) = watch::channel(None);
        let (alive, mut dropped) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let words = Arc::clone(&shared);
        let answers = Arc::clone(&shared);
        tasks.spawn(async move {
            let listening = async { tokio::join!(read(stdout, &answers, ready), repeat(stderr, &words)) };
            let exit = async {
                let ((), ()) = listening.await;
                process.wait().await
            };
            let status = tokio::select! {
                status = exit => status,
                // Nobody wants the child any more: its end needs no explanation.
                _ = dropped.recv() => return,
            };
            let why = obituary(status, &words);
            tracing::warn!(%why, "the Python process of the drivers ended");
            end.send_replace(Some(why.clone()));
            answers.fail(&why);
        });
        let child = Self { stdin: AsyncMutex::new(stdin), shared, ended, group, _tasks: tasks, _alive: alive };
        match timeout(START_LIMIT, started).await {
            Ok(Ok(Ok(python))) => {
                tracing::info!(%python, "Python drivers are hosted");
                Ok(child)
            }
            Ok(Ok(Err(fatal))) => Err(format!("'{shown}' cannot host drivers: {fatal}")),
            Ok(Err(_)) => Err(format!("'{shown}' ended at once: {}", child.why().await)),
            Err(_) => Err(format!("'{shown}' was not ready to host drivers after {} s", START_LIMIT.as_secs())),
        }
    }

    /// How the child ended; none while it runs.
    pub(crate) fn ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for the end and says why.
    async fn why(&self) -> String {
        let mut ended = self.ended.clone();
        match timeout(LEAVE_LIMIT, ended.wait_for(Option::is_some)).await {
            Ok(Ok(why)) => why.clone().unwrap_or_default(),
            _ => "it closed its output".to_owned(),
        }
    }

    /// Gives the session `key` what drivers log.
    pub(crate) fn listen(&self, key: u64, sink: Arc<dyn LogSink>) {
        self.shared.sinks.lock().expect("no code panics while it holds the sinks").insert(key, sink);
    }

    pub(crate) fn unlisten(&self, key: u64) {
        self.shared.sinks.lock().expect("no code panics while it holds the sinks").remove(&key);
    }

    /// One request and its answer. A child that does not answer within `limit` is killed.
    pub(crate) async fn ask(&self, request: &str, with: Value, limit: Duration) -> Result<Value, Failure> {
        let (id, answer) = self.shared.expect_answer().ok_or_else(|| self.gone())?;
        let mut line = json!({"id": id, "do": request, "with": with}).to_string();
        line.push('\n');
        let exchange = async {
            let sent = self.stdin.lock().await.write_all(line.as_bytes()).await;
            // A broken pipe means that the child ended; the answer's sender is dropped then.
            drop(sent);
            answer.await
        };
        match timeout(limit, exchange).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.gone()),
            Err(_) => {
                self.kill();
                let seconds = limit.as_secs();
                let message = format!(
                    "the Python process of the drivers did not {request} them within {seconds} s and was killed"
                );
                Err(Failure { message, path: None })
            }
        }
    }

    fn gone(&self) -> Failure {
        let message = self.ended().unwrap_or_else(|| "the Python process of the drivers is gone".to_owned());
        Failure { message, path: None }
    }

    fn kill(&self) {
        if let Some(group) = self.group.filter(|_| self.ended().is_none()) {
            // It may be gone already, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    /// A number and the place where its answer arrives; none when the child has ended.
    fn expect_answer(&self) -> Option<(u64, oneshot::Receiver<Result<Value, Failure>>)> {
        let mut asked = self.asked.lock().expect("no code panics while it holds the requests");
        if asked.over {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        asked.last += 1;
        let id = asked.last;
        asked.waiting.insert(id, sender);
        Some((id, receiver))
    }

    fn answer(&self, id: u64, result: Result<Value, Failure>) {
        let waiting = self.asked.lock().expect("no code panics while it holds the requests").waiting.remove(&id);
        if let Some(waiting) = waiting {
            // Whoever asked may have given up.
            let _ = waiting.send(result);
        }
    }

    fn fail(&self, why: &str) {
        let mut asked = self.asked.lock().expect("no code panics while it holds the requests");
        asked.over = true;
        for (_, waiting) in asked.waiting.drain() {
            let _ = waiting.send(Err(Failure { message: why.to_owned(), path: None }));
        }
    }

    fn log(&self, record: &Record) {
        let Record { logger, level, text } = record;
        let level = match level {
            ..20 => LogLevel::Debug,
            20..30 => LogLevel::Info,
            30..40 => LogLevel::Warning,
            40.. => LogLevel::Error,
        };
        let text = printable(text);
        let Some(driver) = logger.strip_prefix("driver.") else {
            tracing::debug!(logger, level = level.as_str(), "{text}");
            return;
        };
        tracing::info!(driver, level = level.as_str(), "{text}");
        for sink in self.sinks.lock().expect("no code panics while it holds the sinks").values() {
            sink.line(level, driver, &text);
        }
    }

    fn remember(&self, line: String) {
        let mut words = self.last_words.lock().expect("no code panics while it holds the lines");
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(line);
    }
}

/// Hands on answers and records until the child's output ends.
async fn read(stdout: ChildStdout, shared: &Shared, ready: oneshot::Sender<Result<String, String>>) {
    let mut ready = Some(ready);
    let mut stdout = BufReader::new(stdout);
    while let Ok(Some(line)) = lines::next(&mut stdout, MAX_ANSWER).await {
        match serde_json::from_slice(&line) {
            Ok(Line::Log { log }) => shared.log(&log),
            Ok(Line::Done { id, result }) => shared.answer(id, Ok(result)),
            Ok(Line::Failed { id, error, path }) => {
                let path = path.filter(|path| !path.is_empty());
                shared.answer(id, Err(Failure { message: error, path }));
            }
            Ok(Line::Ready { ready: python }) => {
                if let Some(ready) = ready.take() {
                    let _ = ready.send(Ok(python));
                }
            }
            Ok(Line::Fatal { fatal, module, python }) => {
                if let Some(ready) = ready.take() {
                    let _ = ready.send(Err(mend(&fatal, module.as_deref(), &python)));
                }
            }
            Err(err) => tracing::debug!(%err, "the Python process said what nobody asked"),
        }
    }
}

/// What is missing and how to get it.
fn mend(fatal: &str, module: Option<&str>, python: &str) -> String {
    match module.and_then(|module| module.split('.').next()) {
        Some(package) if package.starts_with("jumpstarter") => {
            let package = package.replace('_', "-");
            format!(
                "{fatal}. Run `{python} -m pip install {package} jumpstarter-driver-composite`, or name another interpreter in JMP_PYTHON"
            )
        }
        _ => format!("{fatal} ({python})"),
    }
}

/// Hands the error stream on to the log.
async fn repeat(stderr: ChildStderr, shared: &Shared) {
    let mut stderr = BufReader::new(stderr);
    while let Ok(Some(line)) = lines::next(&mut stderr, MAX_LINE).await {
        let line = printable(&String::from_utf8_lossy(&line));
        tracing::info!(target: "python", "{line}");
        shared.remember(line);
    }
}

/// How the child ended, with its last words.
fn obituary(status: std::io::Result<ExitStatus>, shared: &Shared) -> String {
    let mut text = match status {
        Ok(status) => format!("the Python process of the drivers ended ({status})"),
        Err(err) => format!("the Python process of the drivers is lost ({err})"),
    };
    let words = shared.last_words.lock().expect("no code panics while it holds the lines");
    if !words.is_empty() {
        let _ = write!(text, ": {}", words.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" | "));
    }
    text
}
