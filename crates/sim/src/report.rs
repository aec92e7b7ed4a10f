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
    /// Number of exporters.
    pub exporters: usize,
    /// Number of clients.
    pub clients: usize,
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

impl Report {
    /// Messages and changes of the store, by the time that they took.
    #[expect(clippy::cast_precision_loss, reason = "it is for people")]
    pub fn events_a_second(&self) -> f64 {
        (self.counts.messages + self.counts.commits) as f64 / self.wall.as_secs_f64().max(0.001)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { commits, created, granted, ended, preempted, tunnels, sessions, messages, faults, .. } =
            self.counts;
        let Counts { reserved, groups, quarantined, .. } = self.counts;
        write!(
            f,
            "seed {}: {} exporters, {} clients: {created} leases, {granted} granted, {ended} ended, {preempted} \
             preempted, {reserved} as reserved, {groups} groups, {quarantined} quarantines, {sessions} sessions, {tunnels} tunnels, {faults} faults; {messages} messages and {commits} \
             commits in {:.1} h; {:.2} s, {:.0} events/s; {} lines, log {:016x}",
            self.seed,
            self.exporters,
            self.clients,
            self.simulated.as_secs_f64() / 3600.0,
            self.wall.as_secs_f64(),
            self.events_a_second(),
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
