//! The rules of the election, as a state machine that neither waits nor talks.

use std::time::Duration;

use jiff::Timestamp;

use crate::{Candidate, Leader, Leadership, Record, Timing};

/// Time since some fixed instant of this process, by a clock that never jumps.
pub type Moment = Duration;

/// The lock as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it says.
    pub record: Record,
    /// The object's `resourceVersion`.
    pub version: String,
}

/// How something was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Asked for: the state of the object at some time after the question.
    Read,
    /// Told by a watch, which may be behind.
    Watch,
}

/// What to do next. At most one call is under way at a time; its outcome goes back to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this moment, unless something is observed.
    Wait(Moment),
    /// Read the object; the outcome goes to [`Machine::observed`] or [`Machine::read_failed`].
    Read,
    /// Create the object; the outcome goes to [`Machine::wrote`].
    Create(Record),
    /// Replace the record if the object still has this version; the outcome goes to [`Machine::wrote`].
    Replace {
        /// The version that must not have changed.
        version: String,
        /// What to write.
        record: Record,
    },
    /// Resigned for good, and the lock is not ours.
    Done,
}

/// Why a write brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFailure {
    /// The object had changed, exists already, or is gone: nothing was written.
    Conflict,
    /// No answer, or another refusal: the write may have happened, and may still happen.
    Unknown,
}

/// What is known of the object.
#[derive(Debug)]
enum Known {
    /// It was never read.
    Nothing,
    /// It does not exist. Somebody may have held it, and lead until this moment; zero when it never existed for us.
    Absent { free_at: Moment },
    /// It exists.
    Present(Sighting),
}

/// One candidate's part in the election.
#[derive(Debug)]
pub struct Machine {
    me: Candidate,
    timing: Timing,
    known: Known,
    /// Since when the record has not changed, as far as we saw.
    changed: Moment,
    /// When we last heard of the object.
    heard: Moment,
    /// Whether the object must be read before anything is written.
    confirm: bool,
    /// No call before.
    call_after: Moment,
    /// No write before.
    write_after: Moment,
    /// Until when our last accepted write lets us lead.
    leading_until: Option<Moment>,
    renew_at: Moment,
    /// Whether a creation may still be on its way whose answer never came.
    stray_creation: bool,
    /// Whether the write under way creates.
    creating: bool,
    term: u64,
    /// Until when we want nothing; [`Moment::MAX`] for good.
    resting: Option<Moment>,
}

impl Machine {
    /// A candidate that knows nothing yet.
    #[must_use]
    pub fn new(me: Candidate, timing: Timing) -> Self {
        Self {
            me,
            timing,
            known: Known::Nothing,
            changed: Moment::ZERO,
            heard: Moment::ZERO,
            confirm: false,
            call_after: Moment::ZERO,
            write_after: Moment::ZERO,
            leading_until: None,
            renew_at: Moment::ZERO,
            stray_creation: false,
            creating: false,
            term: 0,
            resting: None,
        }
    }

    /// What this replica is at `now`.
    #[must_use]
    pub fn leadership(&self, now: Moment) -> Leadership {
        if self.leads(now) {
            return Leadership::Leading { term: self.term };
        }
        let leader = match &self.known {
            Known::Present(Sighting { record, .. }) => record
                .holder
                .as_ref()
                .filter(|holder| !self.is_me(holder) && !self.is_predecessor(record))
                .map(|holder| Leader { identity: holder.clone(), address: record.address.clone() }),
            Known::Nothing | Known::Absent { .. } => None,
        };
        Leadership::Standby { leader }
    }

    /// When leadership ends unless a write is accepted before; `None` when this replica does not lead.
    #[must_use]
    pub fn leads_until(&self, now: Moment) -> Option<Moment> {
        self.leading_until.filter(|until| now < *until)
    }

    /// Decides what to do now. `wall` only goes into records, where people read it.
    pub fn step(&mut self, now: Moment, wall: Timestamp) -> Step {
        if self.resting.is_some_and(|until| until <= now) {
            self.resting = None;
        }
        if now < self.call_after {
            return Step::Wait(self.call_after);
        }
        let step = match self.resting {
            Some(until) => self.rest(until, now, wall),
            None => self.contend(now, wall),
        };
        self.creating = matches!(step, Step::Create(_));
        step
    }

