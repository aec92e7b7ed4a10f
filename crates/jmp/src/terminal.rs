//! Colours and movement, for terminals only.
use std::{
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Somebody may want to look.
    Warning,
    /// Something is wrong.
    Bad,
}

/// Colours may go to standard output.
pub(crate) fn stdout_colours() -> bool {
    wanted() && std::io::stdout().is_terminal()
}

/// Colours may go to standard error.
pub(crate) fn stderr_colours() -> bool {
    wanted() && std::io::stderr().is_terminal()
}

fn wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Paints `text` when `colours` may be used.
pub(crate) fn paint(text: &str, tone: Tone, colours: bool) -> String {
    if !colours {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Warning => "33",
        Tone::Bad => "31",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A person watches, and may be shown something that moves.
pub(crate) fn interactive() -> bool {
    let scripted =
        std::env::var("NONINTERACTIVE").is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
    !scripted && wanted() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// A spinner stands in the last line of the terminal.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Standard error for whole lines: a spinner makes room for them.
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if DRAWN.swap(false, Ordering::Relaxed) {
            stderr.write_all(b"\r\x1b[K")?;
        }
        stderr.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// One line on standard error that tells what is waited for and for how long. It goes away with this value.
pub(crate) struct Spinner {
    text: Arc<Mutex<String>>,
    /// Draws until it is dropped; none when nobody watches.
    drawing: Option<JoinSet<()>>,
}

impl Spinner {
    /// Begins to show `text` when a person watches.
    pub(crate) fn start(text: &str) -> Self {
        let shown = Arc::new(Mutex::new(text.to_owned()));
        let drawing = interactive().then(|| {
            let mut tasks = JoinSet::new();
            tasks.spawn(draw(Arc::clone(&shown)));
            tasks
        });
        Self { text: shown, drawing }
    }

    /// Shows another text; without a terminal it becomes a line of the log.
    pub(crate) fn tell(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
        if self.drawing.is_none() {
            tracing::info!("{text}");
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if self.drawing.take().is_some() {
            erase();
        }
    }
}

async fn draw(text: Arc<Mutex<String>>) {
    const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(120));
    for frame in FRAMES.iter().cycle() {
        tick.tick().await;
        let shown = text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = format!("{frame} {shown} ({})", elapsed(started.elapsed()));
        let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col));
        // A line that wraps could not be drawn over.
        let line: String = line.chars().take(width.saturating_sub(1)).collect();
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r{line}\x1b[K");
        let _ = stderr.flush();
        DRAWN.store(true, Ordering::Relaxed);
    }
}

fn erase() {
    // An empty line of text makes the room, and leaves it.
    let _ = Lines.write(b"").and_then(|_| Lines.flush());
}

/// `h:mm:ss`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}
