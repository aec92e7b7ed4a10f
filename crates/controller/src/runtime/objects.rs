//! Objects coming in: from the store's answers, its watch, and lists.

use std::{collections::HashSet, sync::Arc};

use jumpstarter_model::{
    Client, Exporter, ExporterAccessPolicy, ExporterAccessPolicySpec, ExporterPhase, Lease, LeaseQuota,
    MaintenanceWindow,
};
use jumpstarter_scheduler::Change;
use jumpstarter_store::{DecodeError, Event, Key, Kind, List, Object, ResourceVersion};
use tracing::{error, warn};

use super::Runtime;
use crate::migrate;

impl Runtime {
    /// Takes over lists of everything, and forgets what is gone.
    pub(super) fn absorb_lists(&mut self, lists: &[(Kind, List)]) {
        for (kind, list) in lists {
            let names: HashSet<&str> = list.items.iter().map(Object::name).collect();
            for key in self.known_keys(*kind) {
                // What was made after the list was is not gone.
                let older = self.known_version(&key).is_some_and(|known| known <= list.resource_version);
                if older && !names.contains(key.name.as_str()) {
                    self.forget(&key);
                }
            }
            for object in &list.items {
                self.absorb(object);
            }
        }
    }

    fn known_keys(&self, kind: Kind) -> Vec<Key> {
        let objects = self.world.read();
        let names: Vec<&String> = match kind {
            Kind::Client => objects.clients.keys().collect(),
            Kind::Exporter => objects.exporters.keys().collect(),
            Kind::ExporterAccessPolicy => objects.policies.keys().collect(),
            Kind::LeaseQuota => objects.quotas.keys().collect(),
            Kind::MaintenanceWindow => objects.windows.keys().collect(),
            Kind::Lease => objects.leases.keys().collect(),
            Kind::Secret | Kind::ConfigMap => Vec::new(),
        };
        let known = names.into_iter().map(|name| Key::new(kind, &self.config.namespace, name));
        known.chain(self.unreadable.keys().filter(|key| key.kind == kind).cloned()).collect()
    }

    pub(super) fn absorb_event(&mut self, event: Event) {
        if event.object().namespace() != self.config.namespace {
            return;
        }
        match event {
            Event::Added(object) | Event::Modified(object) => self.absorb(&object),
            Event::Deleted(object) => {
                if self.known_version(object.key()).is_none_or(|known| known <= object.resource_version()) {
                    self.bury(object.key(), Some(object.resource_version()));
                }
            }
        }
    }

    /// The version of an object that was taken over last, readable or not.
    pub(super) fn known_version(&self, key: &Key) -> Option<ResourceVersion> {
        if let Some(version) = self.unreadable.get(key) {
            return Some(*version);
        }
        let objects = self.world.read();
        let name = key.name.as_str();
        let version = match key.kind {
            Kind::Client => objects.clients.get(name)?.metadata.resource_version.clone(),
            Kind::Exporter => objects.exporters.get(name)?.metadata.resource_version.clone(),
            Kind::ExporterAccessPolicy => objects.policies.get(name)?.metadata.resource_version.clone(),
            Kind::LeaseQuota => objects.quotas.get(name)?.metadata.resource_version.clone(),
            Kind::MaintenanceWindow => objects.windows.get(name)?.metadata.resource_version.clone(),
            Kind::Lease => objects.leases.get(name)?.metadata.resource_version.clone(),
            Kind::Secret | Kind::ConfigMap => None,
        };
        version?.parse().ok()
    }

    /// Takes over an object that the store has acknowledged, unless it is known already or a newer one is.
    pub(super) fn absorb(&mut self, object: &Object) {
        let (key, version) = (object.key(), object.resource_version());
        if self.known_version(key).is_some_and(|known| known >= version) || self.graves.hold(key, version) {
            return;
        }
        if migrate::is_due(object) {
            return self.leave_for_later(object);
        }
        let name = object.name();
        let seen = match object.kind() {
            Kind::Client => object.decode::<Client>().map(|client| {
                self.lab.observe(Change::Client(&client));
                self.world.write().clients.insert(name.to_owned(), Arc::new(client));
            }),
            Kind::Exporter => object.decode::<Exporter>().map(|exporter| {
                self.notice_phase(name, &exporter);
                self.lab.observe(Change::Exporter(&exporter));
                self.world.write().exporters.insert(name.to_owned(), Arc::new(exporter));
                self.look_at.insert(name.to_owned());
                self.world.exporter_topics.publish(name);
            }),
            Kind::ExporterAccessPolicy => object.decode::<ExporterAccessPolicy>().map(|policy| {
                self.lab.observe(Change::Policy(&policy));
                self.world.write().policies.insert(name.to_owned(), Arc::new(policy));
            }),
            Kind::LeaseQuota => object.decode::<LeaseQuota>().map(|quota| {
                self.lab.observe(Change::Quota(&quota));
                self.world.write().quotas.insert(name.to_owned(), Arc::new(quota));
            }),
            Kind::MaintenanceWindow => object.decode::<MaintenanceWindow>().map(|window| {
                self.note_window(object, &window);
                self.lab.observe(Change::Window(&window));
                self.world.write().windows.insert(name.to_owned(), Arc::new(window));
            }),
            Kind::Lease => object.decode::<Lease>().map(|lease| self.absorb_lease(name, lease)),
            Kind::Secret | Kind::ConfigMap => Ok(()),
        };
        match seen {
            Ok(()) => _ = self.unreadable.remove(key),
            Err(error) => self.leave_out(object, &error),
        }
    }

