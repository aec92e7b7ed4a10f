//! What is in the way of a reservation, and what would do instead.

use std::fmt;

use jumpstarter_model::{Timestamp, condition::lease as condition};

/// Obstacles that are named; more help nobody.
const NAMED: usize = 3;

/// Why a lease cannot have its time, with what would do instead. The text is for people and has all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Clash {
    /// First instant of the time that was asked for.
    pub begin: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
    /// The first thing in the way on each exporter that the lease could have, by exporter; at least one.
    pub in_the_way: Vec<Obstacle>,
    /// The next begins that would do, with their exporters, soonest first; a few.
    pub begins: Vec<(Timestamp, String)>,
    /// Other exporters that would do at the time that was asked for, most alike first; a few.
    pub others: Vec<String>,
}

/// A time at which an exporter is spoken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Name of the exporter.
    pub exporter: String,
    /// By whom or what.
    pub by: SpokenFor,
    /// First instant.
    pub begin: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
}

/// By whom or what an exporter is spoken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpokenFor {
    /// A scheduled lease.
    Lease(String),
    /// A maintenance window.
    Window {
        /// Its name.
        name: String,
        /// Its reason; may be empty.
        reason: String,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exporter, by, begin, end } = self;
        match by {
            SpokenFor::Lease(lease) => {
                write!(f, "exporter {exporter} is reserved for lease {lease} from {begin} to {end}")
            }
            SpokenFor::Window { name, reason } => {
                let about = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                write!(f, "exporter {exporter} has maintenance {name}{about} from {begin} to {end}")
            }
        }
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begin, end, in_the_way, begins, others } = self;
        write!(f, "no exporter can be reserved from {begin} to {end}: ")?;
        let named = in_the_way.iter().take(NAMED).map(Obstacle::to_string).collect::<Vec<_>>();
        f.write_str(&named.join("; "))?;
        if let more @ 1.. = in_the_way.len().saturating_sub(NAMED) {
            write!(f, "; and so on for {more} more")?;
        }
        if !begins.is_empty() {
            let begins = begins.iter().map(|(begin, exporter)| format!("{begin} ({exporter})")).collect::<Vec<_>>();
            write!(f, ". Next begins that would do: {}", begins.join(", "))?;
        }
        if !others.is_empty() {
            write!(f, ". Exporters that would do at the time asked for: {}", others.join(", "))?;
        }
        Ok(())
    }
}

impl Clash {
    /// The condition's reason when a lease is refused for it.
    pub const REASON: &'static str = condition::RESERVATION_CONFLICT;
}
