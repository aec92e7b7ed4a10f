//! The election record, and how it stands in a Lease object.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

/// Annotation with the address, `host:port`, at which the leader serves.
pub const ADDRESS_ANNOTATION: &str = "jumpstarter.dev/leader-address";
/// Annotation with the `holderIdentity` that the address belongs to. A Go replica that takes over leaves annotations as
/// they are; its identity then tells that the address is another's.
pub const IDENTITY_ANNOTATION: &str = "jumpstarter.dev/leader-identity";

/// One who may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// `HOST_UNIQUE`: unlike that of any other process, also of one that had this host's name before.
    pub identity: String,
    /// Where this replica serves, `host:port`. It must have bound the port before it stands: who held the lock with the
    /// same host name and address before is taken to be dead.
    pub address: String,
}

/// What the lock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None` when it was released or never held.
    pub holder: Option<String>,
    /// How long others must see the record unchanged before they may take it. Zero when the object does not say.
    pub duration: Duration,
    /// When the holder took it, by the holder's clock.
    pub acquired: Option<Timestamp>,
    /// When the holder last renewed it, by the holder's clock.
    pub renewed: Option<Timestamp>,
    /// How often it went from one holder to another.
    pub transitions: i32,
    /// Where the holder serves, if it says so.
    pub address: Option<String>,
}

impl Record {
    /// Reads a Lease object. Nothing in it can be wrong: what is absent or out of range counts as not said.
    #[must_use]
    pub fn from_lease(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let annotation = |name: &str| lease.metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned();
        let address =
            annotation(ADDRESS_ANNOTATION).filter(|_| holder.is_some() && annotation(IDENTITY_ANNOTATION) == holder);
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
        Self {
            holder,
            duration: Duration::from_secs(seconds),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
            address,
        }
    }

    /// Writes this record into `lease`, whose other fields stay as they are.
    pub fn write_to(&self, lease: &mut Lease) {
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        // Empty rather than absent: every version of client-go reads that as released.
        spec.holder_identity = Some(self.holder.clone().unwrap_or_default());
        // The API server wants at least one second.
        let seconds = i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX).max(1);
        spec.lease_duration_seconds = Some(seconds);
        spec.acquire_time = self.acquired.map(MicroTime);
        spec.renew_time = self.renewed.map(MicroTime);
        spec.lease_transitions = Some(self.transitions);
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        match (&self.holder, &self.address) {
            (Some(holder), Some(address)) => {
                annotations.insert(ADDRESS_ANNOTATION.to_owned(), address.clone());
                annotations.insert(IDENTITY_ANNOTATION.to_owned(), holder.clone());
            }
            _ => {
                annotations.remove(ADDRESS_ANNOTATION);
                annotations.remove(IDENTITY_ANNOTATION);
            }
        }
    }

    /// A Lease object with this record.
    #[must_use]
    pub fn to_new_lease(&self, namespace: &str, name: &str) -> Lease {
        let metadata =
            ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
        let mut lease = Lease { metadata, spec: None };
        self.write_to(&mut lease);
        lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let at = |text: &str| Some(text.parse().unwrap());
        Record {
            holder: Some("pod-a_1".to_owned()),
            duration: Duration::from_secs(10),
            acquired: at("2026-01-02T03:04:05.000006Z"),
            renewed: at("2026-01-02T03:05:05.123456Z"),
            transitions: 4,
            address: Some("10.0.0.7:8082".to_owned()),
        }
    }

    #[test]
    fn a_record_survives_the_object() {
        let lease = record().to_new_lease("lab", "lock");
        assert_eq!(Record::from_lease(&lease), record());
        let json = serde_json::to_value(&lease).unwrap();
        // client-go reads exactly six digits.
        assert_eq!(json["spec"]["acquireTime"], "2026-01-02T03:04:05.000006Z");
        assert_eq!(json["spec"]["renewTime"], "2026-01-02T03:05:05.123456Z");
        assert_eq!(json["spec"]["leaseDurationSeconds"], 10);
        assert_eq!(json["spec"]["leaseTransitions"], 4);
        assert_eq!(json["metadata"]["annotations"][ADDRESS_ANNOTATION], "10.0.0.7:8082");
    }

    #[test]
    fn what_others_wrote_into_the_object_stays() {
        let mut lease = record().to_new_lease("lab", "lock");
        let annotations = lease.metadata.annotations.as_mut().unwrap();
        annotations.insert("team".to_owned(), "lab".to_owned());
        lease.spec.as_mut().unwrap().strategy = Some("OldestEmulationVersion".to_owned());
        Record { holder: None, address: None, ..record() }.write_to(&mut lease);
        let annotations = lease.metadata.annotations.unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["team"]);
        let spec = lease.spec.unwrap();
        assert_eq!(spec.strategy.as_deref(), Some("OldestEmulationVersion"));
        assert_eq!(spec.holder_identity.as_deref(), Some(""));
    }

    #[test]
    fn an_address_left_by_another_holder_is_not_believed() {
        let mut lease = record().to_new_lease("lab", "lock");
        lease.spec.as_mut().unwrap().holder_identity = Some("go-pod_2".to_owned());
        assert_eq!(Record::from_lease(&lease).address, None);
    }

    #[test]
    fn an_empty_object_says_nothing() {
        let record = Record::from_lease(&Lease::default());
        assert_eq!((record.holder, record.duration, record.transitions), (None, Duration::ZERO, 0));
    }
}
