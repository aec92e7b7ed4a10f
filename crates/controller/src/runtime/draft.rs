//! What a command or a decision writes, and in which order.
//!
//! A store may make the writes of a transaction one after the other and stop anywhere (Kubernetes does), so every
//! beginning of every transaction must be a state from which the core goes on to the same end, at the next pass or
//! after a restart. There are these:
//!
//! | writes | after the first | the core then decides |
//! |---|---|---|
//! | exporter's claim, lease's status (assign) | claimed for a lease that waits | `CompleteClaim`, or `Unclaim` if it no longer fits |
//! | exporters' claims, one for each of a group (each a write of its own) | some claimed for leases that wait | all claimed: `CompleteClaim` of each; else `Unclaim` of all |
//! | exporter's claim, new lease | claimed for a lease that does not exist | `Unclaim`; nobody was told |
//! | lease's status, exporter without claim (end) | claimed for a lease that ended | `Unclaim` |
//! | lease's status, lease's label | ended without its label | `Label` |
//! | lease's status, lease's owner | assigned without its owner | `Adopt`, if its exporter's half is missing too; else it has none, and outlives its exporter as a record |
//! | lease's end, its `release` and label | ended, as asked | `Label`; who asks again is told that it has ended |
//! | the same, the other way round | released and not ended, perhaps labelled | `End`: the label alone means nothing here |
//! | successor, lease's end, exporter without claim (preempt) | a holder of spot whose successor waits already | `Preempt`, without creating it again |
//! | lease's status, lease's annotations (reserve) | told of what is reserved, which is not written | `Reserve`, of the same or another exporter |
//! | exporter's report, lease's `Ready` | reported and not ready | `MakeReady` |
//! | exporter's report and claim (one write), lease | as the first row | as the first row |
//!
//! The tests of the suite's `slow_store` cut transactions at every place.

use jumpstarter_model::{Exporter, Lease, Timestamp, lease_time::whole_second};
use jumpstarter_scheduler::{Action, Change, Lab, transition::Transition};
use jumpstarter_store::{Object, Write};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// An object as a command wants it.
#[derive(Clone, Debug)]
pub(crate) enum Draft {
    /// A lease that does not exist yet.
    NewLease(Box<Lease>),
    /// A lease with new spec or metadata.
    Lease(Box<Lease>),
    /// An exporter with a new status.
    ExporterStatus(Box<Exporter>),
    /// An exporter with new labels too.
    Exporter(Box<Exporter>),
}

impl Draft {
    /// A new lease, dated so that the core can tell its age before the store does.
    pub(super) fn new_lease(mut lease: Lease, now: Timestamp) -> Self {
        lease.metadata.creation_timestamp = Some(Time(whole_second(now)));
        lease.metadata.generation = Some(1);
        Self::NewLease(Box::new(lease))
    }

    /// The lease, if it is one.
    pub(super) fn lease(&self) -> Option<&Lease> {
        match self {
            Self::NewLease(lease) | Self::Lease(lease) => Some(lease),
            Self::ExporterStatus(_) | Self::Exporter(_) => None,
        }
    }

    /// The exporter, if it is one.
    pub(super) fn exporter(&self) -> Option<&Exporter> {
        match self {
            Self::ExporterStatus(exporter) | Self::Exporter(exporter) => Some(exporter),
            Self::NewLease(_) | Self::Lease(_) => None,
        }
    }

    /// Tells the core to take it for a fact; `false` when it cannot yet.
    pub(super) fn assume(&self, lab: &mut Lab) -> bool {
        match self {
            Self::NewLease(lease) | Self::Lease(lease) => lab.assume(Change::Lease(lease)),
            Self::ExporterStatus(exporter) | Self::Exporter(exporter) => lab.assume(Change::Exporter(exporter)),
        }
    }

    /// Tells the core that the outcome is known.
    pub(super) fn settle(&self, lab: &mut Lab) {
        match self {
            Self::NewLease(lease) | Self::Lease(lease) => {
                lab.settle_lease(lease.metadata.name.as_deref().unwrap_or_default());
            }
            Self::ExporterStatus(exporter) | Self::Exporter(exporter) => {
                lab.settle_exporter(exporter.metadata.name.as_deref().unwrap_or_default());
            }
        }
    }

