//! Queues: who waits for what.

use std::collections::BTreeSet;

use jumpstarter_model::condition::lease as condition;

use super::{
    Lab,
    names::Name,
    want::{Request, Want, WantId},
};

/// Wants kept although nobody waits, so that the next equal request need not count its exporters again. A lab has few
/// kinds of request; 64 cover them without making exporter events expensive.
const IDLE_WANTS: usize = 64;
/// More are kept in a large lab with many kinds of board, as long as an exporter is in no more than these on average.
const IDLE_WANTS_EACH: usize = 4;
const MOST_IDLE_WANTS: usize = 512;

impl Lab {
    /// Puts a waiting lease into the queue of its want; nothing to do if it stands there.
    pub(super) fn enqueue(&mut self, name: &Name) {
        let Some(entry) = self.leases.get(name) else { return };
        let (None, Ok(request)) = (entry.want, &entry.request) else { return };
        let (age, client, kind, request) = (entry.age.clone(), entry.client.clone(), entry.kind(), request.clone());
        let told_not_ready = entry.pending.as_deref() == Some(condition::NOT_READY);
        let told_over = entry.pending.as_deref() == Some(condition::QUOTA_EXCEEDED);
        let in_group = entry.group.is_some();
        let mut first = false;
        let id = self.want(request);
        if let Some(want) = self.wants.get_mut(&id) {
            if in_group {
                first = want.members.insert(name.clone());
            } else {
                want.waiting.insert(age.clone());
                let alike = want.kinds.entry(kind.clone()).or_default();
                if alike.is_empty() {
                    first = true;
                    self.marked.demand.insert(id);
                }
                alike.insert(age);
                if told_over {
                    want.set_told_over(&kind, name, true);
                }
                self.marked.contest = true;
                if told_not_ready {
                    want.told_not_ready.insert(name.clone());
                }
            }
            if let Some(stamp) = want.idle.take() {
                self.idle_wants.remove(&(stamp, id));
            }
        }
        if let Some(entry) = self.leases.get_mut(name) {
            entry.want = Some(id);
        }
        if first {
            self.set_queue(id, &kind, true);
        }
        self.count_waiting(&client, true);
        self.clients.entry(client).or_default().insert(name.clone());
        self.marked.seeking.insert(name.clone());
        self.marked.reasons.insert(name.clone());
    }

    /// Takes a lease out of its queue, if it stands in one.
    pub(super) fn dequeue(&mut self, name: &Name) {
        let Some(entry) = self.leases.get_mut(name) else { return };
        let Some(id) = entry.want.take() else { return };
        let (age, kind) = (entry.age.clone(), entry.kind());
        let mut last = false;
        if let Some(leases) = self.clients.get_mut(&entry.client) {
            leases.remove(name);
            if leases.is_empty() {
                self.clients.remove(&entry.client);
            }
        }
        self.marked.seeking.remove(name);
        self.marked.reasons.remove(name);
        let Some(want) = self.wants.get_mut(&id) else { return };
        want.waiting.remove(&age);
        if want.members.remove(name) {
            let alike = |name: &Name| self.leases.get(name).is_some_and(|entry| entry.kind() == kind);
            last = !want.kinds.contains_key(&kind) && !want.members.iter().any(alike);
        }
        if let Some(alike) = want.kinds.get_mut(&kind) {
            alike.remove(&age);
            if alike.is_empty() {
                want.kinds.remove(&kind);
                last = !want.members.iter().any(|name| self.leases.get(name).is_some_and(|entry| entry.kind() == kind));
                self.marked.demand.insert(id);
            }
        }
        self.marked.contest = true;
        want.told_not_ready.remove(name);
        want.set_told_over(&kind, name, false);
        if want.is_idle() {
            self.counter += 1;
            want.idle = Some(self.counter);
            self.idle_wants.insert((self.counter, id));
            self.drop_idle_wants();
        }
        if last {
            self.set_queue(id, &kind, false);
        }
        self.count_waiting(&kind.0, false);
    }

    fn want(&mut self, request: Request) -> WantId {
        if let Some(id) = self.want_ids.get(&request.key) {
            return *id;
        }
        self.counter += 1;
        let id = WantId(self.counter);
        let mut want = Want::new(request);
        for name in self.matching(&want.request) {
            if let Some(bench) = self.exporters.get_mut(&name) {
                bench.wants.insert(id);
                want.shift(&name, &bench.seen.labels, None, Some(want.place_of(bench)));
            }
        }
        self.want_ids.insert(want.request.key.clone(), id);
        self.want_index.insert(id, &want.request);
        self.wants.insert(id, want);
        id
    }

    /// Every exporter that a request is about, by name.
    pub(super) fn matching(&self, request: &Request) -> Vec<Name> {
        let about =
            |name: &Name| self.exporters.get(name).is_some_and(|bench| request.is_about(name, &bench.seen.labels));
        if let Some(pinned) = &request.pinned {
            return Some(pinned).filter(|name| about(name)).cloned().into_iter().collect();
        }
        let mut found = match self.labels.narrow(&request.selector) {
            Some(names) => names,
            None => self.exporters.keys().cloned().collect(),
        };
        found.retain(about);
        found.sort();
        found.dedup();
        found
    }

    fn has_too_many_idle_wants(&self) -> bool {
        if !(IDLE_WANTS + 1..=MOST_IDLE_WANTS).contains(&self.idle_wants.len()) {
            return self.idle_wants.len() > MOST_IDLE_WANTS;
        }
        let idle = self.idle_wants.iter().filter_map(|(_, id)| self.wants.get(id));
        let counted: usize = idle.flat_map(|want| want.tally.values()).map(BTreeSet::len).sum();
        counted > IDLE_WANTS_EACH * self.exporters.len()
    }

    fn drop_idle_wants(&mut self) {
        while self.has_too_many_idle_wants() {
            let Some((_, id)) = self.idle_wants.pop_first() else { return };
            let Some(want) = self.wants.remove(&id) else { continue };
            self.want_ids.remove(&want.request.key);
            self.want_index.remove(id, &want.request);
            self.marked.wants.remove(&id);
            self.marked.shifted.remove(&id);
            for (_, name) in want.tally.values().flatten() {
                if let Some(bench) = self.exporters.get_mut(name) {
                    bench.wants.remove(&id);
                }
            }
        }
    }
}
