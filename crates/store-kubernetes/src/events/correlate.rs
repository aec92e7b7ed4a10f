//! Which events become new Events, which only count up an old one, and which are too many: pure.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use jumpstarter_model::Timestamp;
use jumpstarter_store::{EventKind, Key, ObjectEvent};

/// Events that are remembered, to be counted up when they come again.
const REMEMBERED: usize = 4096;
/// Silence after which an event is a new one.
const WINDOW: Duration = Duration::from_mins(10);
/// Different messages for one object and reason within [`WINDOW`], after which they become one Event.
const SIMILAR: usize = 10;
/// Events about one object by one component at once; later ones at the rate of [`REFILL`].
const BURST: f64 = 25.0;
/// Time after which an object may have one more.
const REFILL: Duration = Duration::from_mins(5);
/// In front of the message when events that differ in it are one.
const COMBINED: &str = "(combined from similar events): ";

/// What all events with different messages have in common.
type Topic = (Key, String, EventKind, &'static str, &'static str);

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A new Event.
    Create {
        /// What it says.
        message: String,
    },
    /// An Event that exists has happened again.
    Repeat {
        /// Its name.
        name: String,
        /// How often by now.
        count: u32,
        /// What it says.
        message: String,
    },
    /// Nothing: there are too many about this object.
    Drop,
}

#[derive(Debug)]
struct Written {
    name: String,
    count: u32,
    last: Timestamp,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    last: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Correlator {
    written: HashMap<(Topic, String), Written>,
    similar: HashMap<Topic, Similar>,
    buckets: HashMap<(Key, String, &'static str), Bucket>,
}

impl Correlator {
    /// What becomes of an event.
    pub(super) fn judge(&mut self, event: &ObjectEvent, now: Timestamp) -> Step {
        self.forget_old(now);
        if !self.has_room(event, now) {
            return Step::Drop;
        }
        let message = self.message(event, now);
        let key = (topic(event), aggregate(event, &message));
        match self.written.get_mut(&key).filter(|written| is_recent(written.last, now)) {
            Some(written) => {
                written.count = written.count.saturating_add(1);
                written.last = now;
                Step::Repeat { name: written.name.clone(), count: written.count, message }
            }
            None => Step::Create { message },
        }
    }

    /// An Event was made for this event.
    pub(super) fn created(&mut self, event: &ObjectEvent, message: &str, name: String, now: Timestamp) {
        let key = (topic(event), aggregate(event, message));
        self.written.insert(key, Written { name, count: 1, last: now });
    }

    fn has_room(&mut self, event: &ObjectEvent, now: Timestamp) -> bool {
        let key = (event.object.clone(), event.uid.clone(), event.component);
        let bucket = self.buckets.entry(key).or_insert(Bucket { left: BURST, last: now });
        let passed = since(bucket.last, now).as_secs_f64() / REFILL.as_secs_f64();
        bucket.left = (bucket.left + passed).min(BURST);
        bucket.last = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }

    fn message(&mut self, event: &ObjectEvent, now: Timestamp) -> String {
        let similar =
            self.similar.entry(topic(event)).or_insert_with(|| Similar { messages: BTreeSet::new(), last: now });
        if !is_recent(similar.last, now) {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() < SIMILAR || similar.messages.contains(&event.message) {
            similar.messages.insert(event.message.clone());
            return event.message.clone();
        }
        format!("{COMBINED}{}", event.message)
    }

    fn forget_old(&mut self, now: Timestamp) {
        if self.written.len() >= REMEMBERED {
            self.written.retain(|_, written| is_recent(written.last, now));
        }
        if self.similar.len() >= REMEMBERED {
            self.similar.retain(|_, similar| is_recent(similar.last, now));
        }
        if self.buckets.len() >= REMEMBERED {
            self.buckets.retain(|_, bucket| is_recent(bucket.last, now));
        }
        // All of it within ten minutes: then counting up is the least of our worries.
        if self.written.len().max(self.similar.len()).max(self.buckets.len()) >= REMEMBERED {
            *self = Self::default();
        }
    }
}

/// Combined events are one whatever they say.
fn aggregate(event: &ObjectEvent, message: &str) -> String {
    if message.len() > event.message.len() { COMBINED.to_owned() } else { event.message.clone() }
}

fn topic(event: &ObjectEvent) -> Topic {
    (event.object.clone(), event.uid.clone(), event.kind, event.component, event.reason)
}

fn is_recent(last: Timestamp, now: Timestamp) -> bool {
    since(last, now) < WINDOW
}

fn since(last: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(last)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jumpstarter_store::Kind;

    use super::*;

    fn event(name: &str, message: &str) -> ObjectEvent {
        ObjectEvent {
            object: Key::new(Kind::Exporter, "lab", name),
            uid: "u".into(),
            resource_version: None,
            kind: EventKind::Normal,
            component: "exporter-controller",
            reason: "ExporterOnline",
            message: message.into(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn tell(correlator: &mut Correlator, event: &ObjectEvent, second: i64) -> Step {
        let step = correlator.judge(event, at(second));
        if let Step::Create { message } = &step {
            correlator.created(event, message, format!("{}.{second}", event.object.name), at(second));
        }
        step
    }

    #[test]
    fn the_same_again_counts_up() {
        let mut correlator = Correlator::default();
        let message = "online".to_owned();
        assert_eq!(tell(&mut correlator, &event("a", "online"), 0), Step::Create { message: message.clone() });
        for (second, count) in [(1, 2), (2, 3)] {
            let expected = Step::Repeat { name: "a.0".into(), count, message: message.clone() };
            assert_eq!(tell(&mut correlator, &event("a", "online"), second), expected);
        }
        assert!(matches!(tell(&mut correlator, &event("b", "online"), 3), Step::Create { .. }));
        assert!(matches!(tell(&mut correlator, &event("a", "online"), 3 + 600), Step::Create { .. }));
    }

    #[test]
    fn many_that_differ_become_one() {
        let mut correlator = Correlator::default();
        for number in 0..10 {
            let step = tell(&mut correlator, &event("a", &format!("seen at {number}")), number);
            assert!(matches!(step, Step::Create { .. }), "{step:?}");
        }
        let step = tell(&mut correlator, &event("a", "seen at 10"), 10);
        assert_eq!(step, Step::Create { message: "(combined from similar events): seen at 10".into() });
        let step = tell(&mut correlator, &event("a", "seen at 11"), 11);
        let message = "(combined from similar events): seen at 11".to_owned();
        assert_eq!(step, Step::Repeat { name: "a.10".into(), count: 2, message });
    }

    #[test]
    fn an_object_has_a_budget() {
        let mut correlator = Correlator::default();
        let steps: Vec<Step> = (0..30).map(|_| tell(&mut correlator, &event("a", "flaps"), 0)).collect();
        assert_eq!(steps.iter().filter(|step| **step == Step::Drop).count(), 5);
        assert!(matches!(tell(&mut correlator, &event("b", "flaps"), 0), Step::Create { .. }));
        assert_ne!(tell(&mut correlator, &event("a", "flaps"), 300), Step::Drop);
        assert_eq!(tell(&mut correlator, &event("a", "flaps"), 300), Step::Drop);
    }
}