    /// The write of the draft alone.
    pub(super) fn write(&self) -> Write {
        match self {
            Self::NewLease(lease) => Write::Create(created(lease)),
            Self::Lease(lease) => Write::Update(Object::from_resource(&**lease)),
            Self::ExporterStatus(exporter) => Write::UpdateStatus(Object::from_resource(&**exporter)),
            Self::Exporter(exporter) => Write::Replace(Object::from_resource(&**exporter)),
        }
    }

    /// The writes of the draft together with what follows from it; the transition was made of the draft.
    pub(super) fn writes_with(&self, follows: Transition) -> Vec<Write> {
        let ends = ends(&follows);
        let Transition { successor, exporter_status, lease_status, lease_metadata } = follows;
        let (exporter, lease) = match self {
            Self::NewLease(draft) => {
                let lease = lease_metadata.or(lease_status).unwrap_or_else(|| (**draft).clone());
                let claim = exporter_status.map(|exporter| Write::UpdateStatus(Object::from_resource(&exporter)));
                (claim, Some(Write::Create(created(&lease))))
            }
            Self::Lease(draft) => {
                let lease = lease_metadata.or(lease_status).unwrap_or_else(|| (**draft).clone());
                let exporter = exporter_status.map(|exporter| Write::UpdateStatus(Object::from_resource(&exporter)));
                (exporter, Some(Write::Replace(Object::from_resource(&lease))))
            }
            Self::ExporterStatus(draft) => {
                let exporter = exporter_status.unwrap_or_else(|| (**draft).clone());
                let exporter = Write::UpdateStatus(Object::from_resource(&exporter));
                (Some(exporter), lease_write(lease_status, lease_metadata))
            }
            Self::Exporter(draft) => {
                let exporter = exporter_status.unwrap_or_else(|| (**draft).clone());
                let exporter = Write::Replace(Object::from_resource(&exporter));
                (Some(exporter), lease_write(lease_status, lease_metadata))
            }
        };
        first(successor, ordered(ends, exporter, lease))
    }
}

/// The writes of a decision alone.
pub(super) fn writes_of(transition: Transition) -> Vec<Write> {
    let ends = ends(&transition);
    let Transition { successor, exporter_status, lease_status, lease_metadata } = transition;
    let exporter = exporter_status.map(|exporter| Write::UpdateStatus(Object::from_resource(&exporter)));
    first(successor, ordered(ends, exporter, lease_write(lease_status, lease_metadata)))
}

/// Whoever stops after the first write leaves a lease whose successor exists, which only has to be ended.
fn first(successor: Option<Lease>, writes: Vec<Write>) -> Vec<Write> {
    let create = successor.map(|lease| Write::Create(created(&lease)));
    create.into_iter().chain(writes).collect()
}

/// Whether the decision's own objects are touched by a draft.
pub(super) fn concerns(action: &Action, draft: &Draft, held: Option<&str>) -> bool {
    match draft {
        Draft::NewLease(lease) | Draft::Lease(lease) => {
            action.lease().is_some() && lease.metadata.name.as_deref() == action.lease()
        }
        Draft::ExporterStatus(exporter) | Draft::Exporter(exporter) => {
            let name = exporter.metadata.name.as_deref();
            name.is_some() && action.exporter().or(held) == name
        }
    }
}

fn ends(transition: &Transition) -> bool {
    transition.lease_status.iter().chain(&transition.lease_metadata).any(Lease::is_ended)
}

/// Claim before lease, and the end of the lease before that of the claim.
fn ordered(ends: bool, exporter: Option<Write>, lease: Option<Write>) -> Vec<Write> {
    if ends { lease.into_iter().chain(exporter).collect() } else { exporter.into_iter().chain(lease).collect() }
}

fn lease_write(status: Option<Lease>, metadata: Option<Lease>) -> Option<Write> {
    match (status, metadata) {
        (_, Some(both)) => Some(Write::Replace(Object::from_resource(&both))),
        (Some(status), None) => Some(Write::UpdateStatus(Object::from_resource(&status))),
        (None, None) => None,
    }
}

/// A lease without what only the store may say of it.
fn created(lease: &Lease) -> Object {
    let mut lease = lease.clone();
    lease.metadata.creation_timestamp = None;
    lease.metadata.generation = None;
    Object::from_resource(&lease)
}

