//! What happened, as lines: their hash proves that two runs were the same, the last of them explain a failure.

use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Lines kept for a report.
const KEPT: usize = 4000;

#[derive(Debug)]
struct Inner {
    hasher: DefaultHasher,
    lines: u64,
    last: VecDeque<String>,
    print: bool,
}

/// The log of one run; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

impl Log {
    /// An empty log; `print` sends every line to stderr, too.
    pub(crate) fn new(print: bool) -> Self {
        // Its keys are fixed, so equal lines have equal hashes in every process.
        let inner = Inner { hasher: DefaultHasher::new(), lines: 0, last: VecDeque::new(), print };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a line at this time since the begin.
    pub(crate) fn note(&self, at: Duration, text: fmt::Arguments<'_>) {
        let line = format!("{:>12.3} {text}", at.as_secs_f64());
        let mut inner = self.lock();
        line.hash(&mut inner.hasher);
        inner.lines += 1;
        if inner.print {
            eprintln!("{line}");
        }
        if inner.last.len() == KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(line);
    }

    /// Hash of all lines so far, and their number.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.hasher.finish(), inner.lines)
    }

    /// The last lines, at most `count`; of all, or of those that contain one of `about`.
    pub(crate) fn tail(&self, count: usize, about: &[String]) -> Vec<String> {
        let inner = self.lock();
        let fits = |line: &&String| about.is_empty() || about.iter().any(|word| line.contains(word.as_str()));
        let mut lines: Vec<String> = inner.last.iter().rev().filter(fits).take(count).cloned().collect();
        lines.reverse();
        lines
    }
}
