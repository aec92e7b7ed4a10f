//! Leases as a client sees them.
use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use jumpstarter_protocol::client::v1 as pb;

use crate::LeaseProblem;

/// A lease. Names are bare, without `namespaces/…`.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Selector in the service's spelling; empty when an exporter was named.
    pub selector: String,
    /// Exporter that was asked for by name.
    pub exporter_name: Option<String>,
    /// Requested duration.
    pub duration: Option<Duration>,
    /// Elapsed so far, final once ended.
    pub effective_duration: Option<Duration>,
    /// Requested begin.
    pub begin_time: Option<Timestamp>,
    /// Real begin.
    pub effective_begin_time: Option<Timestamp>,
    /// Requested end.
    pub end_time: Option<Timestamp>,
    /// Real end; set only once the lease is over.
    pub effective_end_time: Option<Timestamp>,
    /// Its owner.
    pub client: String,
    /// The exporter it holds.
    pub exporter: Option<String>,
    /// Conditions in the service's order.
    pub conditions: Vec<LeaseCondition>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Context that the exporter is told.
    pub context: BTreeMap<String, String>,
    /// Labels of the selector that are going away, with what to use instead.
    pub deprecated_labels: BTreeMap<String, String>,
    /// Where it stands while it waits, where the service tells.
    pub queue: Option<LeaseQueue>,
    /// Should it be held as spot and be preempted, another one will wait in its stead.
    pub requeue: bool,
    /// Name of that one, once it was.
    pub requeued_as: Option<String>,
    /// The group that it is in.
    pub group: Option<String>,
}

/// Where a waiting lease stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseQueue {
    /// 1 is next.
    pub position: u32,
    /// Why it waits, in one word.
    pub reason: String,
    /// The exporters that it could get, and what keeps it from each.
    pub candidates: Vec<LeaseCandidate>,
}

/// An exporter that a waiting lease could get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseCandidate {
    /// Its bare name.
    pub exporter: String,
    /// What is in the way, in one word.
    pub reason: String,
    /// The same for people.
    pub message: String,
}

/// One condition of a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseCondition {
    /// `Pending`, `Ready`, `Unsatisfiable`, `Invalid`.
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Generation of the lease that it is about.
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    pub last_transition_time: Option<Timestamp>,
}

/// What a client makes of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// It holds this exporter.
    Ready(String),
    /// Not yet; why, for people.
    Waiting(String),
    /// Never (again).
    Over(LeaseProblem),
}

/// What to ask for. `selector` or `exporter_name` is needed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateLease {
    /// Label selector.
    pub selector: String,
    /// One exporter by name.
    pub exporter_name: Option<String>,
    /// How long.
    pub duration: Duration,
    /// Not before.
    pub begin_time: Option<Timestamp>,
    /// Name of the lease; chosen by the service when absent.
    pub lease_id: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Context for the exporter.
    pub context: BTreeMap<String, String>,
    /// Exporters switched off may be used too.
    pub allow_disabled: bool,
    /// Should the lease be held as spot and be preempted, another one is to wait in its stead. Services that do not
    /// know of it pass it over: [`Lease::requeue`] says whether it will be.
    pub requeue: bool,
}

/// Several leases that are served together or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateLeaseGroup {
    /// Name of the group, a label value; chosen by the service when absent. Its leases are called `{name}-0` and so on.
    pub name: Option<String>,
    /// One for each exporter, with the same begin; their names are not looked at.
    pub leases: Vec<CreateLease>,
    /// Keys of exporter labels whose values must be equal on all exporters.
    pub same: Vec<String>,
}

/// A group of leases.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseGroup {
    /// Its name.
    pub name: String,
    /// In the order in which they were asked for.
    pub leases: Vec<Lease>,
}

/// What to change; only the fields that are set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateLease {
    /// New total duration.
    pub duration: Option<Duration>,
    /// New begin.
    pub begin_time: Option<Timestamp>,
    /// New owner, a bare client name.
    pub client: Option<String>,
}

