//! How far a transfer is, on a terminal.
use std::{
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::terminal;

/// Between two drawings.
const PAUSE: Duration = Duration::from_millis(200);

/// A line that shows the bytes so far; silent where nobody watches.
pub(super) struct Progress {
    total: Option<u64>,
    started: Instant,
    drawn: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// A transfer of `total` bytes, where that is known.
    pub(super) fn new(total: Option<u64>) -> Self {
        Self { total, started: Instant::now(), drawn: None, shown: terminal::stderr_colours() }
    }

    /// Of a file on this machine.
    pub(super) fn of_file(path: &Path) -> Self {
        Self::new(std::fs::metadata(path).ok().map(|found| found.len()))
    }

    /// So many bytes are through.
    pub(super) fn tell(&mut self, bytes: u64) {
        let now = Instant::now();
        if !self.shown || self.drawn.is_some_and(|drawn| now - drawn < PAUSE) {
            return;
        }
        self.drawn = Some(now);
        draw(&line(bytes, self.total, self.started.elapsed()), "");
    }

    /// The transfer has come to its end.
    pub(super) fn finish(&mut self, bytes: u64) {
        if std::mem::take(&mut self.shown) {
            draw(&line(bytes, self.total, self.started.elapsed()), "\n");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.drawn.is_some() {
            draw("", "");
        }
    }
}

fn draw(line: &str, end: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "\r{line}\x1b[K{end}");
    let _ = stderr.flush();
}

fn line(bytes: u64, total: Option<u64>, time: Duration) -> String {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for eyes"
    )]
    let speed = (bytes as f64 / time.as_secs_f64().max(0.001)) as u64;
    let part = match total {
        Some(total) if total > 0 => format!("{:3}% of {}", (bytes.min(total)).saturating_mul(100) / total, size(total)),
        _ => size(bytes),
    };
    format!("transfer {part}  {}/s  {}", size(speed), terminal::elapsed(time))
}

/// `1.5 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "for eyes")]
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit < UNITS.len() - 1 {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let second = Duration::from_secs(1);
        assert_eq!(line(512, None, second), "transfer 512 B  512 B/s  0:00:01");
        assert_eq!(line(1_572_864, Some(3_145_728), second), "transfer  50% of 3.0 MiB  1.5 MiB/s  0:00:01");
        assert_eq!(line(9, Some(0), second), "transfer 9 B  9 B/s  0:00:01");
    }
}
