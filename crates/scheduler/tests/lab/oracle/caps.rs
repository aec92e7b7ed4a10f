//! Caps of quotas, found by looking at every lease.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{AccountBy, GoDuration, Lease, LeaseQuota, Selector, Timestamp, lease_time::planned_end};

use jumpstarter_scheduler::AccountUse;

use super::Pair;
use crate::kit::World;

/// Whether every quota lets the lease have the exporter beside what was chosen already.
pub(crate) fn are_kept(world: &World, chosen: &BTreeSet<Pair>, lease: &str, exporter: &str) -> bool {
    let client = &world.leases[lease].spec.client_ref.name;
    let quotas = world.quotas.values().filter(|quota| counts(world, quota, exporter));
    quotas.filter_map(|quota| Some((quota, account(world, quota, client)?))).all(|(quota, of)| {
        let same = |lease: &str, exporter: &str| {
            counts(world, quota, exporter)
                && account(world, quota, &world.leases[lease].spec.client_ref.name).as_ref() == Some(&of)
        };
        let new = chosen.iter().filter(|(lease, exporter)| same(lease, exporter)).map(|(lease, _)| lease.as_str());
        // What was given counts as it will end, what is asked for as it was asked.
        let given = |name| (world.now, planned_end(&world.leases[name].spec, world.now), true);
        let new = new.map(given).chain([asked(&world.leases[lease], world.now)]);
        let used = uses(world, quota, &of, false).into_iter().chain(new).collect::<Vec<_>>();
        let held = used.iter().filter(|(.., runs)| *runs).count();
        quota.spec.max_devices.is_none_or(|most| held <= usize::try_from(most).unwrap())
            && quota.spec.max_device_time.is_none_or(|most| time(quota, &used, world.now) <= most)
    })
}

/// Checks that what people are told of accounts is the same whoever counts, when everything decided is written.
pub(crate) fn check_told(world: &World) {
    let counted = crate::usage::counted(world);
    for told in world.clients.keys().flat_map(|client| world.lab.usage(client, world.now)) {
        let same = |found: &&AccountUse| (&found.quota, &found.account) == (&told.quota, &told.account);
        let unused = told.devices == 0 && told.waiting == 0;
        assert!(counted.iter().find(same).map_or(unused, |found| *found == told), "{told:?} of {counted:?}");
    }
}

/// Checks that no account is beyond a cap.
pub(crate) fn check(world: &World) {
    for (name, quota) in &world.quotas {
        let clients = world.leases.values().map(|lease| &lease.spec.client_ref.name).collect::<BTreeSet<_>>();
        for of in clients.into_iter().filter_map(|client| account(world, quota, client)).collect::<BTreeSet<_>>() {
            // As it was granted: who looks late ends leases late.
            let used = uses(world, quota, &of, true);
            let held = i64::try_from(used.iter().filter(|(.., runs)| *runs).count()).unwrap();
            assert!(quota.spec.max_devices.is_none_or(|most| held <= most), "{held} devices of `{of}` in {name}");
            let time = time(quota, &used, world.now);
            assert!(quota.spec.max_device_time.is_none_or(|most| time <= most), "{time} of `{of}` in {name}");
        }
    }
}

fn counts(world: &World, quota: &LeaseQuota, exporter: &str) -> bool {
    let labels = world.exporters.get(exporter).and_then(|exporter| exporter.metadata.labels.clone());
    matches(quota.spec.exporter_selector.as_ref(), &labels.unwrap_or_default())
}

fn matches(
    selector: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    labels: &BTreeMap<String, String>,
) -> bool {
    selector.is_none_or(|selector| Selector::from_label_selector(selector).unwrap().matches(labels))
}

fn account(world: &World, quota: &LeaseQuota, client: &str) -> Option<String> {
    let labels = world.clients.get(client).and_then(|client| client.metadata.labels.clone()).unwrap_or_default();
    matches(quota.spec.client_selector.as_ref(), &labels).then(|| match quota.spec.account_by.unwrap_or_default() {
        AccountBy::Client => client.to_owned(),
        AccountBy::All => String::new(),
        AccountBy::Label => labels.get(quota.spec.account_label.as_ref().unwrap()).cloned().unwrap_or_default(),
    })
}

/// Begin and end of every lease of an account, and whether it runs.
fn uses(world: &World, quota: &LeaseQuota, of: &str, granted: bool) -> Vec<(Timestamp, Timestamp, bool)> {
    let counted = |lease: &&Lease| {
        lease.assigned_exporter().is_some_and(|exporter| counts(world, quota, exporter))
            && account(world, quota, &lease.spec.client_ref.name).as_deref() == Some(of)
    };
    let times = |lease: &Lease| {
        let status = lease.status.clone().unwrap();
        let begin = status.begin_time.unwrap().0;
        let planned = planned_end(&lease.spec, begin);
        let end = status.end_time.map_or(planned, |end| if granted { end.0.min(planned) } else { end.0 });
        let ending = lease.metadata.name.as_ref().is_some_and(|name| world.ending.contains(name));
        if ending { (begin, planned, true) } else { (begin, end, !lease.is_ended()) }
    };
    world.leases.values().filter(counted).map(times).collect()
}

/// What a lease asks for, all of it, also where its begin was late.
fn asked(lease: &Lease, now: Timestamp) -> (Timestamp, Timestamp, bool) {
    let requested = match (&lease.spec.begin_time, &lease.spec.end_time, lease.spec.duration) {
        (Some(begin), Some(end), _) => GoDuration::between(begin.0, end.0),
        (None, Some(end), _) => GoDuration::between(now, end.0),
        (_, None, duration) => duration.unwrap_or(GoDuration::ZERO),
    };
    (now, now + requested.to_signed(), true)
}

/// Device time within the period that ends now, and later.
fn time(quota: &LeaseQuota, used: &[(Timestamp, Timestamp, bool)], now: Timestamp) -> GoDuration {
    let from = now - quota.spec.period.unwrap_or(GoDuration::ZERO).to_signed();
    let of = |(begin, end, _): &(Timestamp, Timestamp, bool)| GoDuration::between((*begin).max(from), (*end).max(from));
    used.iter().map(of).fold(GoDuration::ZERO, GoDuration::saturating_add)
}