impl Lease {
    /// When it ends, or ended: the real end, else from its begin, real or requested. None when nobody can say yet.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let planned = |begin: Option<Timestamp>| {
            let duration =
                jiff::SignedDuration::try_from(self.duration.filter(|duration| !duration.is_zero())?).ok()?;
            begin?.checked_add(duration).ok()
        };
        self.effective_end_time.or_else(|| planned(self.effective_begin_time)).or_else(|| planned(self.begin_time))
    }

    /// The conditions in the order that the rules look at them.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        let condition =
            |kind: &str, status: &str| self.conditions.iter().find(|c| c.kind == kind && c.status == status);
        let text = |c: &LeaseCondition| {
            if c.message.is_empty() { c.reason.clone() } else { c.message.clone() }
        };
        // A lease that never got an exporter has ended too, but why matters more.
        if let Some(c) = condition("Unsatisfiable", "True") {
            return LeaseState::Over(LeaseProblem::Unsatisfiable(text(c)));
        }
        if let Some(c) = condition("Invalid", "True") {
            return LeaseState::Over(LeaseProblem::Invalid(text(c)));
        }
        if self.effective_end_time.is_some() {
            let last = self.conditions.last().map(text).unwrap_or_default();
            return LeaseState::Over(LeaseProblem::Ended(last));
        }
        if condition("Ready", "True").is_some()
            && let Some(exporter) = &self.exporter
        {
            return LeaseState::Ready(exporter.clone());
        }
        let pending = condition("Pending", "True");
        if let (None, Some(c)) = (pending, condition("Ready", "False")) {
            return LeaseState::Over(LeaseProblem::Ended(text(c)));
        }
        LeaseState::Waiting(pending.map_or_else(|| "no decision yet".to_owned(), text))
    }

    pub(crate) fn from_proto(lease: pb::Lease) -> Result<Self, String> {
        let (namespace, name) = split(&lease.name, "leases")?;
        let bare = |full: Option<String>, collection| match full.filter(|text| !text.is_empty()) {
            Some(text) => split(&text, collection).map(|(_, name)| Some(name)),
            None => Ok(None),
        };
        let condition = |c: jumpstarter_protocol::v1::Condition| LeaseCondition {
            kind: c.r#type.unwrap_or_default(),
            status: c.status.unwrap_or_default(),
            reason: c.reason.unwrap_or_default(),
            message: c.message.unwrap_or_default(),
            observed_generation: c.observed_generation,
            last_transition_time: c
                .last_transition_time
                .and_then(|time| Timestamp::new(time.seconds.unwrap_or_default(), time.nanos.unwrap_or_default()).ok()),
        };
        Ok(Self {
            namespace,
            name,
            selector: if lease.selector == "<none>" { String::new() } else { lease.selector },
            exporter_name: lease.exporter_name.filter(|name| !name.is_empty()),
            duration: duration(lease.duration),
            effective_duration: duration(lease.effective_duration),
            begin_time: timestamp(lease.begin_time),
            effective_begin_time: timestamp(lease.effective_begin_time),
            end_time: timestamp(lease.end_time),
            effective_end_time: timestamp(lease.effective_end_time),
            client: bare(lease.client, "clients")?.unwrap_or_default(),
            exporter: bare(lease.exporter, "exporters")?,
            conditions: lease.conditions.into_iter().map(condition).collect(),
            tags: lease.tags.into_iter().collect(),
            context: lease.context.into_iter().collect(),
            deprecated_labels: lease.deprecated_labels.into_iter().collect(),
            queue: lease.queue.map(queue),
            requeue: lease.requeue,
            requeued_as: bare(lease.requeued_as, "leases")?,
            group: Some(lease.group).filter(|group| !group.is_empty()),
        })
    }
}

fn queue(found: pb::LeaseQueue) -> LeaseQueue {
    let candidate = |found: pb::LeaseCandidate| LeaseCandidate {
        exporter: found.exporter.rsplit('/').next().unwrap_or_default().to_owned(),
        reason: found.reason,
        message: found.message,
    };
    LeaseQueue {
        position: found.position,
        reason: found.reason,
        candidates: found.candidates.into_iter().map(candidate).collect(),
    }
}

impl CreateLease {
    pub(crate) fn to_proto(&self) -> pb::Lease {
        pb::Lease {
            selector: self.selector.clone(),
            exporter_name: self.exporter_name.clone(),
            duration: prost_types::Duration::try_from(self.duration).ok(),
            begin_time: self.begin_time.map(timestamp_to_proto),
            tags: self.tags.clone().into_iter().collect(),
            context: self.context.clone().into_iter().collect(),
            allow_disabled: self.allow_disabled,
            requeue: self.requeue,
            ..pb::Lease::default()
        }
    }
}

