//! Use, counted from the objects alone: whoever can read them knows it, as the service does.

use std::collections::{BTreeMap, HashMap};

use jiff::SignedDuration;
use jumpstarter_model::{Lease, Timestamp, lease_time::planned_end};

use super::{AccountId, Quotas, record::Record, rule::Rule};
use crate::{AccountUse, Objects, lab::names::Name, transition::MAINTENANCE_CLIENT};

type Labels = BTreeMap<String, String>;

/// What every account of every quota uses of which anything is known, by quota and account. `half_life` is that of the
/// service, for shares.
pub fn tally(objects: Objects<'_>, half_life: SignedDuration, now: Timestamp) -> Vec<AccountUse> {
    let mut quotas = Quotas::new(half_life);
    for quota in objects.quotas {
        let _ = quotas.put(quota.metadata.name.as_deref().unwrap_or_default().into(), quota);
    }
    quotas.set_now(now);
    let clients = objects.clients.iter().map(|client| &client.metadata);
    let clients = clients.map(|client| (client.name.as_deref().unwrap_or_default(), client.labels.as_ref()));
    let clients = clients.collect::<HashMap<_, _>>();
    let none = Labels::new();
    let counts = |labels: &Labels| {
        let about = |rule: &Rule| rule.exporters().is_some_and(|selector| selector.matches(labels));
        quotas.rules().filter(|(_, rule)| about(rule)).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let exporters = objects.exporters.iter().map(|exporter| &exporter.metadata);
    let exporters = exporters.map(|exporter| {
        (exporter.name.as_deref().unwrap_or_default(), counts(exporter.labels.as_ref().unwrap_or(&none)))
    });
    let exporters = exporters.collect::<HashMap<_, _>>();
    let (gone, all) = (counts(&none), quotas.rules().map(|(name, _)| name.clone()).collect::<Vec<_>>());

    for lease in objects.leases {
        let client = lease.spec.client_ref.name.as_str();
        if client == MAINTENANCE_CLIENT {
            continue;
        }
        let labels = clients.get(client).copied().flatten().unwrap_or(&none);
        let of = |quotas: &Quotas, names: &[Name]| {
            let account = |quota: &Name| Some((quota.clone(), quotas.account_of(quota, client, labels)?));
            names.iter().filter_map(account).collect::<Vec<AccountId>>()
        };
        if let Some(record) = record(lease, now) {
            let accounts = of(&quotas, exporters.get(&*record.exporter).unwrap_or(&gone));
            let name = lease.metadata.name.as_deref().unwrap_or_default().into();
            quotas.set_record(&name, Some((record, accounts)));
        } else if waits(lease, now) {
            let accounts = of(&quotas, &all);
            quotas.count_waiting(&accounts, 1, 0);
        }
    }
    quotas.all_uses(now)
}

fn record(lease: &Lease, now: Timestamp) -> Option<Record> {
    if lease.is_ended() {
        return Record::of_ended(lease);
    }
    let begin = lease.status.as_ref().and_then(|status| status.begin_time.as_ref()).map_or(now, |begin| begin.0);
    Some(Record {
        client: lease.spec.client_ref.name.as_str().into(),
        exporter: lease.assigned_exporter()?.into(),
        begin,
        end: planned_end(&lease.spec, begin),
        runs: true,
    })
}

fn waits(lease: &Lease, now: Timestamp) -> bool {
    !lease.is_ended()
        && lease.spec.release != Some(true)
        && lease.spec.begin_time.as_ref().is_none_or(|begin| begin.0 <= now)
        && planned_end(&lease.spec, now) > now
}
