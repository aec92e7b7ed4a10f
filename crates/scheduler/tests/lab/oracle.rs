//! What the rules say, computed the slow and obvious way: every lease against every exporter.

pub(crate) mod caps;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jumpstarter_model::{
    Exporter, ExporterPhase, GoDuration, Lease, MaintenanceWindow, Selector, Timestamp, condition::is_true,
    lease_time::planned_end, window::Schedule,
};
use jumpstarter_scheduler::transition;

use crate::kit::World;

/// Lease and exporter.
pub(crate) type Pair = (String, String);

/// Worth of a grant, the least being the best: whether it is for spot access only, then its priority.
pub(crate) type Rank = (bool, Reverse<i64>);

/// What policies let the lease have the exporter with.
pub(crate) fn granted(world: &World, lease: &Lease, exporter: &Exporter) -> Option<Rank> {
    if world.policies.is_empty() {
        return Some((false, Reverse(0)));
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
    });
    rules.map(|rule| (rule.spot_access == Some(true), Reverse(rule.priority.unwrap_or(0)))).min()
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

/// A time, the exporter that is reserved for it, and the lease for which it is.
pub(crate) struct Reserved {
    pub(crate) begin: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) exporter: String,
    pub(crate) lease: String,
}

/// What is reserved, as the objects say.
pub(crate) fn reservations(world: &World) -> Vec<Reserved> {
    let open = world.leases.iter().filter(|(_, lease)| {
        !lease.is_ended() && lease.assigned_exporter().is_none() && lease.spec.release != Some(true)
    });
    let found = open.filter_map(|(name, lease)| {
        let (exporter, begin, end) = transition::reserved(lease)?;
        let asked = lease.spec.begin_time.as_ref()?.0;
        let holds = begin == asked && end == planned_end(&lease.spec, asked) && end > world.now;
        holds.then(|| Reserved { begin, end, exporter: exporter.to_owned(), lease: name.clone() })
    });
    found.collect()
}

/// Openings of windows about an exporter that are not over, with those whom they let in.
fn openings(world: &World, exporter: &Exporter) -> Vec<(MaintenanceWindow, Schedule)> {
    let labels = exporter.metadata.labels.clone().unwrap_or_default();
    let about = world.windows.values().filter(|window| {
        let selector = window.spec.exporter_selector.as_ref().unwrap();
        Selector::from_label_selector(selector).unwrap().matches(&labels)
    });
    let valid = about.filter_map(|window| Some((window.clone(), Schedule::of(&window.spec).ok()?)));
    valid.filter(|(_, schedule)| schedule.open_after(world.now).is_some()).collect()
}

/// Whether anything is ahead of an exporter.
fn is_booked(world: &World, name: &str, exporter: &Exporter) -> bool {
    reservations(world).iter().any(|reserved| reserved.exporter == name) || !openings(world, exporter).is_empty()
}

/// Whether a lease that gets the exporter at `begin` lets it go before others have a claim on it.
pub(crate) fn fits(world: &World, name: &str, lease: &Lease, exporter: &Exporter, begin: Timestamp) -> bool {
    let end = planned_end(&lease.spec, begin);
    let overlaps = |from: Timestamp, until: Timestamp| from < end && begin < until;
    let client = world.clients.get(&lease.spec.client_ref.name);
    let labels = client.map(|client| client.metadata.labels.clone().unwrap_or_default());
    let admitted = |window: &MaintenanceWindow| {
        let selector = window.spec.client_selector.as_ref().map(|found| Selector::from_label_selector(found).unwrap());
        selector.zip(labels.as_ref()).is_some_and(|(selector, labels)| selector.matches(labels))
    };
    let others =
        |reserved: &Reserved| reserved.exporter == name && Some(&reserved.lease) != lease.metadata.name.as_ref();
    !reservations(world).iter().any(|found| others(found) && overlaps(found.begin, found.end))
        && openings(world, exporter).iter().all(|(window, schedule)| {
            admitted(window) || schedule.open_after(begin).is_none_or(|open| !overlaps(open.begin, open.end))
        })
}

/// When the last lease on the exporter ended.
fn last_use(world: &World, name: &str) -> Timestamp {
    let ended = world.leases.values().filter(|lease| lease.is_ended() && lease.assigned_exporter() == Some(name));
    let ends = ended.filter_map(|lease| lease.status.as_ref()?.end_time.as_ref().map(|end| end.0));
    ends.max().unwrap_or(Timestamp::MIN)
}

/// Who gets what now: first whoever has reserved it for now; then pairs by access and priority, age of the lease, last use and name of the exporter.
pub(crate) fn assignments(world: &World) -> BTreeSet<Pair> {
    let mut pairs = Vec::new();
    for (lease_name, lease) in world.leases.iter().filter(|(_, lease)| waits(lease, world.now)) {
        for (name, exporter) in &world.exporters {
            if suits(lease, exporter)
                && is_free(world, name, exporter)
                && let Some(rank) = granted(world, lease, exporter)
                && fits(world, name, lease, exporter, world.now)
            {
                let own = |found: &Reserved| found.lease == *lease_name && found.exporter == *name;
                let ordinary = !reservations(world).iter().any(own);
                let metadata = &lease.metadata;
                let age = (metadata.creation_timestamp.as_ref().unwrap().0, metadata.uid.clone(), lease_name.clone());
                pairs.push((ordinary, rank, age, last_use(world, name), name.clone()));
            }
        }
    }
    pairs.sort();
    let mut taken = BTreeSet::new();
    let mut chosen = BTreeSet::new();
    for (_, _, (_, _, lease), _, exporter) in pairs {
        let free = !taken.contains(&lease) && !taken.contains(&exporter);
        if free && caps::are_kept(world, &chosen, &lease, &exporter) {
            taken.extend([lease.clone(), exporter.clone()]);
            chosen.insert((lease, exporter));
        }
    }
    chosen
}

