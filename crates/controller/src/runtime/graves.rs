//! Names of objects that are gone, so that late news does not bring them back.

use std::collections::{HashMap, VecDeque};

use jumpstarter_store::{Key, ResourceVersion};

/// Names kept. News is late by seconds; a lab deletes a few objects a second at most.
const KEPT: usize = 4096;

/// The last versions of objects that are gone; the oldest are forgotten.
#[derive(Default)]
pub(super) struct Graves {
    versions: HashMap<Key, ResourceVersion>,
    order: VecDeque<Key>,
}

impl Graves {
    /// Notes that an object is gone, and that nothing up to this version is news of it.
    pub(super) fn dig(&mut self, key: &Key, version: ResourceVersion) {
        let known = self.versions.entry(key.clone()).or_insert_with(|| {
            self.order.push_back(key.clone());
            version
        });
        *known = version.max(*known);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.versions.remove(&oldest);
        }
    }

    /// Whether this state of an object was over before the object went.
    pub(super) fn hold(&self, key: &Key, version: ResourceVersion) -> bool {
        self.versions.get(key).is_some_and(|known| *known >= version)
    }
}

#[cfg(test)]
mod tests {
    use jumpstarter_store::Kind;

    use super::*;

    #[test]
    fn only_what_is_newer_comes_back_and_only_so_many_are_kept() {
        let mut graves = Graves::default();
        let key = |number: usize| Key::new(Kind::Lease, "lab", number.to_string());
        graves.dig(&key(0), ResourceVersion(7));
        graves.dig(&key(0), ResourceVersion(5));
        assert!(graves.hold(&key(0), ResourceVersion(7)));
        assert!(!graves.hold(&key(0), ResourceVersion(8)));
        for number in 1..=KEPT {
            graves.dig(&key(number), ResourceVersion(1));
        }
        assert!(!graves.hold(&key(0), ResourceVersion(7)));
        assert_eq!((graves.versions.len(), graves.order.len()), (KEPT, KEPT));
    }
}
