//! Edits of exporters, as pure functions (kubernetes.md §3.2, §4.7).

use std::time::Duration;

use jumpstarter_model::{Device, Exporter, ExporterPhase, Timestamp, condition::set_condition, labels};
use jumpstarter_scheduler::health;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::inbox::ExporterEdit;

const ONLINE: &str = "Online";
const REGISTERED: &str = "Registered";

fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

fn last_seen(now: Timestamp, silence: Option<Duration>) -> Option<Time> {
    now.checked_sub(silence?).ok().map(whole_seconds)
}

/// What presence knows of an exporter beyond whether it is there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// What it said last of itself.
    pub(crate) said: Option<ExporterPhase>,
    /// The time since its last sign of life.
    pub(crate) silence: Option<Duration>,
    /// Whether this controller has ever had a connection to it. That one from before a restart does not come back says
    /// nothing of the exporter.
    pub(crate) attended: bool,
}

/// Presence changed: brings the Online condition in line; `None` when it is already. An exporter whose connection comes
/// back is in the state that it `said` last, if it ever said one.
pub(crate) fn online(exporter: &Exporter, online: bool, known: Known, now: Timestamp) -> Option<ExporterEdit> {
    let mut edited = exporter.clone();
    let generation = edited.metadata.generation;
    let status = edited.status.get_or_insert_default();
    let told = status.conditions.iter().find(|condition| condition.type_ == ONLINE);
    let is_online = told.is_some_and(|condition| condition.status == "True");
    let offline_phase = status.exporter_status == Some(ExporterPhase::Offline);
    if online == is_online && told.is_some() && online != offline_phase {
        return None;
    }
    if !online && told.is_none() {
        return None;
    }
    if online {
        if offline_phase {
            // Nothing said lets peers recover that never report a status.
            let was = std::mem::replace(&mut status.exporter_status, known.said);
            status.status_message = None;
            // Its report itself says nothing new then.
            health::reported(status, was, now);
        }
        status.last_seen = Some(whole_seconds(now));
        set_condition(&mut status.conditions, ONLINE, true, "Seen", "exporter is connected", generation, now);
    } else {
        let graceful = offline_phase;
        let message = if graceful {
            status.status_message.clone().unwrap_or_default()
        } else {
            "connection to the exporter was lost".to_owned()
        };
        if !graceful {
            status.last_seen = last_seen(now, known.silence).or(status.last_seen.take());
            status.exporter_status = Some(ExporterPhase::Offline);
            status.status_message = Some(message.clone());
            if known.attended {
                health::connection_lost(status, now);
            }
        }
        let reason = if graceful { "Offline" } else { "Seen" };
        set_condition(&mut status.conditions, ONLINE, false, reason, &message, generation, now);
    }
    Some(ExporterEdit::Status(Box::new(edited)))
}

/// The exporter never said that its session is over, and its time for that is over; `None` when it did.
pub(crate) fn assume_idle(exporter: &Exporter, now: Timestamp) -> Option<ExporterEdit> {
    let known = exporter.status.as_ref()?;
    if known.lease_ref.is_some() {
        return None;
    }
    match known.exporter_status? {
        ExporterPhase::Unspecified | ExporterPhase::Offline | ExporterPhase::Available => return None,
        ExporterPhase::BeforeLeaseHook
        | ExporterPhase::LeaseReady
        | ExporterPhase::AfterLeaseHook
        | ExporterPhase::BeforeLeaseHookFailed
        | ExporterPhase::AfterLeaseHookFailed => {}
    }
    let mut edited = exporter.clone();
    let status = edited.status.get_or_insert_default();
    let was = status.exporter_status.replace(ExporterPhase::Available);
    status.status_message = Some("taken to be idle: the end of the last session was never reported".to_owned());
    health::reported(status, was, now);
    Some(ExporterEdit::Status(Box::new(edited)))
}

