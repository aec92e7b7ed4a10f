//! What is wrong with a store at a moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::{dice::Dice, plan::Faults};

/// Where a transaction is when something happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It has arrived and nothing is done.
    Before,
    /// Some of its writes are made.
    Between,
    /// All are made, and nobody was told.
    After,
}

/// What is to happen at a coming step: the service is killed there, say.
pub(crate) struct Trap {
    /// Steps to let pass.
    pub(crate) after: u64,
    /// What happens.
    pub(crate) spring: Box<dyn FnOnce(Step) + Send>,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Fine,
    /// Refused before anything is done.
    Refused,
    /// Refused as if the object had changed.
    Conflict,
    /// Carried out, the answer lost.
    AnswerLost,
    /// Stopped after the first of several writes.
    Half,
    /// Carried out perhaps, never answered.
    Hangs {
        done: bool,
    },
}

/// The state of a store's troubles.
pub(crate) struct Trouble {
    pub(crate) faults: Faults,
    pub(crate) dice: Dice,
    /// Nothing is answered before.
    pub(crate) stalled_until: Option<Instant>,
    /// Watches of an older generation end.
    pub(crate) watches: u64,
    /// Whether they end because their place in history is lost.
    pub(crate) gone: bool,
    /// Watches tell this many events again, once for each generation of replays.
    pub(crate) replays: u64,
    pub(crate) replayed: u64,
    /// Watches tell nothing before.
    pub(crate) silent_until: Option<Instant>,
    pub(crate) trap: Option<Trap>,
}

impl Trouble {
    pub(crate) fn new(faults: Faults, dice: Dice) -> Self {
        Self {
            faults,
            dice,
            stalled_until: None,
            watches: 0,
            gone: false,
            replays: 0,
            replayed: 0,
            silent_until: None,
            trap: None,
        }
    }

    /// Draws what becomes of a write.
    pub(crate) fn fate(&mut self, writes: usize) -> Fate {
        if self.dice.chance(self.faults.refused) {
            Fate::Refused
        } else if self.dice.chance(self.faults.conflicts) {
            Fate::Conflict
        } else if self.dice.chance(self.faults.lost_answers) {
            Fate::AnswerLost
        } else if writes > 1 && self.faults.one_by_one && self.dice.chance(self.faults.halves) {
            Fate::Half
        } else if self.dice.chance(self.faults.hangs) {
            Fate::Hangs { done: self.dice.chance(0.5) }
        } else {
            Fate::Fine
        }
    }

    /// Time that a message takes to or from the store.
    pub(crate) fn latency(&mut self) -> Duration {
        match self.faults.store_delay {
            0 => Duration::ZERO,
            most => self.dice.millis(0..=most),
        }
    }

    /// Time by which an event is told late.
    pub(crate) fn lag(&mut self) -> Duration {
        match self.faults.watch_lag {
            0 => Duration::ZERO,
            most => self.dice.millis(0..=most),
        }
    }

    /// One step of a transaction has come.
    pub(crate) fn step(&mut self, step: Step) {
        match &mut self.trap {
            Some(trap) if trap.after == 0 => {
                if let Some(trap) = self.trap.take() {
                    (trap.spring)(step);
                }
            }
            Some(trap) => trap.after -= 1,
            None => {}
        }
    }
}