    /// Takes in the object, or its absence; a watch tells of absence only when there was an object before. Returns whether this was news to go by: what a watch tells late is not.
    pub fn observed(&mut self, now: Moment, source: Source, sighting: Option<Sighting>) -> bool {
        match (source, sighting) {
            (Source::Watch, None) => {
                self.confirm = true;
                self.was_held(now);
                false
            }
            (Source::Read, None) => {
                self.heard = now;
                self.confirm = false;
                match &self.known {
                    Known::Nothing => self.known = Known::Absent { free_at: Moment::ZERO },
                    Known::Absent { .. } => {}
                    // Somebody deleted it, perhaps after a write that we never saw: that holder's time must pass.
                    Known::Present(known) => {
                        let wait = known.record.duration.max(self.timing.lease());
                        self.known = Known::Absent { free_at: now + wait };
                    }
                }
                true
            }
            (Source::Watch, Some(sighting)) if self.is_behind(&sighting) => false,
            (Source::Watch | Source::Read, Some(sighting)) => {
                if source == Source::Read {
                    self.confirm = false;
                }
                self.take_in(now, sighting);
                true
            }
        }
    }

    /// A read brought nothing.
    pub fn read_failed(&mut self, now: Moment) {
        self.call_after = now + self.patience();
    }

    /// Takes in the outcome of a write that was sent at `sent`. Returns whether it changed what is known of the object.
    pub fn wrote(&mut self, sent: Moment, now: Moment, outcome: Result<Sighting, WriteFailure>) -> bool {
        match outcome {
            Ok(sighting) if self.is_behind(&sighting) => false,
            Ok(sighting) => {
                let ours = self.holds(&sighting.record) && self.resting.is_none();
                let led = self.leads(now);
                self.stray_creation = false;
                self.take_in(now, sighting);
                if ours {
                    // From when it was sent: others may have seen it as early as that.
                    self.leading_until = Some(sent + self.timing.renew_deadline());
                    self.renew_at = sent + self.timing.retry();
                    if !led && self.leads(now) {
                        self.term += 1;
                    }
                }
                true
            }
            Err(WriteFailure::Conflict) => {
                self.confirm = true;
                if self.creating {
                    self.was_held(now);
                }
                // Whoever got in between goes first; and a server that always refuses is not asked in a circle.
                self.write_after = now + self.timing.hurry();
                false
            }
            Err(WriteFailure::Unknown) => {
                self.stray_creation |= self.creating;
                self.call_after = now + self.patience();
                false
            }
        }
    }

    /// Gives the lock up, at once as far as this replica is concerned, and wants nothing for `rest`; `None` is for good.
    pub fn resign(&mut self, now: Moment, rest: Option<Duration>) {
        self.leading_until = None;
        self.resting = Some(rest.map_or(Moment::MAX, |rest| now + rest));
    }

    fn rest(&self, until: Moment, now: Moment, wall: Timestamp) -> Step {
        match &self.known {
            Known::Present(Sighting { record, version }) if self.holds(record) => {
                if self.confirm {
                    return Step::Read;
                }
                if now < self.write_after {
                    return Step::Wait(self.write_after);
                }
                let record = Record {
                    holder: None,
                    duration: Duration::from_secs(1),
                    acquired: Some(wall),
                    renewed: Some(wall),
                    transitions: record.transitions,
                    address: None,
                };
                Step::Replace { version: version.clone(), record }
            }
            Known::Nothing | Known::Absent { .. } | Known::Present(_) if until == Moment::MAX => Step::Done,
            Known::Nothing | Known::Absent { .. } | Known::Present(_) => Step::Wait(until),
        }
    }

    fn contend(&self, now: Moment, wall: Timestamp) -> Step {
        if self.confirm {
            return Step::Read;
        }
        match &self.known {
            Known::Nothing => Step::Read,
            Known::Absent { free_at } => {
                // Who leads makes it anew at once.
                let free_at = if self.leads(now) { now } else { *free_at };
                self.write_at(free_at, now, || Step::Create(self.claim(None, wall)))
            }
            Known::Present(Sighting { record, version }) => {
                let due = if self.leads(now) { self.renew_at } else { self.free_at(record) };
                let claim = || Step::Replace { version: version.clone(), record: self.claim(Some(record), wall) };
                self.write_at(due, now, claim)
            }
        }
    }

