//! Quarantines and checks.

use std::collections::BTreeMap;

use jumpstarter_model::{
    Exporter, ExporterStatus, HealthCheck, Lease, LeaseSpec, LocalObjectReference, PastQuarantine, Quarantine,
    Timestamp,
    condition::{exporter as reason, set_condition},
    lease_time::whole_second,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::{MAINTENANCE, MAINTENANCE_CHECK, MAINTENANCE_CLIENT, Transition};
use crate::{
    LiftCause, QuarantineCause,
    health::{over, quarantined, stays},
};

pub(super) fn quarantine(
    exporter: &Exporter,
    cause: &QuarantineCause,
    until: Option<Timestamp>,
    times: i32,
    now: Timestamp,
) -> Option<Transition> {
    edit(exporter, |status, generation| {
        let (reason, message) = quarantined(status.health.as_ref(), cause, until);
        if !matches!(cause, QuarantineCause::ByHand { .. }) {
            let health = status.health.get_or_insert_default();
            health.quarantine = Some(Quarantine { until: until.map(|until| Time(whole_second(until))), times });
            health.check = None;
        }
        tell(status, true, reason, &message, generation, now);
    })
}

pub(super) fn lift(
    exporter: &Exporter,
    cause: LiftCause,
    score: Option<i32>,
    heeded: Option<&str>,
    now: Timestamp,
) -> Option<Transition> {
    edit(exporter, |status, generation| {
        if let Some(health) = &mut status.health {
            if let Some(over) = health.quarantine.take() {
                health.last_quarantine =
                    Some(PastQuarantine { ended: Some(Time(whole_second(now))), times: over.times });
                health.check = None;
            }
            health.score = score.unwrap_or(health.score);
            if health.score == 0 {
                health.failures.clear();
            }
        }
        if cause == LiftCause::ByHand {
            let health = status.health.get_or_insert_default();
            health.lift_heeded = heeded.map(str::to_owned).or(health.lift_heeded.take());
            // Somebody has seen to it.
            health.last_quarantine = None;
        }
        let (reason, message) = over(cause);
        let known = status.conditions.iter().any(|condition| condition.type_ == reason::QUARANTINED);
        if known {
            tell(status, false, reason, message, generation, now);
        }
    })
}

pub(super) fn hold_in_service(exporter: &Exporter, now: Timestamp) -> Option<Transition> {
    edit(exporter, |status, generation| {
        let message = stays(status.health.as_ref());
        tell(status, false, reason::QUARANTINE_LIMITED, &message, generation, now);
    })
}

pub(super) fn check(exporter: &Exporter, name: &str, ends: Timestamp, heeded: Option<&str>) -> Option<Transition> {
    let lease = check_lease(exporter, name, ends)?;
    let noted = edit(exporter, |status, _| {
        let health = status.health.get_or_insert_default();
        health.check = Some(HealthCheck { lease: name.to_owned(), passed: None });
        if let Some(heeded) = heeded {
            health.check_heeded = Some(heeded.to_owned());
        }
    })?;
    Some(Transition { successor: Some(lease), ..noted })
}

/// An ordinary lease of the service's own.
fn check_lease(exporter: &Exporter, name: &str, ends: Timestamp) -> Option<Lease> {
    let mark = || Some(BTreeMap::from([(MAINTENANCE.to_owned(), MAINTENANCE_CHECK.to_owned())]));
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: exporter.metadata.namespace.clone(),
        labels: mark(),
        annotations: mark(),
        ..ObjectMeta::default()
    };
    let spec = LeaseSpec {
        client_ref: LocalObjectReference::new(MAINTENANCE_CLIENT),
        exporter_ref: Some(LocalObjectReference::new(exporter.metadata.name.as_deref()?)),
        allow_disabled: Some(true),
        end_time: Some(Time(whole_second(ends))),
        context: mark(),
        ..LeaseSpec::default()
    };
    Some(Lease { metadata, spec, status: None })
}

/// Changes the status of an exporter; `None` when that changes nothing.
fn edit(exporter: &Exporter, change: impl FnOnce(&mut ExporterStatus, Option<i64>)) -> Option<Transition> {
    let mut edited = exporter.clone();
    change(edited.status.get_or_insert_default(), exporter.metadata.generation);
    (edited != *exporter).then(|| Transition { exporter_status: Some(edited), ..Transition::default() })
}

fn tell(
    status: &mut ExporterStatus,
    holds: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    set_condition(&mut status.conditions, reason::QUARANTINED, holds, reason, message, generation, now);
}
