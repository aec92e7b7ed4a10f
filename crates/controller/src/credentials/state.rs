//! What the reconciler knows and what it still has to look at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jumpstarter_model::Timestamp;
use jumpstarter_store::{Key, Kind, Object, ResourceVersion};

/// Names that Secrets with tokens end with, and whose they are.
const SUFFIXES: [(&str, Kind); 2] = [("-client", Kind::Client), ("-exporter", Kind::Exporter)];

/// An object as text: a tree of JSON values takes several times as much, and thousands of them are kept.
struct Kept {
    version: ResourceVersion,
    text: Box<str>,
}

impl Kept {
    fn new(object: &Object) -> Self {
        Self { version: object.resource_version(), text: object.value().to_string().into() }
    }

    fn object(&self) -> Option<Object> {
        Object::from_value(serde_json::from_str(&self.text).ok()?).ok()
    }
}

/// The state as works side by side see it. Lock it for one statement, never across an await.
#[derive(Default)]
pub(super) struct View(Mutex<State>);

impl View {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fed by one watch; nothing is asked of the store while it is current.
#[derive(Default)]
pub(super) struct State {
    /// Clients, exporters, and Secrets that may be theirs.
    view: BTreeMap<Key, Kept>,
    /// Fingerprints of what was found in order.
    settled: HashMap<Key, u64>,
    /// To look at, one after the other.
    pending: VecDeque<Key>,
    /// Good tokens to replace when there is time.
    renewals: BTreeSet<Key>,
    /// When to look again although nothing has changed.
    due: HashMap<Key, Timestamp>,
    by_time: BTreeSet<(Timestamp, Key)>,
    /// What was last said about tokens that are about to end.
    warned: HashMap<Key, &'static str>,
    /// Where the store failed last time: looked at after all others, which it may serve.
    stuck: BTreeSet<Key>,
}

impl State {
    /// Begins anew with what a list has brought. What was in order and has not changed since stays so.
    pub(super) fn reset(&mut self, objects: impl IntoIterator<Item = Object>) {
        self.view = objects.into_iter().map(|object| (object.key().clone(), Kept::new(&object))).collect();
        self.settled.retain(|key, _| self.view.contains_key(key));
        self.warned.retain(|key, _| self.view.contains_key(key));
        self.renewals.retain(|key| self.view.contains_key(key));
        self.stuck.retain(|key| self.view.contains_key(key));
        self.look_at_all();
    }

    /// Looks at every client and exporter.
    pub(super) fn look_at_all(&mut self) {
        let holders = self.view.keys().filter(|key| key.kind != Kind::Secret && !self.stuck.contains(key));
        self.pending = holders.chain(&self.stuck).cloned().collect();
    }

    /// Whether the store failed when it was brought in order.
    pub(super) fn mark_stuck(&mut self, key: &Key, stuck: bool) {
        if stuck {
            self.stuck.insert(key.clone());
        } else {
            self.stuck.remove(key);
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Object> {
        self.view.get(key)?.object()
    }

    /// Takes a state in, unless it is an old one. Returns whether it is news.
    pub(super) fn put(&mut self, object: &Object) -> bool {
        let key = object.key();
        let newer = self.view.get(key).is_none_or(|known| known.version < object.resource_version());
        if newer {
            self.view.insert(key.clone(), Kept::new(object));
        }
        newer
    }

    /// Forgets an object, unless it has been made again meanwhile. Returns whether that is news.
    pub(super) fn remove(&mut self, object: &Object) -> bool {
        let key = object.key();
        let known = self.view.get(key).is_some_and(|known| known.version <= object.resource_version());
        if known {
            self.drop_key(key);
        }
        known
    }

    /// The version that is known of an object.
    pub(super) fn version(&self, key: &Key) -> Option<ResourceVersion> {
        Some(self.view.get(key)?.version)
    }

    /// What the store said when it was asked, with `known` the version of the view before that: what the watch has told
    /// meanwhile stays.
    pub(super) fn replace(&mut self, key: &Key, known: Option<ResourceVersion>, object: Option<Object>) {
        match object {
            Some(object) => _ = self.put(&object),
            None if self.version(key) == known => self.drop_key(key),
            None => {}
        }
    }

    fn drop_key(&mut self, key: &Key) {
        self.view.remove(key);
        self.settled.remove(key);
        self.renewals.remove(key);
        self.warned.remove(key);
        self.wake_at(key, None);
    }

    pub(super) fn is_settled(&self, key: &Key, fingerprint: u64) -> bool {
        self.settled.get(key) == Some(&fingerprint)
    }

    pub(super) fn settle(&mut self, key: &Key, fingerprint: u64, next: Option<Timestamp>) {
        self.settled.insert(key.clone(), fingerprint);
        self.wake_at(key, next);
    }

    /// Looks at it again at this time, whatever was settled.
    pub(super) fn wake_at(&mut self, key: &Key, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.due.insert(key.clone(), at),
            None => self.due.remove(key),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key.clone()));
        }
    }