    /// The write once it is due; until then a look now and then if nothing is heard.
    fn write_at(&self, due: Moment, now: Moment, write: impl FnOnce() -> Step) -> Step {
        let due = due.max(self.write_after);
        let look = self.heard + self.timing.quiet();
        if now >= due {
            write()
        } else if now >= look {
            Step::Read
        } else {
            Step::Wait(due.min(look))
        }
    }

    /// From when on we may write our name into the record.
    fn free_at(&self, record: &Record) -> Moment {
        match &record.holder {
            None => Moment::ZERO,
            // It may have come into a place that was another's meanwhile, and was deleted.
            Some(holder) if self.is_me(holder) && self.stray_creation => self.changed + self.timing.lease(),
            Some(holder) if self.is_me(holder) => Moment::ZERO,
            Some(_) if self.is_predecessor(record) => Moment::ZERO,
            // The holder's promise counts, not our setting: a Go replica may hold for longer than we would.
            Some(_) if record.duration.is_zero() => self.changed + self.timing.lease(),
            Some(_) => self.changed + record.duration,
        }
    }

    /// The record that makes or keeps us the holder.
    fn claim(&self, previous: Option<&Record>, wall: Timestamp) -> Record {
        let (acquired, transitions) = match previous {
            Some(record) if self.holds(record) => (record.acquired, record.transitions),
            Some(record) => (Some(wall), record.transitions.saturating_add(1)),
            None => (Some(wall), 0),
        };
        Record {
            holder: Some(self.me.identity.clone()),
            duration: self.timing.lease(),
            acquired,
            renewed: Some(wall),
            transitions,
            address: Some(self.me.address.clone()),
        }
    }

    fn take_in(&mut self, now: Moment, sighting: Sighting) {
        self.heard = now;
        let same = match &self.known {
            Known::Present(known) => known.record == sighting.record,
            Known::Nothing | Known::Absent { .. } => false,
        };
        if !same {
            self.changed = now;
        }
        if !self.holds(&sighting.record) {
            self.leading_until = None;
        }
        self.known = Known::Present(sighting);
    }

    /// The object existed, though we never saw it: if it is gone, its holder's time must pass.
    fn was_held(&mut self, now: Moment) {
        if !matches!(self.known, Known::Present(_)) {
            self.known = Known::Absent { free_at: now + self.timing.lease() };
        }
    }

    /// Whether the sighting is of an earlier version than the known one. Versions that are no numbers are not compared.
    fn is_behind(&self, sighting: &Sighting) -> bool {
        let Known::Present(known) = &self.known else { return false };
        match (sighting.version.parse::<u64>(), known.version.parse::<u64>()) {
            (Ok(seen), Ok(known)) => seen < known,
            _ => false,
        }
    }

    /// How long to wait after a call without an outcome.
    fn patience(&self) -> Duration {
        let ours = matches!(&self.known, Known::Present(Sighting { record, .. }) if self.holds(record));
        if ours { self.timing.hurry() } else { self.timing.retry() }
    }

    fn leads(&self, now: Moment) -> bool {
        self.leads_until(now).is_some()
    }

    fn holds(&self, record: &Record) -> bool {
        record.holder.as_deref().is_some_and(|holder| self.is_me(holder))
    }

    fn is_me(&self, holder: &str) -> bool {
        holder == self.me.identity
    }

    /// Whether the holder is a process of this very host that served at our address: since we have bound that address, it
    /// is dead. A container that is started again in its pod finds itself so.
    fn is_predecessor(&self, record: &Record) -> bool {
        let host = |identity: &str| identity.rsplit_once('_').map(|(host, _)| host.to_owned());
        let holder = record.holder.as_deref().filter(|holder| !self.is_me(holder));
        holder.and_then(host).is_some_and(|holder| Some(holder) == host(&self.me.identity))
            && record.address.as_ref() == Some(&self.me.address)
    }
}
