//! What drivers have to tell the people of a session.
use std::{fmt::Write as _, sync::Arc};

/// How serious a line is; names are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `DEBUG`
    Debug,
    /// `INFO`
    Info,
    /// `WARNING`
    Warning,
    /// `ERROR`
    Error,
}

impl LogLevel {
    /// The level of a Python name; nothing here is more serious than an error.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "DEBUG" | "NOTSET" => Some(Self::Debug),
            "INFO" => Some(Self::Info),
            "WARNING" | "WARN" => Some(Self::Warning),
            "ERROR" | "CRITICAL" | "FATAL" => Some(Self::Error),
            _ => None,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// Longest line that people are shown: some screens of text.
const MAX_LINE: usize = 16 * 1024;

/// A line as a terminal may show it: control characters but tab and line feed are written out, so that nothing a
/// device says can steer somebody's terminal, and what exceeds 16 KiB is cut off with a word about it.
#[must_use]
pub fn printable(text: &str) -> String {
    let cut = text.floor_char_boundary(MAX_LINE);
    let mut shown = String::with_capacity(cut);
    for c in text[..cut].chars() {
        match c {
            '\t' | '\n' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_debug()),
            c => shown.push(c),
        }
    }
    if cut < text.len() {
        // Writing to a string cannot fail.
        let _ = write!(shown, " … ({} more bytes)", text.len() - cut);
    }
    shown
}

/// Where the lines of a session's drivers go.
pub trait LogSink: Send + Sync {
    /// Takes one line of the driver class `driver`.
    fn line(&self, level: LogLevel, driver: &str, message: &str);
}

/// Takes lines and forgets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl LogSink for NoLog {
    fn line(&self, _level: LogLevel, _driver: &str, _message: &str) {}
}

/// A driver's own log: to the host's log and to the clients of the session.
#[derive(Clone)]
pub struct DriverLog {
    driver: Arc<str>,
    sink: Arc<dyn LogSink>,
    level: LogLevel,
}

impl DriverLog {
    /// The log of driver class `driver`.
    pub fn new(driver: impl Into<Arc<str>>, sink: Arc<dyn LogSink>) -> Self {
        Self { driver: driver.into(), sink, level: LogLevel::Debug }
    }

    /// Leaves out what is less serious than `level`.
    #[must_use]
    pub fn from_level(self, level: LogLevel) -> Self {
        Self { level, ..self }
    }

    /// Records a line.
    pub fn line(&self, level: LogLevel, message: &str) {
        if level < self.level {
            return;
        }
        let driver = &*self.driver;
        let message = &*printable(message);
        match level {
            LogLevel::Debug => tracing::debug!(driver, "{message}"),
            LogLevel::Info => tracing::info!(driver, "{message}"),
            LogLevel::Warning => tracing::warn!(driver, "{message}"),
            LogLevel::Error => tracing::error!(driver, "{message}"),
        }
        self.sink.line(level, driver, message);
    }

    /// A change worth knowing.
    pub fn info(&self, message: &str) {
        self.line(LogLevel::Info, message);
    }

    /// Went on, but a person may want to know.
    pub fn warning(&self, message: &str) {
        self.line(LogLevel::Warning, message);
    }

    /// Explains; shown when the driver is configured with `log_level: DEBUG`.
    pub fn debug(&self, message: &str) {
        self.line(LogLevel::Debug, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_neither_steer_a_terminal_nor_fill_it() {
        assert_eq!(printable("plain\tä\nnext"), "plain\tä\nnext");
        assert_eq!(printable("\u{1b}]0;title\u{7}\u{9b}2J\r"), "\\u{1b}]0;title\\u{7}\\u{9b}2J\\r");
        let long = printable(&"ä".repeat(50_000_000));
        assert!(long.len() < MAX_LINE + 100 && long.ends_with("ä … (99983616 more bytes)"), "{}", &long[MAX_LINE..]);
    }
}
