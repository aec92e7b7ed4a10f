//! The read model: the latest durable state of every object, fed by one shared watch.
//!
//! Only the lab runtime writes it, and only with objects that the store has acknowledged, so whoever is told
//! something from here was told the truth.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease};
use tokio::sync::watch;

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

/// Wakes those who wait for one object to change.
#[derive(Default)]
pub(crate) struct Topics {
    by_name: Mutex<HashMap<String, watch::Sender<()>>>,
}

impl Topics {
    /// Subscribes to changes of `name`; each change after this call is seen.
    pub(crate) fn subscribe(&self, name: &str) -> watch::Receiver<()> {
        let mut topics = self.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        topics.entry(name.to_owned()).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    /// Forgets topics without subscribers: names may be asked for that nothing is ever published about.
    pub(crate) fn sweep(&self) {
        let mut topics = self.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        topics.retain(|_, topic| topic.receiver_count() > 0);
    }

    /// Wakes the subscribers of `name`; forgets the topic when nobody is left.
    pub(crate) fn publish(&self, name: &str) {
        let mut topics = self.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            if topic.receiver_count() == 0 {
                topics.remove(name);
            } else {
                topic.send_replace(());
            }
        }
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
    use super::*;

    #[test]
    fn topics_that_nobody_waits_for_do_not_stay() {
        let topics = Topics::default();
        let mut kept = topics.subscribe("kept");
        drop(topics.subscribe("gone"));
        topics.sweep();
        assert_eq!(topics.by_name.lock().unwrap().len(), 1);
        topics.publish("kept");
        assert!(kept.has_changed().unwrap());
        kept.mark_unchanged();
        drop(kept);
        topics.publish("kept");
        assert_eq!(topics.by_name.lock().unwrap().len(), 0);
    }
}