    /// When the next wake-up is.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Puts what is due among what to look at.
    pub(super) fn collect_due(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.by_time.first()
            && *at <= now
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.due.remove(&key);
            self.settled.remove(&key);
            self.pending.push_back(key);
        }
    }

    /// Looks at it before all else: something has happened to it.
    pub(super) fn look_at_first(&mut self, key: Key) {
        self.pending.push_front(key);
    }

    pub(super) fn next_pending(&mut self) -> Option<Key> {
        self.pending.pop_front()
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Has its token replaced when there is time.
    pub(super) fn renew_later(&mut self, key: &Key) {
        self.renewals.insert(key.clone());
    }

    pub(super) fn next_renewal(&mut self) -> Option<Key> {
        self.renewals.pop_first()
    }

    pub(super) fn renewals(&self) -> usize {
        self.renewals.len()
    }

    /// Notes what is said about a token's end; `None` when there is nothing to say. Returns whether it is news.
    pub(super) fn warn(&mut self, key: &Key, reason: Option<&'static str>) -> bool {
        let before = match reason {
            Some(reason) => self.warned.insert(key.clone(), reason),
            None => self.warned.remove(key),
        };
        reason.is_some() && before != reason
    }
}

/// Whose a Secret of this name may be.
pub(super) fn holders_of(secret: &Key) -> impl Iterator<Item = Key> {
    SUFFIXES.into_iter().filter_map(|(suffix, kind)| {
        let name = secret.name.strip_suffix(suffix).filter(|name| !name.is_empty())?;
        Some(Key::new(kind, &secret.namespace, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Kind::Exporter, "lab", name)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_object_has_one_wake_up() {
        let mut state = State::default();
        state.settle(&key("a"), 1, Some(at(10)));
        state.settle(&key("b"), 2, Some(at(20)));
        state.wake_at(&key("a"), Some(at(30)));
        assert_eq!(state.next_due(), Some(at(20)));
        state.collect_due(at(20));
        assert_eq!(state.next_pending(), Some(key("b")));
        assert_eq!((state.next_pending(), state.next_due()), (None, Some(at(30))));
        assert!(!state.is_settled(&key("b"), 2) && state.is_settled(&key("a"), 1));
        state.wake_at(&key("a"), None);
        assert_eq!(state.next_due(), None);
    }

    #[test]
    fn what_the_store_refuses_holds_up_nothing_else() {
        let mut state = State::default();
        let object = |name: &str| {
            let exporter = serde_json::json!({
                "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter",
                "metadata": { "name": name, "namespace": "lab", "uid": name, "resourceVersion": "1" },
            });
            Object::from_value(exporter).unwrap()
        };
        state.mark_stuck(&key("a"), true);
        state.mark_stuck(&key("gone"), true);
        let pending = |state: &mut State| {
            state.reset(["a", "b", "c"].map(object));
            std::iter::from_fn(|| state.next_pending()).map(|key| key.name).collect::<Vec<_>>()
        };
        assert_eq!(pending(&mut state), ["b", "c", "a"]);
        state.mark_stuck(&key("a"), false);
        assert_eq!(pending(&mut state), ["a", "b", "c"]);
    }

    #[test]
    fn what_was_read_does_not_undo_what_was_told_meanwhile() {
        let object = |version: u64| {
            let exporter = serde_json::json!({
                "apiVersion": "jumpstarter.dev/v1alpha1", "kind": "Exporter",
                "metadata": { "name": "a", "namespace": "lab", "uid": "a", "resourceVersion": version.to_string() },
            });
            Object::from_value(exporter).unwrap()
        };
        let mut state = State::default();
        state.put(&object(2));
        state.replace(&key("a"), None, None);
        state.replace(&key("a"), None, Some(object(1)));
        assert_eq!(state.version(&key("a")), Some(ResourceVersion(2)));
        state.replace(&key("a"), Some(ResourceVersion(2)), Some(object(3)));
        assert_eq!(state.version(&key("a")), Some(ResourceVersion(3)));
        state.replace(&key("a"), Some(ResourceVersion(3)), None);
        assert_eq!(state.version(&key("a")), None);
    }

    #[test]
    fn warnings_are_news_when_they_change() {
        let mut state = State::default();
        assert!(!state.warn(&key("a"), None));
        assert!(state.warn(&key("a"), Some("ExpiresWithin30Days")));
        assert!(!state.warn(&key("a"), Some("ExpiresWithin30Days")));
        assert!(state.warn(&key("a"), Some("ExpiresWithin7Days")));
        assert!(!state.warn(&key("a"), None));
        assert!(state.warn(&key("a"), Some("ExpiresWithin7Days")));
    }

    #[test]
    fn a_secret_tells_its_holders() {
        let secret = |name: &str| holders_of(&Key::new(Kind::Secret, "lab", name)).map(|key| key.name).collect();
        let none: [&str; 0] = [];
        let rows: [(&str, Vec<String>); 4] = [
            ("alice-client", secret("alice-client")),
            ("a-client-exporter", secret("a-client-exporter")),
            ("-client", secret("-client")),
            ("other", secret("other")),
        ];
        assert_eq!(rows[0].1, ["alice"]);
        assert_eq!(rows[1].1, ["a-client"]);
        assert_eq!(rows[2].1, none);
        assert_eq!(rows[3].1, none);
    }
}