/// `Register`: takes over the reported labels and driver tree.
pub(crate) fn register(
    exporter: &Exporter,
    reported: &std::collections::BTreeMap<String, String>,
    devices: &[Device],
    now: Timestamp,
) -> Option<ExporterEdit> {
    let mut edited = exporter.clone();
    let existing = edited.metadata.labels.take().unwrap_or_default();
    let synced = labels::sync_exporter_labels(&existing, reported);
    let relabelled = synced != existing;
    edited.metadata.labels = (!synced.is_empty()).then_some(synced);
    let generation = edited.metadata.generation;
    let status = edited.status.get_or_insert_default();
    devices.clone_into(&mut status.devices);
    let registered = !devices.is_empty();
    let reason = if registered { "Register" } else { "Unregister" };
    set_condition(&mut status.conditions, REGISTERED, registered, reason, "", generation, now);
    if edited.status == exporter.status && !relabelled {
        return None;
    }
    Some(if relabelled { ExporterEdit::Whole(Box::new(edited)) } else { ExporterEdit::Status(Box::new(edited)) })
}

/// `ReportStatus`. `torn_down`: `uid` of the lease that it holds and of which this confirms that the session is over.
pub(crate) fn report(
    exporter: &Exporter,
    phase: ExporterPhase,
    message: &str,
    torn_down: Option<&str>,
    now: Timestamp,
) -> Option<ExporterEdit> {
    let mut edited = exporter.clone();
    let generation = edited.metadata.generation;
    let status = edited.status.get_or_insert_default();
    let was = status.exporter_status.replace(phase);
    status.status_message = (!message.is_empty()).then(|| message.to_owned());
    match phase {
        ExporterPhase::Available => status.torn_down = torn_down.map(str::to_owned).or(status.torn_down.take()),
        ExporterPhase::BeforeLeaseHook | ExporterPhase::LeaseReady => status.torn_down = None,
        ExporterPhase::Unspecified
        | ExporterPhase::Offline
        | ExporterPhase::AfterLeaseHook
        | ExporterPhase::BeforeLeaseHookFailed
        | ExporterPhase::AfterLeaseHookFailed => {}
    }
    health::reported(status, was, now);
    if phase == ExporterPhase::Offline {
        set_condition(&mut status.conditions, ONLINE, false, "Offline", message, generation, now);
    } else if phase != ExporterPhase::Unspecified {
        let was_online = jumpstarter_model::condition::is_true(&status.conditions, ONLINE);
        if !was_online {
            let message = "exporter reported its status";
            set_condition(&mut status.conditions, ONLINE, true, "StatusReported", message, generation, now);
        }
    }
    if edited.status == exporter.status {
        return None;
    }
    if phase != ExporterPhase::Unspecified {
        // Costs nothing beside what is written anyway.
        edited.status.get_or_insert_default().last_seen = Some(whole_seconds(now));
    }
    Some(ExporterEdit::Status(Box::new(edited)))
}

/// `Unregister`.
pub(crate) fn unregister(exporter: &Exporter, reason: &str, now: Timestamp) -> Option<ExporterEdit> {
    let mut edited = exporter.clone();
    let generation = edited.metadata.generation;
    let status = edited.status.get_or_insert_default();
    let message = if reason.is_empty() { "Exporter unregistered" } else { reason };
    status.devices.clear();
    status.exporter_status = Some(ExporterPhase::Offline);
    status.status_message = Some(message.to_owned());
    set_condition(&mut status.conditions, ONLINE, false, "Offline", message, generation, now);
    let said = "exporter unregistered and is offline";
    set_condition(&mut status.conditions, REGISTERED, false, "Unregister", said, generation, now);
    if edited.status == exporter.status {
        return None;
    }
    edited.status.get_or_insert_default().last_seen = Some(whole_seconds(now));
    Some(ExporterEdit::Status(Box::new(edited)))
}

