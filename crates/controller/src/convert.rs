//! Between resources and wire messages, by hand and in one place (protocol.md §1.3, §1.7).

use std::collections::BTreeMap;

use jumpstarter_model::condition::{exporter as exporter_condition, find, lease::noticed_at};
use jumpstarter_model::{
    Condition, Exporter, ExporterPhase, GoDuration, Lease, LeaseGroup, Selector, Timestamp, annotations,
};
use jumpstarter_protocol::{client::v1 as client, v1};
use jumpstarter_scheduler::{
    CandidateReason, Explanation,
    transition::{REQUEUE, REQUEUED_AS},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::config::ControllerConfig;

/// Annotation that keeps the selector as the client wrote it, since old clients compare the text.
pub(crate) const SELECTOR_TEXT_ANNOTATION: &str = "jumpstarter.dev/selector-text";

/// Candidates told of one lease, so that an answer stays well below the message limit.
const MAX_CANDIDATES: usize = 100;

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A protobuf timestamp.
pub(crate) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// An instant from the wire; `None` when it is out of range.
pub(crate) fn from_timestamp(time: prost_types::Timestamp) -> Option<Timestamp> {
    (0..NANOS_PER_SEC).contains(&i64::from(time.nanos)).then(|| Timestamp::new(time.seconds, time.nanos).ok())?
}

/// A protobuf duration.
pub(crate) fn duration(span: GoDuration) -> prost_types::Duration {
    let nanos = span.as_nanos();
    prost_types::Duration {
        seconds: nanos / NANOS_PER_SEC,
        nanos: i32::try_from(nanos % NANOS_PER_SEC).unwrap_or_default(),
    }
}

/// A span from the wire; `None` when it is longer than about 292 years, or its parts disagree in sign or size.
pub(crate) fn from_duration(span: prost_types::Duration) -> Option<GoDuration> {
    let mixed = (span.seconds > 0 && span.nanos < 0) || (span.seconds < 0 && span.nanos > 0);
    if mixed || i64::from(span.nanos).abs() >= NANOS_PER_SEC {
        return None;
    }
    span.seconds.checked_mul(NANOS_PER_SEC)?.checked_add(i64::from(span.nanos)).map(GoDuration::from_nanos)
}

fn condition(from: &Condition) -> v1::Condition {
    let time = from.last_transition_time.0;
    v1::Condition {
        r#type: Some(from.type_.clone()),
        status: Some(from.status.clone()),
        observed_generation: Some(from.observed_generation.unwrap_or_default()),
        last_transition_time: Some(v1::Time { seconds: Some(time.as_second()), nanos: Some(time.subsec_nanosecond()) }),
        reason: Some(from.reason.clone()),
        message: Some(from.message.clone()),
    }
}

pub(crate) fn conditions(from: &[Condition]) -> Vec<v1::Condition> {
    from.iter().map(condition).collect()
}

pub(crate) fn selector_from_proto(from: v1::LabelSelector) -> LabelSelector {
    let expressions: Vec<_> = from
        .match_expressions
        .into_iter()
        .map(|one| LabelSelectorRequirement { key: one.key, operator: one.operator, values: Some(one.values) })
        .collect();
    LabelSelector {
        match_labels: (!from.match_labels.is_empty()).then(|| from.match_labels.into_iter().collect()),
        match_expressions: (!expressions.is_empty()).then_some(expressions),
    }
}

pub(crate) fn selector_to_proto(from: &LabelSelector) -> v1::LabelSelector {
    v1::LabelSelector {
        match_labels: from.match_labels.clone().unwrap_or_default().into_iter().collect(),
        match_expressions: from
            .match_expressions
            .iter()
            .flatten()
            .map(|one| v1::LabelSelectorRequirement {
                key: one.key.clone(),
                operator: one.operator.clone(),
                values: one.values.clone().unwrap_or_default(),
            })
            .collect(),
    }
}

/// The selector as clients read it: the text they sent while it still says the same, else the canonical form;
/// `<none>` when empty.
fn selector_text(lease: &Lease) -> String {
    let Ok(stored) = Selector::from_label_selector(&lease.spec.selector) else {
        return "<invalid>".to_owned();
    };
    let written = lease.metadata.annotations.as_ref().and_then(|all| all.get(SELECTOR_TEXT_ANNOTATION));
    if let Some(text) = written
        && Selector::parse(text).is_ok_and(|parsed| parsed.is_equivalent(&stored))
    {
        return text.clone();
    }
    if stored.is_empty() { "<none>".to_owned() } else { stored.to_string() }
}

/// Time a lease has lasted so far, or lasted in all.
fn effective_duration(lease: &Lease, now: Timestamp) -> GoDuration {
    let Some(status) = &lease.status else {
        return GoDuration::ZERO;
    };
    let Some(begin) = &status.begin_time else {
        return GoDuration::ZERO;
    };
    let end = match (&status.end_time, status.ended) {
        (Some(end), true) => end.0,
        _ => now,
    };
    let nanos = end.as_nanosecond().saturating_sub(begin.0.as_nanosecond()).max(0);
    GoDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// How long a lease lasts. Clients take begin and duration for the end and warn their user before it: under a notice of
/// preemption that end is the one to warn of.
fn shown_duration(config: &ControllerConfig, lease: &Lease) -> Option<GoDuration> {
    let asked = jumpstarter_model::lease_time::requested_duration(&lease.spec)?;
    let status = lease.status.as_ref().filter(|status| !status.ended && status.spot_access == Some(true));
    let notice = status.and_then(|status| noticed_at(&status.conditions));
    let begin = status.and_then(|status| status.begin_time.as_ref());
    let (Some(notice), Some(begin), Ok(grace)) =
        (notice, begin, jiff::SignedDuration::try_from(config.preemption_grace))
    else {
        return Some(asked);
    };
    let end = notice.checked_add(grace).unwrap_or(Timestamp::MAX);
    Some(asked.min(GoDuration::between(begin.0, end).max(GoDuration::ZERO)))
}

/// A lease as clients see it.
pub(crate) fn lease(
    config: &ControllerConfig,
    lease: &Lease,
    queue: Option<&Explanation>,
    now: Timestamp,
) -> client::Lease {
    let namespace = &config.namespace;
    let settings = config.live.get();
    let spec = &lease.spec;
    let annotation = |key| Some(lease.metadata.annotations.as_ref()?.get(key)?.as_str());
    let status = lease.status.clone().unwrap_or_default();
    let selector_keys: Vec<String> = Selector::from_label_selector(&spec.selector)
        .map(|selector| selector.requirements().iter().map(|one| one.key().to_owned()).collect())
        .unwrap_or_default();
    client::Lease {
        name: format!("namespaces/{namespace}/leases/{}", lease.metadata.name.as_deref().unwrap_or_default()),
        selector: selector_text(lease),
        duration: shown_duration(config, lease).map(duration),
        effective_duration: Some(duration(effective_duration(lease, now))),
        begin_time: spec.begin_time.as_ref().map(|time| timestamp(time.0)),
        effective_begin_time: status.begin_time.as_ref().map(|time| timestamp(time.0)),
        end_time: spec.end_time.as_ref().map(|time| timestamp(time.0)),
        effective_end_time: status.end_time.as_ref().filter(|_| status.ended).map(|time| timestamp(time.0)),
        client: Some(format!("namespaces/{namespace}/clients/{}", spec.client_ref.name)),
        exporter: lease.assigned_exporter().map(|name| format!("namespaces/{namespace}/exporters/{name}")),
        conditions: conditions(&status.conditions),
        exporter_name: lease.pinned_exporter().map(str::to_owned),
        tags: spec.tags.clone().unwrap_or_default().into_iter().collect(),
        allow_disabled: spec.allow_disabled.unwrap_or_default(),
        context: spec.context.clone().unwrap_or_default().into_iter().collect(),
        deprecated_labels: settings
            .deprecated_labels
            .iter()
            .filter(|(key, _)| selector_keys.contains(key))
            .map(|(key, notice)| (key.clone(), notice.clone()))
            .collect(),
        queue: queue.and_then(lease_queue),
        group: LeaseGroup::name_of(&lease.metadata).unwrap_or_default().to_owned(),
        requeue: annotation(REQUEUE) == Some("true"),
        requeued_as: annotation(REQUEUED_AS).map(|name| format!("namespaces/{namespace}/leases/{name}")),
    }
}

fn lease_queue(from: &Explanation) -> Option<client::LeaseQueue> {
    let position = from.position?;
    Some(client::LeaseQueue {
        position: u32::try_from(position).unwrap_or(u32::MAX),
        reason: from.reason.clone(),
        candidates: from
            .candidates
            .iter()
            .take(MAX_CANDIDATES)
            .map(|candidate| client::LeaseCandidate {
                exporter: candidate.exporter.clone(),
                reason: candidate_reason(&candidate.reason).to_owned(),
                message: candidate.message.clone(),
            })
            .collect(),
    })
}

fn candidate_reason(reason: &CandidateReason) -> &'static str {
    match reason {
        CandidateReason::SelectorMismatch => "SelectorMismatch",
        CandidateReason::Disabled => "Disabled",
        CandidateReason::NoAccess => "NoAccess",
        CandidateReason::DurationTooLong(_) => "DurationTooLong",
        CandidateReason::OverQuota(_) => "OverQuota",
        CandidateReason::Offline => "Offline",
        CandidateReason::Quarantined { .. } => "Quarantined",
        CandidateReason::Leased(_) => "Leased",
        CandidateReason::NotReady => "NotReady",
        CandidateReason::Kept(_) => "Kept",
        CandidateReason::Reserved { .. } => "Reserved",
        CandidateReason::Maintenance { .. } => "Maintenance",
        CandidateReason::Free => "Free",
    }
}

/// An exporter as clients see it.
pub(crate) fn exporter(config: &ControllerConfig, exporter: &Exporter, show_hidden: bool) -> client::Exporter {
    let settings = config.live.get();
    let status = exporter.status.clone().unwrap_or_default();
    let quarantine = quarantine(exporter);
    let labels: BTreeMap<String, String> = exporter.metadata.labels.clone().unwrap_or_default();
    let deprecated = settings
        .deprecated_labels
        .iter()
        .filter(|(key, _)| labels.contains_key(*key))
        .map(|(key, notice)| (key.clone(), notice.clone()))
        .collect();
    let shown = labels.into_iter().filter(|(key, _)| {
        show_hidden || !(settings.hidden_labels.contains(key) || settings.deprecated_labels.contains_key(key))
    });
    #[expect(deprecated, reason = "old clients still read `online`")]
    client::Exporter {
        name: format!(
            "namespaces/{}/exporters/{}",
            config.namespace,
            exporter.metadata.name.as_deref().unwrap_or_default()
        ),
        labels: shown.collect(),
        online: jumpstarter_model::condition::is_true(&status.conditions, "Online"),
        status: phase_number(status.exporter_status),
        // Old clients show it, too.
        status_message: quarantine.as_ref().map_or(status.status_message.unwrap_or_default(), |it| it.message.clone()),
        enabled: Some(exporter.is_enabled()),
        deprecated_labels: deprecated,
        quarantine,
    }
}

/// Why an exporter is kept back, if it is.
fn quarantine(exporter: &Exporter) -> Option<client::ExporterQuarantine> {
    let status = exporter.status.as_ref()?;
    let kept = find(&status.conditions, exporter_condition::QUARANTINED).filter(|kept| kept.status == "True")?;
    let by_hand = exporter.metadata.annotations.as_ref().and_then(|all| all.get(annotations::QUARANTINE));
    let automatic = status.health.as_ref().and_then(|health| health.quarantine.as_ref()?.until.as_ref());
    let until =
        annotations::quarantined_until(&kept.reason, by_hand.map(String::as_str), automatic.map(|until| until.0));
    Some(client::ExporterQuarantine {
        reason: kept.reason.clone(),
        message: kept.message.clone(),
        until: until.map(timestamp),
    })
}

/// The wire number of an exporter's phase; peers that never report are unspecified.
pub(crate) fn phase_number(phase: Option<ExporterPhase>) -> i32 {
    phase.unwrap_or_default().to_wire()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_with_parts_that_disagree_are_refused() {
        let read = |seconds, nanos| from_duration(prost_types::Duration { seconds, nanos }).map(GoDuration::as_nanos);
        assert_eq!(read(1, 500_000_000), Some(1_500_000_000));
        assert_eq!(read(-1, -1), Some(-1_000_000_001));
        assert_eq!(read(60, -5), None);
        assert_eq!(read(0, 1_000_000_000), None);
        assert_eq!(read(i64::MAX, 0), None);
    }

    #[test]
    fn timestamps_out_of_range_are_refused() {
        let read = |seconds, nanos| from_timestamp(prost_types::Timestamp { seconds, nanos });
        assert!(read(1_000_000_000, 1).is_some());
        assert!(read(0, -1).is_none());
        assert!(read(i64::MAX, 0).is_none());
    }
}
