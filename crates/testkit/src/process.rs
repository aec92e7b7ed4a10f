//! A process that runs beside the test: its output goes to a log, its end is awaited with a limit.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Sandbox,
    wait::{MINUTE, eventually, within},
};

/// A running process. Dropping it kills it; its sandbox ends whatever it left behind.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs in one log.
    #[track_caller]
    pub fn start(sandbox: &Sandbox, name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::start_with_stdin(sandbox, name, command)
    }

    /// Starts `command` with the input that it was given.
    #[track_caller]
    pub fn start_with_stdin(sandbox: &Sandbox, name: &str, mut command: Command) -> Self {
        let log = sandbox.log(name);
        let file = File::create(&log).expect("create a log");
        let second = file.try_clone().expect("share the log");
        let child =
            command.stdout(file).stderr(second).spawn().unwrap_or_else(|error| {
                panic!("start {name} ({}): {error}", Path::new(command.get_program()).display())
            });
        Self { name: name.to_owned(), child, log }
    }

    /// Starts `command` with the input and the outputs that it was given.
    #[track_caller]
    pub(crate) fn spawn(sandbox: &Sandbox, name: &str, mut command: Command) -> Self {
        let log = sandbox.log(name);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {name} ({}): {error}", Path::new(command.get_program()).display()));
        Self { name: name.to_owned(), child, log }
    }

    /// Everything it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How many lines of its output contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.output().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until a line of its output contains `text`, and returns the first such line.
    #[track_caller]
    pub fn wait_line(&mut self, text: &str) -> String {
        self.wait_lines(text, 1)
    }

    /// Waits until `count` lines contain `text`, and returns the last of these.
    #[track_caller]
    pub fn wait_lines(&mut self, text: &str, count: usize) -> String {
        let mut ended = None;
        let found = within(MINUTE, || {
            // Asked first: what it wrote before it ended must still be seen.
            ended = self.try_wait();
            let output = self.output();
            let line = output.lines().filter(|line| line.contains(text)).nth(count - 1);
            line.map(|line| Some(line.to_owned())).or_else(|| ended.map(|_| None))
        });
        match found {
            Some(Some(line)) => line,
            Some(None) => panic!("{} ended ({ended:?}) without `{text}`:\n{}", self.name, self.output()),
            None => panic!("{} never wrote `{text}`:\n{}", self.name, self.output()),
        }
    }

    /// Its exit status if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for a child's status")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("end of {name}"), limit, || self.try_wait())
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.try_wait().is_none() {
            kill_process(self.pid(), signal).expect("signal a child that was not waited for");
        }
    }

    /// It, and every process that it started and that is still below it.
    pub fn tree(&self) -> Vec<Pid> {
        let mut pids = descendants(self.pid());
        pids.insert(0, self.pid());
        pids
    }

    /// Kills it and every process that it started, as `kill -9` on each would.
    pub fn kill_tree(&mut self) {
        self.kill_tree_quietly();
        self.wait(MINUTE);
    }

    /// The same for a place that must not panic.
    pub(crate) fn kill_tree_quietly(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            for pid in self.tree() {
                // One may end between being listed and being killed.
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }

    /// The process identifier.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The children of `pid`, their children, and so on.
fn descendants(pid: Pid) -> Vec<Pid> {
    let number = pid.as_raw_nonzero();
    let tasks = fs::read_dir(format!("/proc/{number}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let direct: Vec<Pid> = children
        .flat_map(|list| {
            list.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect::<Vec<_>>()
        })
        .collect();
    direct.into_iter().flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(sandbox: &Sandbox, script: &str) -> Process {
        let mut command = sandbox.command(Path::new("/bin/sh"), "test");
        command.args(["-c", script]);
        Process::start(sandbox, "shell", command)
    }

    #[test]
    fn lines_are_awaited() {
        let sandbox = Sandbox::new();
        let mut process = shell(&sandbox, "echo one; echo two >&2; echo one more; exec sleep 600");
        assert_eq!(process.wait_line("two"), "two");
        assert_eq!(process.wait_lines("one", 2), "one more");
        assert_eq!(process.try_wait(), None);
    }

    #[test]
    #[should_panic(expected = "without `two`")]
    fn the_end_of_a_process_ends_the_wait() {
        let sandbox = Sandbox::new();
        shell(&sandbox, "echo one").wait_line("two");
    }

    #[test]
    fn a_whole_tree_is_killed() {
        let sandbox = Sandbox::new();
        let mut process = shell(&sandbox, "setsid sh -c 'echo up; sleep 600; echo late' & wait");
        process.wait_line("up");
        process.kill_tree();
        assert_eq!(process.output(), "up\n");
    }
}
