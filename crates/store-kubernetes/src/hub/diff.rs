//! What must have happened between two lists: pure.

use std::collections::{BTreeSet, HashMap};

use jumpstarter_store::{Event, Object};
use serde_json::Value;

/// The events that lead from `before`, complete at version `since`, to `after`, listed at version `until`.
///
/// Every event gets a version of its own in that span. Of a deletion only the span is known; it gets a version that no
/// object has. Nothing when that does not work out, which means that versions do not come from one history.
pub(super) fn difference(
    before: &HashMap<String, Object>,
    after: &[Object],
    since: u64,
    until: u64,
) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    // With the version that each must come before: that of what has taken its name.
    let mut deleted: Vec<(u64, &Object)> = Vec::new();
    let mut names = BTreeSet::new();
    for object in after {
        names.insert(object.name());
        let version = object.resource_version().0;
        let event = match before.get(object.name()) {
            Some(old) if old.uid() == object.uid() && old.resource_version() == object.resource_version() => continue,
            Some(old) if old.uid() == object.uid() => Event::Modified(object.clone()),
            Some(old) => {
                deleted.push((version, old));
                Event::Added(object.clone())
            }
            None => Event::Added(object.clone()),
        };
        if version <= since || version > until {
            return None;
        }
        events.push(event);
    }
    deleted.extend(before.values().filter(|old| !names.contains(old.name())).map(|old| (until + 1, old)));
    deleted.sort_unstable_by_key(|(deadline, old)| (*deadline, old.resource_version()));

    let taken: BTreeSet<u64> = events.iter().map(|event| event.resource_version().0).collect();
    let mut slot = since;
    for (deadline, old) in deleted {
        slot += 1;
        while taken.contains(&slot) {
            slot += 1;
        }
        if slot >= deadline {
            return None;
        }
        events.push(Event::Deleted(at_version(old, slot)?));
    }
    events.sort_unstable_by_key(Event::resource_version);
    Some(events)
}

fn at_version(object: &Object, version: u64) -> Option<Object> {
    let mut value = object.clone().into_value();
    value.get_mut("metadata")?.as_object_mut()?.insert("resourceVersion".into(), Value::String(version.to_string()));
    Object::from_value(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::fixture::secret;

    #[track_caller]
    fn check(before: &[&Object], after: &[&Object], expected: Option<&[&str]>) {
        let before = before.iter().map(|object| (object.name().to_owned(), Object::clone(object))).collect();
        let after: Vec<Object> = after.iter().copied().cloned().collect();
        let found = difference(&before, &after, 10, 20).map(|events| {
            let describe = |event: &Event| {
                let what = match event {
                    Event::Added(_) => '+',
                    Event::Modified(_) => '~',
                    Event::Deleted(_) => '-',
                };
                format!("{what}{}@{}", event.object().name(), event.resource_version())
            };
            events.iter().map(describe).collect::<Vec<_>>()
        });
        let expected = expected.map(|expected| expected.iter().map(ToString::to_string).collect());
        assert_eq!(found, expected);
    }

    #[test]
    fn lists_differ_by_what_happened_between_them() {
        let (a, b) = (secret("a", "1", 5), secret("b", "2", 6));
        check(&[&a], &[&a], Some(&[]));
        check(&[&a], &[&secret("a", "1", 15)], Some(&["~a@15"]));
        check(&[&a], &[&a, &secret("c", "3", 12)], Some(&["+c@12"]));
        check(&[&a, &b], &[], Some(&["-a@11", "-b@12"]));
        // The deletion comes before the new object of the name, and where no other event is.
        check(&[&a, &b], &[&secret("a", "9", 13), &secret("c", "3", 11)], Some(&["+c@11", "-a@12", "+a@13", "-b@14"]));
    }

    #[test]
    fn another_history_is_noticed() {
        let a = secret("a", "1", 5);
        check(&[&a], &[&secret("a", "1", 4)], None);
        check(&[&a], &[&secret("a", "1", 21)], None);
        check(&[&a], &[&secret("a", "9", 11)], None);
    }
}
