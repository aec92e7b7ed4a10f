//! One run of a command, its output as it comes.
use std::{
    collections::HashMap,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, ChildStderr, ChildStdout},
    time::{Instant, sleep_until},
};

use crate::{
    DriverError, DriverLog, Value, ValueStream,
    process::{Group, Groups},
};

/// The code of a command that ran out of time.
const TIMED_OUT: i32 = 199;
/// Output in one item.
const CHUNK: usize = 16 * 1024;
/// How long output is awaited from what an ended command left running with its pipes.
const DRAIN: Duration = Duration::from_secs(2);

/// Everything about a run, checked.
pub(crate) struct Command {
    pub(crate) shell: Vec<String>,
    pub(crate) script: String,
    /// The method, which is `$0`.
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: HashMap<String, String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) timeout: Duration,
}

impl Command {
    /// Starts the command. Its output waits in pipes for whoever reads the stream; dropping the stream kills it.
    pub(crate) fn run(self, groups: &Groups, log: &DriverLog) -> Result<ValueStream, DriverError> {
        let (program, first) = self.shell.split_first().ok_or_else(|| DriverError::Other("no shell".to_owned()))?;
        let mut command = tokio::process::Command::new(program);
        command.args(first).arg(&self.script).arg(&self.name).args(&self.args).envs(&self.env);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(|source| DriverError::Io {
            message: format!("start {program} for {}: {source}", self.name),
            source,
        })?;
        let run = Run {
            group: groups.add(&child),
            stdout: Pipe::new(child.stdout.take()),
            stderr: Pipe::new(child.stderr.take()),
            child,
            exited: None,
            deadline: Instant::now() + self.timeout,
            timeout: self.timeout,
            name: self.name,
            log: log.clone(),
        };
        Ok(stream::unfold(Some(run), |run| async move {
            let (item, rest) = Box::pin(run?.next()).await;
            Some((Ok(item), rest))
        })
        .boxed())
    }
}

struct Run {
    child: Child,
    group: Group,
    stdout: Pipe<ChildStdout>,
    stderr: Pipe<ChildStderr>,
    exited: Option<ExitStatus>,
    deadline: Instant,
    timeout: Duration,
    name: String,
    log: DriverLog,
}

impl Run {
    /// The next item, and the run unless it was the last one.
    async fn next(mut self) -> (Value, Option<Self>) {
        loop {
            if self.exited.is_some() && self.stdout.ended && self.stderr.ended {
                return self.finish();
            }
            tokio::select! {
                // Reads and `wait` are cancel safe by their documentation.
                text = self.stdout.read(), if !self.stdout.ended => {
                    if !text.is_empty() {
                        return (json!([text, "", null]), Some(self));
                    }
                }
                text = self.stderr.read(), if !self.stderr.ended => {
                    if !text.is_empty() {
                        return (json!(["", text, null]), Some(self));
                    }
                }
                status = self.child.wait(), if self.exited.is_none() => {
                    self.exited = Some(status.unwrap_or_else(|_| ExitStatus::from_raw(0xff00)));
                    self.deadline = Instant::now() + DRAIN;
                }
                () = sleep_until(self.deadline) => {
                    if self.exited.is_some() {
                        return self.finish();
                    }
                    return self.expire().await;
                }
            }
        }
    }

    fn finish(self) -> (Value, Option<Self>) {
        let status = self.exited.unwrap_or_default();
        // As Python has it: a signal is a negative code.
        let code = status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1);
        if code != 0 {
            self.log.info(&format!("{} return code: {code}", self.name));
        }
        self.group.release();
        (json!(["", "", code]), None)
    }

    async fn expire(self) -> (Value, Option<Self>) {
        let text = format!("Timeout expired while running {} after {} seconds", self.name, self.timeout.as_secs());
        self.log.warning(&text);
        let Self { group, mut child, .. } = self;
        // Waiting beside reaps the first process; else its group would look alive for the whole grace.
        let _ = tokio::join!(group.end(), child.wait());
        (json!(["", format!("\n{text}\n"), TIMED_OUT]), None)
    }
}

/// One pipe as text; a character that is cut by a read waits for its rest.
struct Pipe<R> {
    source: Option<R>,
    kept: Vec<u8>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(source: Option<R>) -> Self {
        Self { ended: source.is_none(), source, kept: Vec::new() }
    }

    /// The next text; empty at the end, or when there is not a whole character yet.
    async fn read(&mut self) -> String {
        let Some(source) = &mut self.source else {
            self.ended = true;
            return String::new();
        };
        let mut chunk = [0; CHUNK];
        let n = source.read(&mut chunk).await.unwrap_or(0);
        self.kept.extend_from_slice(&chunk[..n]);
        self.ended = n == 0;
        take_text(&mut self.kept, self.ended)
    }
}

/// Takes what is whole; all of it when `ended`.
fn take_text(bytes: &mut Vec<u8>, ended: bool) -> String {
    let cut = match std::str::from_utf8(bytes) {
        Err(err) if err.error_len().is_none() && !ended => err.valid_up_to(),
        // A broken character in the middle: only the last bytes can be the start of a whole one.
        Err(_) if !ended => {
            let tail = (1..4.min(bytes.len())).find(|n| {
                matches!(std::str::from_utf8(&bytes[bytes.len() - n..]), Err(err) if err.valid_up_to() == 0 && err.error_len().is_none())
            });
            bytes.len() - tail.unwrap_or(0)
        }
        _ => bytes.len(),
    };
    let rest = bytes.split_off(cut);
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = rest;
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_the_same_however_it_is_cut(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x80..0xf5_u8], 0..60), at in 1_usize..7) {
            let mut kept = Vec::new();
            let mut text = String::new();
            for chunk in bytes.chunks(at) {
                kept.extend_from_slice(chunk);
                text.push_str(&take_text(&mut kept, false));
                prop_assert!(kept.len() < 4);
            }
            text.push_str(&take_text(&mut kept, true));
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn whole_text_survives_any_cut(whole in "[a-zä€😀]{0,20}", at in 1_usize..5) {
            let mut kept = Vec::new();
            let mut text = String::new();
            for chunk in whole.as_bytes().chunks(at) {
                kept.extend_from_slice(chunk);
                text.push_str(&take_text(&mut kept, false));
            }
            prop_assert_eq!(text, whole);
            prop_assert!(kept.is_empty());
        }
    }
}