/// Who has to make way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contest {
    /// Leases to tell, or to end at once.
    pub(crate) chosen: BTreeSet<String>,
    /// Leases that were told and need not.
    pub(crate) spared: BTreeSet<String>,
}

/// Exporters are taken in one after the other, as long as one more lets one more waiting lease have one that it has
/// full access to: those that come free within the grace and those being vacated, by time; then victims, the lowest
/// priority first and then the youngest.
pub(crate) fn contest(world: &World) -> Contest {
    let waiting = world.leases.values().filter(|lease| waits(lease, world.now)).collect::<Vec<_>>();
    let (mut coming, mut victims) = (Vec::new(), Vec::new());
    let mut contest = Contest::default();
    let grace = world.config.preemption_grace;
    for (name, exporter) in &world.exporters {
        let status = exporter.status.clone().unwrap_or_default();
        let mut holders = world.leases.values().filter(|lease| !lease.is_ended());
        let holder = holders.find(|lease| lease.assigned_exporter() == Some(name));
        let phase = status.exporter_status.unwrap_or_default();
        let stuck = matches!(
            phase,
            ExporterPhase::Offline | ExporterPhase::BeforeLeaseHookFailed | ExporterPhase::AfterLeaseHookFailed
        );
        let online = is_true(&status.conditions, "Online") && is_true(&status.conditions, "Registered");
        match holder {
            _ if !online => {}
            None if !stuck && status.lease_ref.is_none() => coming.push((Timestamp::MIN, false, name.clone())),
            None => {}
            Some(lease) => {
                let held = lease.status.clone().unwrap_or_default();
                let begin = held.begin_time.as_ref().unwrap().0;
                let end = planned_end(&lease.spec, begin);
                let due = is_noticed(lease).map(|told| told + grace);
                let until = due.map_or(end, |due| due.min(end));
                if until <= world.now + grace {
                    coming.push((until, due.is_some(), name.clone()));
                } else if held.spot_access == Some(true) {
                    let age = (lease.metadata.creation_timestamp.clone().unwrap().0, lease.metadata.uid.clone());
                    let age = (age, lease.metadata.name.clone());
                    victims.push((held.priority.unwrap(), Reverse(begin), Reverse(age), name.clone()));
                }
            }
        }
    }
    coming.sort();
    victims.sort();
    let mut taken = Vec::new();
    let mut needed = BTreeSet::new();
    let victims = victims.into_iter().map(|(.., name)| name).collect::<Vec<_>>();
    let later = victims.iter().map(|name| (world.now + grace, name.clone()));
    for (at, name) in coming.into_iter().map(|(at, _, name)| (at, name)).chain(later) {
        taken.push((at, name.clone()));
        if served(world, &waiting, &taken) == taken.len() {
            needed.insert(name);
        } else {
            taken.pop();
        }
    }
    for (name, lease) in &world.leases {
        let holds = lease.assigned_exporter().filter(|_| !lease.is_ended());
        let Some(exporter) = holds else { continue };
        if is_noticed(lease).is_some() && !needed.contains(exporter) {
            contest.spared.insert(name.clone());
        } else if victims.iter().any(|victim| victim == exporter) && needed.contains(exporter) {
            contest.chosen.insert(name.clone());
        }
    }
    contest
}

/// Since when a lease knows that it is to make way.
pub(crate) fn is_noticed(lease: &Lease) -> Option<Timestamp> {
    let status = lease.status.as_ref().filter(|status| status.spot_access == Some(true))?;
    status
        .conditions
        .iter()
        .find(|found| found.type_ == "Preempting" && found.status == "True")
        .map(|found| found.last_transition_time.0)
}

/// How many of these exporters can be given to waiting leases with full access at most.
fn served(world: &World, waiting: &[&Lease], exporters: &[(Timestamp, String)]) -> usize {
    let mut of_lease: BTreeMap<usize, usize> = BTreeMap::new();
    let edges = |index: usize| {
        let (at, name) = &exporters[index];
        let exporter = &world.exporters[name];
        // When it comes is not known: only who has reserved it for now can be sure.
        let in_time = |lease: &Lease| match *at {
            at if at == Timestamp::MIN && is_booked(world, name, exporter) => {
                let own = |found: &Reserved| Some(&found.lease) == lease.metadata.name.as_ref();
                reservations(world).iter().any(|found| own(found) && found.exporter == *name)
            }
            at if at == Timestamp::MIN => true,
            at => fits(world, name, lease, exporter, at),
        };
        let full = |lease: &Lease| granted(world, lease, exporter).is_some_and(|(spot, _)| !spot);
        let fits =
            waiting.iter().enumerate().filter(|(_, lease)| suits(lease, exporter) && full(lease) && in_time(lease));
        fits.map(|(lease, _)| lease).collect::<Vec<_>>()
    };
    let edges = (0..exporters.len()).map(edges).collect::<Vec<_>>();
    (0..exporters.len()).filter(|index| place(*index, &edges, &mut of_lease, &mut BTreeSet::new())).count()
}

fn place(
    index: usize,
    edges: &[Vec<usize>],
    of_lease: &mut BTreeMap<usize, usize>,
    seen: &mut BTreeSet<usize>,
) -> bool {
    for lease in &edges[index] {
        if !seen.insert(*lease) {
            continue;
        }
        let free = match of_lease.get(lease).copied() {
            None => true,
            Some(other) => place(other, edges, of_lease, seen),
        };
        if free {
            of_lease.insert(*lease, index);
            return true;
        }
    }
    false
}