    /// What an exporter has told another leader counts as much as what it told this one.
    fn notice_phase(&self, name: &str, exporter: &Exporter) {
        let phase = |exporter: &Exporter| exporter.status.as_ref()?.exporter_status;
        let was = self.world.exporter(name).and_then(|known| phase(&known));
        match phase(exporter) {
            Some(ExporterPhase::Unspecified | ExporterPhase::Offline) | None => {}
            Some(is) if was.is_some() && was != Some(is) => self.presence.noticed(name, is),
            Some(_) => {}
        }
    }

    /// An object that cannot be read is as good as none until it is mended. What it said before no longer holds, and
    /// decisions that rest on it could never be stored: a lease loses its device, an exporter its lease.
    fn leave_out(&mut self, object: &Object, error: &DecodeError) {
        let key = object.key();
        error!(object = %key, %error, "an object cannot be read and is left out: mend or delete it");
        self.tell_unreadable(object, &error.to_string());
        self.remove(key);
        if key.kind == Kind::ExporterAccessPolicy {
            // It admits nobody. If it were none, the last policy of a lab would let everybody in.
            let closed = ExporterAccessPolicy::new(&key.name, ExporterAccessPolicySpec::default());
            self.lab.observe(Change::Policy(&closed));
        }
        self.unreadable.insert(key.clone(), object.resource_version());
    }

    /// An object whose status is still to be taken over, which is only done at the start.
    fn leave_for_later(&mut self, object: &Object) {
        warn!(object = %object.key(), "its status is taken over at the next start of the controller: left out until then");
        let text = "its status is in an annotation, from where it came: restart the controller to take it over";
        self.tell_unreadable(object, text);
        self.unreadable.insert(object.key().clone(), object.resource_version());
    }

    fn absorb_lease(&mut self, name: &str, lease: Lease) {
        self.aside.remove(name);
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

    /// Notes that an object is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.bury(key, None);
    }

    /// Notes that an object is gone, with the version of the deletion where that is known.
    pub(super) fn bury(&mut self, key: &Key, version: Option<ResourceVersion>) {
        if let Some(last) = version.max(self.known_version(key)) {
            self.graves.dig(key, last);
        }
        self.unreadable.remove(key);
        self.remove(key);
    }

    fn remove(&mut self, key: &Key) {
        let name = key.name.as_str();
        match key.kind {
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
            Kind::LeaseQuota => {
                self.lab.observe(Change::QuotaDeleted(name));
                self.world.write().quotas.remove(name);
            }
            Kind::MaintenanceWindow => {
                self.lab.observe(Change::WindowDeleted(name));
                self.world.write().windows.remove(name);
            }
            Kind::Lease => self.remove_lease(name),
            Kind::Secret | Kind::ConfigMap => {}
        }
    }

    fn remove_lease(&mut self, name: &str) {
        let exporter = self.world.lease(name).and_then(|lease| lease.assigned_exporter().map(str::to_owned));
        self.aside.remove(name);
        self.lab.observe(Change::LeaseDeleted(name));
        self.rendezvous.close(name);
        self.world.write().remove_lease(name);
        self.world.lease_topics.publish(name);
        if let Some(exporter) = exporter {
            self.world.exporter_topics.publish(&exporter);
        }
    }

    /// Tells the core the truth about objects, after a write of them whose outcome is known.
    pub(super) fn observe_again(&mut self, keys: &[Key]) {
        for key in keys {
            let name = key.name.as_str();
            match key.kind {
                Kind::Lease => match self.world.lease(name) {
                    Some(lease) if !self.is_aside(name) => self.lab.observe(Change::Lease(&lease)),
                    _ => self.lab.observe(Change::LeaseDeleted(name)),
                },
                Kind::Exporter => {
                    match self.world.exporter(name) {
                        Some(exporter) => self.lab.observe(Change::Exporter(&exporter)),
                        None => self.lab.observe(Change::ExporterDeleted(name)),
                    }
                    self.observe_tear_down(name);
                }
                Kind::Client
                | Kind::ExporterAccessPolicy
                | Kind::LeaseQuota
                | Kind::MaintenanceWindow
                | Kind::Secret
                | Kind::ConfigMap => {}
            }
        }
    }
}
