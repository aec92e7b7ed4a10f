//! Objects coming in: from the store's answers, its watch, and lists.

use std::{collections::HashSet, sync::Arc};

use jumpstarter_model::{Client, Exporter, ExporterAccessPolicy, Lease};
use jumpstarter_scheduler::Change;
use jumpstarter_store::{Event, Key, Kind, ListOptions, Object, ResourceVersion, StoreError};
use tracing::{error, warn};

use super::{KINDS, Runtime};

impl Runtime {
    /// Lists everything and forgets what is gone.
    pub(super) async fn relist(&mut self) -> Result<ResourceVersion, StoreError> {
        let mut version = None;
        for kind in KINDS {
            let list = self.store.list(kind, &self.config.namespace, ListOptions::default()).await?;
            // The oldest version of the lists: a watch from there repeats a little and misses nothing.
            version = Some(version.map_or(list.resource_version, |v: ResourceVersion| v.min(list.resource_version)));
            let names: HashSet<&str> = list.items.iter().map(Object::name).collect();
            let gone: Vec<String> = {
                let objects = self.world.read();
                let known: Box<dyn Iterator<Item = &String>> = match kind {
                    Kind::Client => Box::new(objects.clients.keys()),
                    Kind::Exporter => Box::new(objects.exporters.keys()),
                    Kind::ExporterAccessPolicy => Box::new(objects.policies.keys()),
                    _ => Box::new(objects.leases.keys()),
                };
                known.filter(|name| !names.contains(name.as_str())).cloned().collect()
            };
            for name in gone {
                self.forget(kind, &name);
            }
            for object in &list.items {
                self.absorb(object);
            }
        }
        Ok(version.unwrap_or_default())
    }

    /// Reads one object again.
    pub(super) async fn refresh(&mut self, key: &Key) {
        match self.store.get(key).await {
            Ok(Some(object)) => self.absorb(&object),
            Ok(None) => self.forget(key.kind, &key.name),
            Err(error) => warn!(object = %key, %error, "read an object again"),
        }
    }

    pub(super) fn absorb_event(&mut self, event: Event) {
        if event.object().namespace() != self.config.namespace {
            return;
        }
        match event {
            Event::Added(object) | Event::Modified(object) => self.absorb(&object),
            Event::Deleted(object) => {
                if self.known_version(object.key()).is_some_and(|known| known <= object.resource_version()) {
                    self.forget(object.kind(), object.name());
                }
            }
        }
    }

    fn known_version(&self, key: &Key) -> Option<ResourceVersion> {
        let objects = self.world.read();
        let name = key.name.as_str();
        let version = match key.kind {
            Kind::Client => objects.clients.get(name)?.metadata.resource_version.clone(),
            Kind::Exporter => objects.exporters.get(name)?.metadata.resource_version.clone(),
            Kind::ExporterAccessPolicy => objects.policies.get(name)?.metadata.resource_version.clone(),
            Kind::Lease => objects.leases.get(name)?.metadata.resource_version.clone(),
            Kind::Secret | Kind::ConfigMap => None,
        };
        version?.parse().ok()
    }

    /// Takes over an object that the store has acknowledged, unless a newer one is known.
    pub(super) fn absorb(&mut self, object: &Object) {
        if self.known_version(object.key()).is_some_and(|known| known > object.resource_version()) {
            return;
        }
        let seen = match object.kind() {
            Kind::Client => object.decode::<Client>().map(|client| {
                self.lab.observe(Change::Client(&client));
                self.world.write().clients.insert(object.name().to_owned(), Arc::new(client));
            }),
            Kind::Exporter => object.decode::<Exporter>().map(|exporter| {
                self.lab.observe(Change::Exporter(&exporter));
                self.world.write().exporters.insert(object.name().to_owned(), Arc::new(exporter));
                self.look_at.insert(object.name().to_owned());
                self.world.exporter_topics.publish(object.name());
            }),
            Kind::ExporterAccessPolicy => object.decode::<ExporterAccessPolicy>().map(|policy| {
                self.lab.observe(Change::Policy(&policy));
                self.world.write().policies.insert(object.name().to_owned(), Arc::new(policy));
            }),
            Kind::Lease => object.decode::<Lease>().map(|lease| self.absorb_lease(object.name(), lease)),
            Kind::Secret | Kind::ConfigMap => Ok(()),
        };
        if let Err(error) = seen {
            error!(object = %object.key(), %error, "an object cannot be read and is left out: mend or delete it");
            // What it said before no longer holds, and decisions that rest on it could never be stored.
            if self.known_version(object.key()).is_some() {
                self.forget(object.kind(), object.name());
            }
        }
    }

    fn absorb_lease(&mut self, name: &str, lease: Lease) {
        self.lab.observe(Change::Lease(&lease));
        let exporter = lease.assigned_exporter().map(str::to_owned);
        if lease.is_ended() {
            self.rendezvous.close(name);
        }
        self.world.write().put_lease(name, Arc::new(lease));
        self.world.lease_topics.publish(name);
        if let Some(exporter) = exporter {
            self.world.exporter_topics.publish(&exporter);
        }
    }

    pub(super) fn forget_lease(&mut self, name: &str) {
        let exporter = self.world.lease(name).and_then(|lease| lease.assigned_exporter().map(str::to_owned));
        self.lab.observe(Change::LeaseDeleted(name));
        self.rendezvous.close(name);
        self.world.write().remove_lease(name);
        self.world.lease_topics.publish(name);
        if let Some(exporter) = exporter {
            self.world.exporter_topics.publish(&exporter);
        }
    }

    fn forget(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Client => {
                self.lab.observe(Change::ClientDeleted(name));
                self.world.write().clients.remove(name);
            }
            Kind::Exporter => {
                self.lab.observe(Change::ExporterDeleted(name));
                self.world.write().exporters.remove(name);
                self.presence.forget(name);
                self.world.exporter_topics.publish(name);
            }
            Kind::ExporterAccessPolicy => {
                self.lab.observe(Change::PolicyDeleted(name));
                self.world.write().policies.remove(name);
            }
            Kind::Lease => self.forget_lease(name),
            Kind::Secret | Kind::ConfigMap => {}
        }
    }
}
