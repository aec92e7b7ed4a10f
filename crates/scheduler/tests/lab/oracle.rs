//! What the rules say, computed the slow and obvious way: every lease against every exporter.

use std::collections::BTreeSet;

use jumpstarter_model::{
    Exporter, ExporterPhase, GoDuration, Lease, Selector, Timestamp, condition::is_true, lease_time::planned_end,
};

use crate::kit::World;

/// Lease and exporter.
pub(crate) type Pair = (String, String);

/// Priority with which policies let the lease have the exporter.
pub(crate) fn granted(world: &World, lease: &Lease, exporter: &Exporter) -> Option<i64> {
    if world.policies.is_empty() {
        return Some(0);
    }
    let labels = exporter.metadata.labels.clone().unwrap_or_default();
    let client = world.clients.get(&lease.spec.client_ref.name)?.metadata.labels.clone().unwrap_or_default();
    let requested = match (&lease.spec.begin_time, &lease.spec.end_time, lease.spec.duration) {
        (Some(begin), Some(end), _) => GoDuration::between(begin.0, end.0),
        (None, Some(end), _) => GoDuration::between(world.now, end.0),
        (_, None, duration) => duration.unwrap_or(GoDuration::ZERO),
    };
    let about = world.policies.values().filter(|policy| {
        let selector = Selector::from_label_selector(policy.spec.exporter_selector.as_ref().unwrap()).unwrap();
        selector.matches(&labels)
    });
    let rules = about.flat_map(|policy| policy.spec.policies.iter().flatten()).filter(|rule| {
        let mut from = rule.from.iter().flatten();
        from.any(|from| Selector::from_label_selector(&from.client_selector).unwrap().matches(&client))
            && rule.maximum_duration.is_none_or(|maximum| requested <= maximum)
            && rule.spot_access != Some(true)
    });
    rules.map(|rule| rule.priority.unwrap_or(0)).max()
}

/// Whether the exporter is one that the lease asks for and administrators give.
pub(crate) fn suits(lease: &Lease, exporter: &Exporter) -> bool {
    let labels = exporter.metadata.labels.clone().unwrap_or_default();
    let selector = Selector::from_label_selector(&lease.spec.selector).unwrap();
    let pinned = lease.pinned_exporter();
    selector.matches(&labels)
        && (pinned.is_some() || !selector.is_empty())
        && pinned.is_none_or(|pinned| Some(pinned) == exporter.metadata.name.as_deref())
        && (exporter.is_enabled() || (pinned.is_some() && lease.spec.allow_disabled == Some(true)))
}

/// Whether the exporter can be given out.
pub(crate) fn is_free(world: &World, name: &str, exporter: &Exporter) -> bool {
    let status = exporter.status.clone().unwrap_or_default();
    let ready = matches!(status.exporter_status, None | Some(ExporterPhase::Unspecified | ExporterPhase::Available));
    let held = world.leases.values().any(|lease| !lease.is_ended() && lease.assigned_exporter() == Some(name));
    ready
        && !held
        && status.lease_ref.is_none()
        && !world.owes.contains(name)
        && is_true(&status.conditions, "Online")
        && is_true(&status.conditions, "Registered")
}

/// Whether the lease stands in the queue.
pub(crate) fn waits(lease: &Lease, now: Timestamp) -> bool {
    !lease.is_ended()
        && lease.assigned_exporter().is_none()
        && lease.spec.release != Some(true)
        && lease.spec.begin_time.as_ref().is_none_or(|begin| begin.0 <= now)
        && planned_end(&lease.spec, now) > now
}

/// Who gets what now: pairs by priority, age of the lease, name of the exporter.
pub(crate) fn assignments(world: &World) -> BTreeSet<Pair> {
    let mut pairs = Vec::new();
    for (lease_name, lease) in world.leases.iter().filter(|(_, lease)| waits(lease, world.now)) {
        for (name, exporter) in &world.exporters {
            if suits(lease, exporter)
                && is_free(world, name, exporter)
                && let Some(priority) = granted(world, lease, exporter)
            {
                let metadata = &lease.metadata;
                let age = (metadata.creation_timestamp.as_ref().unwrap().0, metadata.uid.clone(), lease_name.clone());
                pairs.push((std::cmp::Reverse(priority), age, name.clone()));
            }
        }
    }
    pairs.sort();
    let mut taken = BTreeSet::new();
    let mut chosen = BTreeSet::new();
    for (_, (_, _, lease), exporter) in pairs {
        if !taken.contains(&lease) && !taken.contains(&exporter) {
            taken.extend([lease.clone(), exporter.clone()]);
            chosen.insert((lease, exporter));
        }
    }
    chosen
}