#[cfg(test)]
mod tests {
    use jumpstarter_model::{ExporterSpec, LeaseSpec};
    use jumpstarter_scheduler::{EndCause, transition};

    use super::*;

    fn named<K>(
        mut object: K,
        metadata: impl FnOnce(&mut K) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    ) -> K {
        let metadata = metadata(&mut object);
        metadata.namespace = Some("lab".to_owned());
        metadata.uid = Some("uid".to_owned());
        metadata.resource_version = Some("7".to_owned());
        object
    }

    fn lease() -> Lease {
        named(Lease::new("l", LeaseSpec::default()), |lease| &mut lease.metadata)
    }

    fn exporter() -> Exporter {
        named(Exporter::new("e", ExporterSpec::default()), |exporter| &mut exporter.metadata)
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn names(writes: &[Write]) -> Vec<String> {
        let name = |write: &Write| match write {
            Write::Create(object) => format!("create {}", object.kind()),
            Write::Update(object) => format!("update {}", object.kind()),
            Write::UpdateStatus(object) => format!("status {}", object.kind()),
            Write::Replace(object) => format!("replace {}", object.kind()),
            Write::Delete(key, _) => format!("delete {}", key.kind),
        };
        writes.iter().map(name).collect()
    }

    fn assign() -> Action {
        Action::Assign { lease: "l".into(), exporter: "e".into(), priority: 0, spot_access: false, ready: false }
    }

    #[test]
    fn a_new_lease_that_gets_a_device_is_created_after_the_claim_with_its_status_and_owner() {
        let mut asked = Lease::new("l", LeaseSpec::default());
        asked.metadata.namespace = Some("lab".to_owned());
        let draft = Draft::new_lease(asked, now());
        let follows = transition::apply(&assign(), draft.lease(), Some(&exporter()), now()).unwrap();
        let writes = draft.writes_with(follows);
        assert_eq!(names(&writes), ["status Exporter", "create Lease"]);
        let Write::Create(lease) = &writes[1] else { panic!("{writes:?}") };
        let lease: Lease = lease.decode().unwrap();
        assert_eq!(lease.assigned_exporter(), Some("e"));
        assert_eq!(lease.metadata.owner_references.as_ref().unwrap().len(), 1);
        assert_eq!((lease.metadata.creation_timestamp, lease.metadata.generation), (None, None));
        assert_eq!(lease.status.unwrap().conditions[0].observed_generation, Some(1));
    }

    #[test]
    fn a_release_and_the_end_are_one_write_before_the_exporters() {
        let mut released = lease();
        released.spec.release = Some(true);
        released.status.get_or_insert_default().exporter_ref = Some(jumpstarter_model::LocalObjectReference::new("e"));
        let mut claimed = exporter();
        claimed.status.get_or_insert_default().lease_ref = Some(jumpstarter_model::LocalObjectReference::new("l"));
        let end = Action::End {
            lease: "l".into(),
            exporter: Some("e".into()),
            cause: EndCause::Released,
            message: "over".into(),
        };
        let draft = Draft::Lease(Box::new(released));
        let follows = transition::apply(&end, draft.lease(), Some(&claimed), now()).unwrap();
        let writes = draft.writes_with(follows);
        assert_eq!(names(&writes), ["replace Lease", "status Exporter"]);
        let Write::Replace(lease) = &writes[0] else { panic!("{writes:?}") };
        let lease: Lease = lease.decode().unwrap();
        assert!(lease.is_ended() && lease.spec.release == Some(true));
    }

    #[test]
    fn a_report_and_the_next_lease_are_one_write_of_the_exporter() {
        let mut idle = exporter();
        idle.status.get_or_insert_default().status_message = Some("idle".to_owned());
        let draft = Draft::ExporterStatus(Box::new(idle));
        let follows = transition::apply(&assign(), Some(&lease()), draft.exporter(), now()).unwrap();
        let writes = draft.writes_with(follows);
        assert_eq!(names(&writes), ["status Exporter", "replace Lease"]);
        let Write::UpdateStatus(exporter) = &writes[0] else { panic!("{writes:?}") };
        let status = exporter.decode::<Exporter>().unwrap().status.unwrap();
        assert_eq!(status.lease_ref.unwrap().name, "l");
        assert_eq!(status.status_message.as_deref(), Some("idle"));
    }
}