impl UpdateLease {
    /// The changed fields and the mask that names exactly them.
    pub(crate) fn to_proto(&self, namespace: &str, name: &str) -> pb::UpdateLeaseRequest {
        let mut paths = Vec::new();
        let mut lease = pb::Lease { name: format!("namespaces/{namespace}/leases/{name}"), ..pb::Lease::default() };
        if let Some(duration) = self.duration {
            lease.duration = prost_types::Duration::try_from(duration).ok();
            paths.push("duration".to_owned());
        }
        if let Some(begin) = self.begin_time {
            lease.begin_time = Some(timestamp_to_proto(begin));
            paths.push("begin_time".to_owned());
        }
        if let Some(client) = &self.client {
            lease.client = Some(format!("namespaces/{namespace}/clients/{client}"));
            paths.push("client".to_owned());
        }
        pb::UpdateLeaseRequest { lease: Some(lease), update_mask: Some(prost_types::FieldMask { paths }) }
    }
}

/// Namespace and bare name of `namespaces/NS/COLLECTION/NAME`.
pub(crate) fn split(full: &str, collection: &str) -> Result<(String, String), String> {
    match full.split('/').collect::<Vec<_>>()[..] {
        ["namespaces", namespace, found, name] if found == collection && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(format!("'{full}' is not a name of the form namespaces/NAMESPACE/{collection}/NAME")),
    }
}

fn duration(value: Option<prost_types::Duration>) -> Option<Duration> {
    value.and_then(|value| value.try_into().ok())
}

pub(crate) fn timestamp(value: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    value.and_then(|value| Timestamp::new(value.seconds, value.nanos).ok())
}

fn timestamp_to_proto(value: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: value.as_second(), nanos: value.subsec_nanosecond() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(conditions: &[(&str, &str)], ended: bool, exporter: bool) -> LeaseState {
        let condition = |(kind, status): &(&str, &str)| jumpstarter_protocol::v1::Condition {
            r#type: Some((*kind).to_owned()),
            status: Some((*status).to_owned()),
            message: Some("why".to_owned()),
            ..Default::default()
        };
        let lease = pb::Lease {
            name: "namespaces/lab/leases/x".to_owned(),
            client: Some("namespaces/lab/clients/alice".to_owned()),
            exporter: exporter.then(|| "namespaces/lab/exporters/ex".to_owned()),
            effective_end_time: ended.then(prost_types::Timestamp::default),
            conditions: conditions.iter().map(condition).collect(),
            ..pb::Lease::default()
        };
        Lease::from_proto(lease).unwrap().state()
    }

    #[test]
    fn conditions_are_looked_at_in_order() {
        use LeaseProblem::{Ended, Invalid, Unsatisfiable};
        let why = || "why".to_owned();
        let waiting = LeaseState::Waiting(why());
        for (conditions, ended, exporter, state) in [
            (&[][..], false, false, LeaseState::Waiting("no decision yet".to_owned())),
            (&[("Pending", "True")], false, false, waiting.clone()),
            (&[("Pending", "True"), ("Ready", "False")], false, false, waiting),
            (&[("Pending", "False"), ("Ready", "True")], false, true, LeaseState::Ready("ex".to_owned())),
            (&[("Ready", "True")], false, false, LeaseState::Waiting("no decision yet".to_owned())),
            (&[("Ready", "True")], true, true, LeaseState::Over(Ended(why()))),
            (&[("Ready", "False")], false, true, LeaseState::Over(Ended(why()))),
            (&[("Unsatisfiable", "True")], true, false, LeaseState::Over(Unsatisfiable(why()))),
            (&[("Pending", "True"), ("Invalid", "True")], false, false, LeaseState::Over(Invalid(why()))),
        ] {
            assert_eq!(lease(conditions, ended, exporter), state, "{conditions:?} {ended}");
        }
    }

    #[test]
    fn names_of_other_things_are_refused() {
        for name in ["x", "namespaces/lab/exporters/x", "namespaces/lab/leases/", "namespaces/lab/leases/x/y"] {
            assert!(Lease::from_proto(pb::Lease { name: name.to_owned(), ..pb::Lease::default() }).is_err(), "{name}");
        }
    }
}
