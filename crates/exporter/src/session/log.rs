//! The last lines of a session, for every reader.
use std::{collections::VecDeque, sync::Mutex, time::SystemTime};

use futures::{Stream, StreamExt as _, stream};
use jumpstarter_drivers::{LogLevel, LogSink};
use jumpstarter_protocol::v1::{LogSource, LogStreamResponse};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

/// Lines kept for readers that come later, and lines a slow reader may be behind.
const CAPACITY: usize = 256;

/// Log lines of one session. Each reader gets every line, those from before it came first.
pub struct LogRing {
    kept: Mutex<VecDeque<LogStreamResponse>>,
    live: broadcast::Sender<LogStreamResponse>,
}

impl LogRing {
    /// An empty ring.
    #[must_use]
    pub fn new() -> Self {
        Self { kept: Mutex::default(), live: broadcast::Sender::new(CAPACITY) }
    }

    /// Adds a line; the oldest one goes when the ring is full.
    pub fn push(&self, entry: LogStreamResponse) {
        let mut kept = self.kept.lock().expect("no code panics while it holds the ring");
        if kept.len() == CAPACITY {
            kept.pop_front();
        }
        kept.push_back(entry.clone());
        // Sent under the lock, so that a reader sees each line exactly once. No reader is no error.
        let _ = self.live.send(entry);
    }

    /// What is kept, then what comes. A reader that falls behind misses lines and is told how many.
    pub fn read(&self) -> impl Stream<Item = LogStreamResponse> + Send + use<> {
        let kept = self.kept.lock().expect("no code panics while it holds the ring");
        let live = BroadcastStream::new(self.live.subscribe());
        let before: Vec<_> = kept.iter().cloned().collect();
        stream::iter(before).chain(live.map(|line| match line {
            Ok(entry) => entry,
            Err(BroadcastStreamRecvError::Lagged(n)) => entry(
                LogLevel::Warning,
                LogSource::System,
                None,
                &format!("{n} log lines skipped: the reader is too slow"),
            ),
        }))
    }
}

impl Default for LogRing {
    fn default() -> Self {
        Self::new()
    }
}

impl LogSink for LogRing {
    fn line(&self, level: LogLevel, driver: &str, message: &str) {
        self.push(entry(level, LogSource::Driver, Some(driver), message));
    }
}

fn entry(level: LogLevel, source: LogSource, driver: Option<&str>, message: &str) -> LogStreamResponse {
    LogStreamResponse {
        uuid: String::new(),
        severity: level.as_str().to_owned(),
        message: message.to_owned(),
        source: Some(source.into()),
        driver_type: driver.map(str::to_owned),
        operation: None,
        timestamp: Some(SystemTime::now().into()),
        structured_fields: std::collections::HashMap::default(),
    }
}
