//! Figures for benchmarks: percentiles, ratios, and how they are printed.

use std::{fmt, fs, time::Duration};

use rustix::process::Pid;

/// Durations of one kind of thing.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// The duration that `percent` of them do not exceed; zero when there are none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // The smallest that leaves at most the rest above it (nearest rank).
        let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied().unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

impl Extend<Duration> for Samples {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, samples: I) {
        self.0.extend(samples);
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, late, worst] = [50, 99, 100].map(|percent| self.percentile(percent));
        write!(f, "p50 {median:.1?}, p99 {late:.1?}, max {worst:.1?} of {}", self.len())
    }
}

/// Resident memory of a process, in bytes.
#[track_caller]
pub fn resident(pid: Pid) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("read the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has resident memory");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number of kibibytes");
    kib * 1024
}

/// Memory of processes that share some of it, in bytes: what is shared counts by parts.
#[track_caller]
pub fn proportional(pids: &[Pid]) -> u64 {
    let of = |pid: &Pid| {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum::<u64>() * 1024
}

/// Prints one line of a benchmark.
pub fn say(name: &str, figure: impl fmt::Display) {
    // Benchmarks answer on stderr, as what they start does.
    eprintln!("{name:<44} {figure}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let samples: Samples = (1..=200).rev().map(Duration::from_millis).collect();
        for (percent, millis) in [(1, 2), (50, 100), (99, 198), (100, 200)] {
            assert_eq!(samples.percentile(percent), Duration::from_millis(millis), "p{percent}");
        }
        assert_eq!(Samples::default().percentile(99), Duration::ZERO);
        assert_eq!(Samples::from_iter([Duration::from_secs(3)]).percentile(1), Duration::from_secs(3));
    }
}
