//! The read model: the latest durable state of every object, fed by one shared watch.
//!
//! Only the lab runtime writes it, and only with objects that the store has acknowledged, so whoever is told
//! something from here was told the truth.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease, LeaseQuota, MaintenanceWindow};
use tokio::sync::Notify;

/// All objects of the namespace, by name.
#[derive(Default)]
pub(crate) struct Objects {
    /// Clients.
    pub(crate) clients: BTreeMap<String, Arc<Client>>,
    /// Exporters.
    pub(crate) exporters: BTreeMap<String, Arc<Exporter>>,
    /// Leases, ended ones included while they are kept.
    pub(crate) leases: BTreeMap<String, Arc<Lease>>,
    /// Names of the leases that have not ended.
    pub(crate) active_leases: BTreeSet<String>,
    /// Names of those among them that have no exporter.
    pub(crate) waiting_leases: BTreeSet<String>,
    /// Access policies.
    pub(crate) policies: BTreeMap<String, Arc<ExporterAccessPolicy>>,
    /// Quotas.
    pub(crate) quotas: BTreeMap<String, Arc<LeaseQuota>>,
    /// Maintenance windows.
    pub(crate) windows: BTreeMap<String, Arc<MaintenanceWindow>>,
}

impl Objects {
    /// Stores a lease and keeps the active index true.
    pub(crate) fn put_lease(&mut self, name: &str, lease: Arc<Lease>) {
        if lease.is_ended() {
            self.active_leases.remove(name);
        } else {
            self.active_leases.insert(name.to_owned());
        }
        if lease.is_ended() || lease.assigned_exporter().is_some() {
            self.waiting_leases.remove(name);
        } else {
            self.waiting_leases.insert(name.to_owned());
        }
        self.leases.insert(name.to_owned(), lease);
    }

    /// Removes a lease.
    pub(crate) fn remove_lease(&mut self, name: &str) {
        self.active_leases.remove(name);
        self.waiting_leases.remove(name);
        self.leases.remove(name);
    }

    /// The lease that holds an exporter, when both sides say so and it may still be used.
    #[must_use]
    pub(crate) fn holder(&self, exporter: &str) -> Option<&Arc<Lease>> {
        let name = &self.exporters.get(exporter)?.status.as_ref()?.lease_ref.as_ref()?.name;
        let lease = self.leases.get(name)?;
        let holds =
            !lease.is_ended() && lease.spec.release != Some(true) && lease.assigned_exporter() == Some(exporter);
        holds.then_some(lease)
    }
}

/// Wakes those who wait for one object to change, in the order in which they began to wait.
#[derive(Default)]
pub(crate) struct Topics {
    by_name: Mutex<HashMap<String, Arc<Topic>>>,
    /// Of changes of whatever name.
    any: Arc<Topic>,
}

#[derive(Default)]
struct Topic {
    changes: AtomicU64,
    bell: Notify,
}

/// Sees each change of one object that comes after it was made.
pub(crate) struct Subscription {
    topic: Arc<Topic>,
    seen: u64,
}

impl Topics {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Topic>>> {
        self.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Number of names that somebody waits for, or has.
    pub(crate) fn entries(&self) -> usize {
        self.lock().len()
    }

    /// Subscribes to changes of `name`; each change after this call is seen.
    pub(crate) fn subscribe(&self, name: &str) -> Subscription {
        let topic = Arc::clone(self.lock().entry(name.to_owned()).or_default());
        Subscription { seen: topic.changes.load(Ordering::Acquire), topic }
    }

    /// Subscribes to changes of all names.
    pub(crate) fn subscribe_to_all(&self) -> Subscription {
        let topic = Arc::clone(&self.any);
        Subscription { seen: topic.changes.load(Ordering::Acquire), topic }
    }

    /// Forgets topics without subscribers: names may be asked for that nothing is ever published about.
    pub(crate) fn sweep(&self) {
        self.lock().retain(|_, topic| Arc::strong_count(topic) > 1);
    }

    /// Wakes the subscribers of `name`; forgets the topic when nobody is left.
    pub(crate) fn publish(&self, name: &str) {
        let mut topics = self.lock();
        if let Some(topic) = topics.get(name) {
            if Arc::strong_count(topic) == 1 {
                topics.remove(name);
            } else {
                topic.ring();
            }
        }
        drop(topics);
        self.any.ring();
    }
}

impl Topic {
    fn ring(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.bell.notify_waiters();
    }
}

impl Subscription {
    /// Waits for a change that was not seen yet; several at once are one.
    ///
    /// # Cancel safety
    /// Cancel safe: a change counts as seen only when this returns.
    pub(crate) async fn changed(&mut self) {
        loop {
            let rung = self.topic.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let now = self.topic.changes.load(Ordering::Acquire);
            if now != self.seen {
                self.seen = now;
                return;
            }
            rung.await;
        }
    }

    /// Counts every change so far as seen.
    pub(crate) fn mark_unchanged(&mut self) {
        self.seen = self.topic.changes.load(Ordering::Acquire);
    }
}

/// Shared handle to the read model.
#[derive(Clone, Default)]
pub(crate) struct World {
    objects: Arc<RwLock<Objects>>,
    /// Changes by lease name.
    pub(crate) lease_topics: Arc<Topics>,
    /// Changes by exporter name, the lease that holds it included.
    pub(crate) exporter_topics: Arc<Topics>,
}

impl World {
    /// Reads; never hold the guard across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Objects> {
        self.objects.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Objects> {
        self.objects.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One lease.
    #[must_use]
    pub(crate) fn lease(&self, name: &str) -> Option<Arc<Lease>> {
        self.read().leases.get(name).cloned()
    }

    /// One exporter.
    #[must_use]
    pub(crate) fn exporter(&self, name: &str) -> Option<Arc<Exporter>> {
        self.read().exporters.get(name).cloned()
    }

    /// One client.
    #[must_use]
    pub(crate) fn client(&self, name: &str) -> Option<Arc<Client>> {
        self.read().clients.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn each_change_is_seen_once_and_topics_that_nobody_waits_for_do_not_stay() {
        let topics = Topics::default();
        let mut kept = topics.subscribe("kept");
        drop(topics.subscribe("gone"));
        topics.sweep();
        assert_eq!(topics.lock().len(), 1);
        assert!(kept.changed().now_or_never().is_none());
        topics.publish("kept");
        assert!(kept.changed().now_or_never().is_some());
        assert!(kept.changed().now_or_never().is_none());
        topics.publish("kept");
        kept.mark_unchanged();
        assert!(kept.changed().now_or_never().is_none());
        let mut all = topics.subscribe_to_all();
        topics.publish("nobody asked for it");
        assert!(all.changed().now_or_never().is_some());
        assert!(all.changed().now_or_never().is_none());
        drop(kept);
        topics.publish("kept");
        assert_eq!(topics.lock().len(), 0);
    }
}
