//! Which router a dial is sent to. Pure: what is known and the dice are arguments.
//!
//! In this order: a router that works, or may work and is meant by the labels; the one whose labels fit (kubernetes.md §5.2, protocol.md §6.6); one that the
//! lease has not tried a moment ago; and of two drawn by lot the one with less to do.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::config::RouterTarget;

/// What speaks for a router and against it, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It says that it takes streams, or is to be taken at its word unasked.
    Ready,
    /// It was added a moment ago and nothing is known yet.
    Untested,
    /// It answered a moment ago and has just stopped; it is being asked again.
    Suspect,
    /// As many streams as it takes.
    Full,
    /// It never answered. It may be out of our reach and within that of peers.
    Unreached,
    /// It answered once and does so no more. That may be the fault of the way from here, so it is better than none.
    Gone,
    /// It says that it takes no more streams. Never handed out: it keeps its word.
    Draining,
}

/// How much a router has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Streams that it has, and those that it will have as soon as peers arrive.
    pub(crate) streams: u64,
    /// Bytes that it passes on, in both directions.
    pub(crate) bytes_per_second: u64,
}

impl Load {
    /// Traffic that counts as much as one more stream: an idle console costs next to nothing, and a flash at full speed
    /// is worth twenty of them.
    const BYTES_PER_STREAM: u64 = 4 << 20;

    fn cost(self) -> u64 {
        self.streams.saturating_add(self.bytes_per_second / Self::BYTES_PER_STREAM)
    }
}

/// A configured router and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) target: &'a RouterTarget,
    pub(crate) standing: Standing,
    pub(crate) load: Load,
    /// The lease was sent there a moment ago, and nothing has been heard of the router since: if this is another
    /// attempt, it had better lead elsewhere.
    pub(crate) tried: bool,
}

/// Why there is no router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRouter {
    /// The list is empty.
    #[error("no router is available: start one")]
    NoneConfigured,
    /// All say that they stop.
    #[error("every router is about to stop and takes no new connections: try again in a moment")]
    AllDraining,
}

/// Chooses. `random(n)` is a number below `n`.
pub(crate) fn choose<'a>(
    candidates: &[Candidate<'a>],
    exporter: &BTreeMap<String, String>,
    mut random: impl FnMut(usize) -> usize,
) -> Result<&'a RouterTarget, NoRouter> {
    if candidates.is_empty() {
        return Err(NoRouter::NoneConfigured);
    }
    let fits = |candidate: &Candidate<'_>| affinity(&candidate.target.labels, exporter);
    // The labels of a router say where it is meant for, and whether it can be reached from here says little about that:
    // where nobody who answers fits as well, the first attempt goes there.
    let answering = candidates.iter().filter(|candidate| candidate.standing < Standing::Unreached).map(fits).max();
    let meant = |candidate: &Candidate<'_>| {
        let fits = fits(candidate);
        candidate.standing == Standing::Unreached
            && !candidate.tried
            && fits > Some(0)
            && answering.is_some_and(|others| fits > others)
    };
    let rank = |candidate: &Candidate<'_>| {
        let standing = if meant(candidate) { Standing::Ready } else { candidate.standing };
        (standing, Reverse(fits(candidate)), candidate.tried)
    };
    let usable = || candidates.iter().filter(|candidate| candidate.standing != Standing::Draining);
    let best = usable().map(rank).min().ok_or(NoRouter::AllDraining)?;
    let equals: Vec<_> = usable().filter(|candidate| rank(candidate) == best).collect();
    let first = random(equals.len()) % equals.len();
    let mut chosen = equals[first];
    if equals.len() > 1 {
        // The other one is never the first one again.
        let second = (first + 1 + random(equals.len() - 1) % (equals.len() - 1)) % equals.len();
        if equals[second].load.cost() < chosen.load.cost() {
            chosen = equals[second];
        }
    }
    Ok(chosen.target)
}

/// Labels in common; `None`, which is less than any number, when one contradicts. A label that the exporter lacks says
/// nothing, so that routers with labels of their own take their share of exporters without any.
fn affinity(router: &BTreeMap<String, String>, exporter: &BTreeMap<String, String>) -> Option<usize> {
    router.iter().try_fold(0, |matches, (key, value)| match exporter.get(key) {
        Some(found) if found == value => Some(matches + 1),
        Some(_) => None,
        None => Some(matches),
    })
}

#[cfg(test)]
mod tests;
