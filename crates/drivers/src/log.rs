//! What drivers have to tell the people of a session.
use std::sync::Arc;

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
