//! What a run has shown.

use std::{fmt, time::Duration};

use crate::checker::Counts;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule, in one word of `docs/simulation.md`.
    pub kind: &'static str,
    /// What happened.
    pub text: String,
    /// When, since the begin of the simulation.
    pub at: Duration,
    /// Objects that it is about.
    pub about: Vec<String>,
}

/// The outcome of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was found, if anything.
    pub violation: Option<Violation>,
    /// Hash of the log: equal for equal plans.
    pub digest: u64,
    /// Lines of the log.
    pub lines: u64,
    /// What happened how often.
    pub counts: Counts,
    /// Simulated time.
    pub simulated: Duration,
    /// Time that it took.
    pub wall: Duration,
    /// The last lines of the log about what was found.
    pub tail: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { commits, created, granted, ended, tunnels, sessions, faults } = self.counts;
        write!(
            f,
            "seed {}: {created} leases, {granted} granted, {ended} ended, {sessions} sessions, {tunnels} tunnels, \
             {commits} commits, {faults} faults; {:.1} h in {:.2} s; {} lines, log {:016x}",
            self.seed,
            self.simulated.as_secs_f64() / 3600.0,
            self.wall.as_secs_f64(),
            self.lines,
            self.digest
        )?;
        if let Some(Violation { kind, text, at, .. }) = &self.violation {
            for line in &self.tail {
                write!(f, "\n    {line}")?;
            }
            write!(f, "\n  FOUND after {:.3} s: {kind}: {text}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
