//! Tells what happened to objects, once it is durable (kubernetes.md §2.5).

use std::sync::Arc;

use jumpstarter_model::{
    Exporter, ExporterPhase, Timestamp,
    condition::{exporter as exporter_condition, find, is_true},
};
use jumpstarter_store::{EventKind, Kind, Object, ObjectEvent};

use super::Runtime;

const EXPORTERS: &str = "exporter-controller";
const LEASES: &str = "lease-controller";
/// An exporter seen so short a time before it went offline said so itself.
const GRACEFUL_SECS: i64 = 60;

/// Kind, reason and message.
type Notice = (EventKind, &'static str, String);

impl Runtime {
    /// Tells what changed in exporters that this controller has written.
    pub(super) fn tell_exporters(&self, before: &[Arc<Exporter>], objects: &[Object]) {
        for object in objects.iter().filter(|object| object.kind() == Kind::Exporter) {
            let before = before.iter().find(|before| before.metadata.name.as_deref() == Some(object.name()));
            let Ok(after) = object.decode::<Exporter>() else { continue };
            for (kind, reason, message) in notices(before.map(|before| &**before), &after, self.config.clock.now()) {
                self.events.record(ObjectEvent::new(object, kind, EXPORTERS, reason, message));
            }
        }
    }

    /// Tells what happened to a lease.
    pub(super) fn tell_lease(&self, lease: Option<&Object>, kind: EventKind, reason: &'static str, message: &str) {
        if let Some(lease) = lease {
            self.events.record(ObjectEvent::new(lease, kind, LEASES, reason, message));
        }
    }

    /// Tells what is wrong with a window that blocks nothing, since it makes no sense.
    pub(super) fn tell_senseless(&self, object: &Object, message: String) {
        self.events.record(ObjectEvent::new(object, EventKind::Warning, EXPORTERS, "Invalid", message));
    }

    /// Tells what is wrong with an object that is left out.
    pub(super) fn tell_unreadable(&self, object: &Object, error: &str) {
        let component = if object.kind() == Kind::Lease { LEASES } else { EXPORTERS };
        let message = format!("the object is left out until it is mended: {error}");
        self.events.record(ObjectEvent::new(object, EventKind::Warning, component, "Unreadable", message));
    }
}

/// The transitions between two states of an exporter that are worth telling.
fn notices(before: Option<&Exporter>, after: &Exporter, now: Timestamp) -> Vec<Notice> {
    let holds = |exporter: Option<&Exporter>, condition: &str| {
        exporter
            .and_then(|exporter| exporter.status.as_ref())
            .is_some_and(|status| is_true(&status.conditions, condition))
    };
    let flips = |condition: &str| match (holds(before, condition), holds(Some(after), condition)) {
        (false, true) => Some(true),
        (true, false) => Some(false),
        _ => None,
    };
    let name = after.metadata.name.as_deref().unwrap_or_default();
    let status = after.status.clone().unwrap_or_default();
    let mut notices = Vec::new();
    match flips("Registered") {
        Some(true) => {
            let message = format!("exporter {name} registered {} devices", status.devices.len());
            notices.push((EventKind::Normal, "ExporterRegistered", message));
        }
        Some(false) => {
            notices.push((EventKind::Warning, "ExporterUnregistered", format!("exporter {name} unregistered")));
        }
        None => {}
    }
    let seen = status.last_seen.as_ref().map(|seen| seen.0);
    let last_seen = seen.map_or("never".to_owned(), |seen| seen.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    match flips("Online") {
        Some(true) => {
            let message = format!("exporter {name} is online, last seen {last_seen}");
            notices.push((EventKind::Normal, "ExporterOnline", message));
        }
        Some(false) => {
            let recent = seen.is_some_and(|seen| now.duration_since(seen).as_secs() <= GRACEFUL_SECS);
            let said = status.conditions.iter().find(|found| found.type_ == "Online");
            let graceful = status.exporter_status == Some(ExporterPhase::Offline)
                && said.is_some_and(|said| said.reason == "Offline")
                && recent;
            let message = if graceful {
                format!("exporter {name} went offline: {}", status.status_message.unwrap_or_default())
            } else {
                format!("the connection to exporter {name} was lost, last seen {last_seen}")
            };
            notices.push((EventKind::Warning, "ExporterOffline", message));
        }
        None => {}
    }
    notices.extend(quarantine_notice(before, after));
    notices
}

/// What is new about the quarantine of an exporter.
fn quarantine_notice(before: Option<&Exporter>, after: &Exporter) -> Option<Notice> {
    let told = |exporter: &Exporter| {
        let conditions = &exporter.status.as_ref()?.conditions;
        find(conditions, exporter_condition::QUARANTINED).cloned()
    };
    let (was, is) = (before.and_then(told), told(after)?);
    if was.is_some_and(|was| (&was.status, &was.reason, &was.message) == (&is.status, &is.reason, &is.message)) {
        return None;
    }
    Some(match (is.status.as_str(), is.reason.as_str()) {
        ("True", _) => (EventKind::Warning, "Quarantined", is.message),
        (_, exporter_condition::QUARANTINE_LIMITED) => {
            (EventKind::Warning, exporter_condition::QUARANTINE_LIMITED, is.message)
        }
        _ => (EventKind::Normal, "QuarantineLifted", is.message),
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use jumpstarter_model::Device;

    use super::{
        super::{edits, inbox::ExporterEdit},
        *,
    };

    fn apply(edit: Option<ExporterEdit>) -> Exporter {
        match edit.expect("an edit") {
            ExporterEdit::Status(exporter) | ExporterEdit::Whole(exporter) => *exporter,
        }
    }

    fn reasons(before: Option<&Exporter>, after: &Exporter) -> Vec<&'static str> {
        notices(before, after, Timestamp::now()).into_iter().map(|(_, reason, _)| reason).collect()
    }

    #[test]
    fn each_transition_is_told_once_with_its_reason() {
        let now = Timestamp::now();
        let new = Exporter::default();
        let registered = apply(edits::register(&new, &BTreeMap::default(), &[Device::default()], now));
        assert_eq!(reasons(Some(&new), &registered), ["ExporterRegistered"]);
        let online = apply(edits::online(&registered, true, edits::Known::default(), now));
        assert_eq!(reasons(Some(&registered), &online), ["ExporterOnline"]);
        assert_eq!(reasons(Some(&online), &online), Vec::<&str>::new());
        let lost = apply(edits::online(
            &online,
            false,
            edits::Known { silence: Some(Duration::from_secs(9)), ..Default::default() },
            now,
        ));
        let told = notices(Some(&online), &lost, now);
        assert!(told[0].2.contains("was lost"), "{told:?}");
        let left = apply(edits::unregister(&online, "maintenance", now));
        assert_eq!(reasons(Some(&online), &left), ["ExporterUnregistered", "ExporterOffline"]);
        assert!(notices(Some(&online), &left, now)[1].2.contains("maintenance"));
    }
}