#[cfg(test)]
mod tests {
    use jumpstarter_model::{HealthCheck, SessionHealth, condition::is_true};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn apply(edit: Option<ExporterEdit>) -> Exporter {
        match edit.expect("an edit") {
            ExporterEdit::Status(exporter) | ExporterEdit::Whole(exporter) => *exporter,
        }
    }

    fn is_online(exporter: &Exporter) -> bool {
        is_true(&exporter.status.as_ref().unwrap().conditions, ONLINE)
    }

    #[test]
    fn coming_online_clears_a_stored_offline_and_is_written_once() {
        let gone = apply(unregister(&Exporter::default(), "", now()));
        assert!(!is_online(&gone));
        let back = apply(online(&gone, true, Known::default(), now()));
        assert!(is_online(&back));
        assert_eq!(back.status.as_ref().unwrap().exporter_status, None);
        assert!(online(&back, true, Known::default(), now()).is_none());
    }

    /// An exporter that serves one lease leaves after each, and may be seen to be back before its report is written.
    #[test]
    fn coming_online_as_available_is_the_good_end_of_the_session_before() {
        let mut gone = apply(report(&Exporter::default(), ExporterPhase::Offline, "", None, now()));
        let session =
            SessionHealth { lease: "check".to_owned(), ready: true, ending: true, ..SessionHealth::default() };
        let check = HealthCheck { lease: "check".to_owned(), ..HealthCheck::default() };
        let health = gone.status.as_mut().unwrap().health.get_or_insert_default();
        (health.session, health.check, health.score) = (Some(session), Some(check), 60);
        let known = Known { said: Some(ExporterPhase::Available), ..Known::default() };
        let back = apply(online(&gone, true, known, now()));
        let health = back.status.unwrap().health.unwrap();
        assert_eq!((health.check.unwrap().passed, health.session, health.score), (Some(true), None, 0));
    }

    #[test]
    fn a_lost_exporter_is_offline_and_is_written_once() {
        let seen = apply(online(&Exporter::default(), true, Known::default(), now()));
        let lost = apply(online(&seen, false, Known::default(), now()));
        assert!(!is_online(&lost));
        assert_eq!(lost.status.as_ref().unwrap().exporter_status, Some(ExporterPhase::Offline));
        assert!(online(&lost, false, Known::default(), now()).is_none());
    }

    #[test]
    fn an_exporter_that_comes_back_is_in_the_state_that_it_said_last() {
        let seen = apply(online(&Exporter::default(), true, Known::default(), now()));
        let known = Known { said: Some(ExporterPhase::Available), ..Known::default() };
        let lost = apply(online(&seen, false, known, now()));
        let back = apply(online(&lost, true, known, now()));
        assert_eq!(back.status.as_ref().unwrap().exporter_status, Some(ExporterPhase::Available));
    }

    #[test]
    fn a_lost_connection_counts_where_there_was_one_and_somebody_has_the_device() {
        for (attended, leased, score) in [(true, true, 20), (false, true, 0), (true, false, 0)] {
            let mut seen = apply(online(&Exporter::default(), true, Known::default(), now()));
            let lease = leased.then(|| jumpstarter_model::LocalObjectReference::new("l"));
            seen.status.get_or_insert_default().lease_ref = lease;
            let lost = apply(online(&seen, false, Known { attended, ..Known::default() }, now()));
            let health = lost.status.unwrap().health.unwrap_or_default();
            assert_eq!(health.score, score, "attended {attended}, leased {leased}");
        }
    }

    #[test]
    fn an_exporter_never_seen_gets_no_condition_from_absence() {
        assert!(online(&Exporter::default(), false, Known::default(), now()).is_none());
    }

    #[test]
    fn a_report_is_written_only_when_it_says_something_new() {
        let ready = apply(report(&Exporter::default(), ExporterPhase::Available, "ok", None, now()));
        assert!(report(&ready, ExporterPhase::Available, "ok", None, now()).is_none());
        let offline = apply(report(&ready, ExporterPhase::Offline, "bye", None, now()));
        assert!(!is_online(&offline));
    }
}
