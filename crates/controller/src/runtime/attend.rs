//! Brings what is stored of exporters in line with who is there.

use std::{
    cmp::Reverse,
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jumpstarter_scheduler::Change;
use tokio::time::Instant;
use tracing::warn;

use super::{
    Runtime, edits,
    inbox::{Command, Envelope},
};

/// Shortest time between two corrections of one exporter's Online condition.
const CORRECT_AGAIN: Duration = Duration::from_secs(1);

/// Exporters whose Online condition was corrected a moment ago.
#[derive(Default)]
pub(super) struct Corrections {
    names: HashSet<Arc<str>>,
    /// The same in the order of time, so that forgetting costs nothing that does not grow old.
    expiring: VecDeque<(Instant, Arc<str>)>,
}

impl Corrections {
    /// Whether a correction may be made now; else how long to wait.
    fn admit(&mut self, name: &str, now: Instant) -> Result<(), Duration> {
        while let Some((_, old)) = self.expiring.pop_front_if(|(at, _)| now >= *at + CORRECT_AGAIN) {
            self.names.remove(&old);
        }
        if self.names.contains(name) {
            let last = self.expiring.iter().find(|(_, known)| **known == *name).map_or(now, |(at, _)| *at);
            return Err(last + CORRECT_AGAIN - now);
        }
        let name = Arc::<str>::from(name);
        self.names.insert(Arc::clone(&name));
        self.expiring.push_back((now, name));
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

impl Runtime {
    /// Turns changes of presence into edits of the Online condition.
    pub(super) fn note_presence(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, _))) = self.alarms.peek()
            && *at <= now
        {
            if let Some(Reverse((at, name))) = self.alarms.pop() {
                if self.alarm_of.get(&name) == Some(&at) {
                    self.alarm_of.remove(&name);
                }
                self.look_at.insert(name);
            }
        }
        self.look_at.extend(self.presence.take_changed());
        for name in std::mem::take(&mut self.look_at) {
            self.look(&name);
        }
    }

    fn look(&mut self, name: &str) {
        let (sight, next) = self.presence.sight(name);
        self.lab.observe(Change::TearDown { exporter: name, pending: sight.owes_tear_down });
        if let Some(at) = next {
            self.set_alarm(name, at);
        }
        let Some(exporter) = self.world.exporter(name) else {
            return;
        };
        let clock = self.config.clock.now();
        if sight.overdue && edits::assume_idle(&exporter, clock).is_some() {
            warn!(exporter = %name, "the exporter never said that its last session is over: taken to be idle");
            self.take_command(Envelope::internal(Command::edit_exporter(
                name,
                Box::new(|exporter, now| Ok(edits::assume_idle(exporter, now))),
            )));
        }
        let known = edits::Known {
            said: self.presence.last_report(name),
            silence: self.presence.silence(name),
            attended: self.presence.was_attended(name),
        };
        if edits::online(&exporter, sight.online, known, clock).is_some() {
            // Somebody else may hold the opposite: a leader that does not know yet that it was replaced. Each would
            // correct the other at once and for ever.
            if let Err(wait) = self.corrected.admit(name, Instant::now()) {
                return self.look_again(name, wait);
            }
            self.take_command(Envelope::internal(Command::edit_exporter(
                name,
                Box::new(move |exporter, now| Ok(edits::online(exporter, sight.online, known, now))),
            )));
        }
    }

    /// Tells the core whether an exporter owes a tear-down.
    pub(super) fn observe_tear_down(&mut self, name: &str) {
        let (sight, _) = self.presence.sight(name);
        self.lab.observe(Change::TearDown { exporter: name, pending: sight.owes_tear_down });
    }

    /// Looks at an exporter in a while.
    pub(super) fn look_again(&mut self, name: &str, after: Duration) {
        self.set_alarm(name, Instant::now() + after);
    }

    fn set_alarm(&mut self, name: &str, at: Instant) {
        if self.alarm_of.get(name).is_none_or(|known| at < *known) {
            self.alarm_of.insert(name.to_owned(), at);
            self.alarms.push(Reverse((at, name.to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exporter_is_corrected_once_a_second() {
        let (mut corrections, begin) = (Corrections::default(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(corrections.admit("e", at(0)), Ok(()));
        assert_eq!(corrections.admit("e", at(400)), Err(Duration::from_millis(600)));
        assert_eq!(corrections.admit("another", at(400)), Ok(()));
        assert_eq!(corrections.admit("e", at(1000)), Ok(()));
        assert_eq!(corrections.admit("e", at(1500)), Err(Duration::from_millis(500)));
        assert_eq!(corrections.len(), 1);
    }
}
