//! A program on a terminal of its own, as a person has it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{Mode, OFlags},
    process::Pid,
    pty::OpenptFlags,
    termios::Winsize,
};

use crate::{
    Process, Sandbox,
    wait::{MINUTE, within},
};

/// How often the one who reads a terminal looks whether it was closed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What Ctrl-C sends.
pub const CTRL_C: &str = "\x03";

/// A terminal with a program that it controls. Dropping it kills the program.
#[derive(Debug)]
pub struct Terminal {
    keys: Option<File>,
    screen: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    process: Process,
}

/// Both ends of a new pseudo-terminal: ours, and the program's.
#[track_caller]
pub fn pair() -> (OwnedFd, OwnedFd, String) {
    let ours =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("open a terminal");
    rustix::pty::grantpt(&ours).expect("grant the terminal");
    rustix::pty::unlockpt(&ours).expect("unlock the terminal");
    let name = rustix::pty::ptsname(&ours, Vec::new()).expect("name the terminal");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(&*name, flags, Mode::empty()).expect("open the terminal's other end");
    (ours, theirs, name.into_string().expect("names of terminals are plain"))
}

impl Terminal {
    /// Starts `command` as the leader of a session on a terminal of 40 lines of 150 characters, with colours.
    #[track_caller]
    pub fn start(sandbox: &Sandbox, name: &str, command: &Command) -> Self {
        let (ours, theirs, _) = pair();
        let size = Winsize { ws_row: 40, ws_col: 150, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&theirs, size).expect("size the terminal");
        // The program of util-linux gives it its controlling terminal.
        let mut on_terminal = Command::new("setsid");
        on_terminal.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        on_terminal.env("TERM", "xterm-256color");
        let plain = |name: &&std::ffi::OsStr| *name != "TERM" && *name != "NO_COLOR";
        for (name, value) in command.get_envs().filter(|(name, _)| plain(name)) {
            match value {
                Some(value) => on_terminal.env(name, value),
                None => on_terminal.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            on_terminal.current_dir(dir);
        }
        let copy = || Stdio::from(theirs.try_clone().expect("share the terminal"));
        on_terminal.stdin(copy()).stdout(copy()).stderr(copy());
        let process = Process::spawn(sandbox, name, on_terminal);
        drop(theirs);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let keys = File::from(ours);
        let mut output = keys.try_clone().expect("share the terminal");
        let closed = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (screen, closed) = (Arc::clone(&screen), Arc::clone(&closed));
            move || {
                let mut chunk = [0; 4096];
                while !closed.load(Ordering::Relaxed) {
                    let mut ready = [PollFd::new(&output, PollFlags::IN)];
                    if !rustix::event::poll(&mut ready, Some(&LOOK)).is_ok_and(|count| count > 0) {
                        continue;
                    }
                    // The last program that leaves a terminal makes reading fail.
                    let Ok(count @ 1..) = output.read(&mut chunk) else { return };
                    screen.lock().expect("nobody panics here").extend_from_slice(&chunk[..count]);
                }
            }
        });
        Self { keys: Some(keys), screen, closed, reader: Some(reader), process }
    }

    /// Types. That nobody reads it any more is no error, as it is none for a person.
    pub fn keys(&mut self, text: &str) {
        if let Some(keys) = &mut self.keys {
            let _ = keys.write_all(text.as_bytes());
        }
    }

    /// Everything that was written to it so far, escape sequences and all.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("nobody panics here")).into_owned()
    }

    /// Waits until `text` was written, and returns all of it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_times(text, 1)
    }

    /// Waits until `text` was written so many times.
    #[track_caller]
    pub fn wait_times(&mut self, text: &str, times: usize) -> String {
        let found = within(MINUTE, || {
            let ended = self.process.try_wait().is_some();
            let screen = self.screen();
            let there = screen.matches(text).count() >= times;
            (there || ended).then_some((there, screen))
        });
        match found {
            Some((true, screen)) => screen,
            Some((false, _)) => {
                // What it wrote last is still on its way through the reader.
                let last = within(Duration::from_secs(5), || Some(self.screen()).filter(|all| all.contains(text)));
                last.unwrap_or_else(|| panic!("the program ended without `{text}`:\n{}", self.screen()))
            }
            None => panic!("`{text}` was never written:\n{}", self.screen()),
        }
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let status = within(MINUTE, || self.process.try_wait());
        status.unwrap_or_else(|| panic!("the program does not end:\n{}", self.screen()))
    }

    /// The program.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Closes the window, so that the system hangs up on those who are on it, and waits for the program's end.
    #[track_caller]
    pub fn close(mut self) {
        self.let_go();
        self.wait();
    }

    /// Nobody holds this end of the terminal any more.
    fn let_go(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.keys = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("──── screen ────\n{}", self.screen());
        }
        self.process.kill_tree_quietly();
        self.let_go();
    }
}
