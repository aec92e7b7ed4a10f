//! Whether a lease may be created, or changed, as asked; and what would do instead.

use std::cmp::Reverse;

use jumpstarter_model::{Lease, Timestamp};

use super::{Lab, Name, Stay};
use crate::{Clash, lab::lease::Entry};

/// Alternatives of each kind that are named.
const NAMED: usize = 3;
/// Exporters that are looked at for them.
const MAX_LOOKED_AT: usize = 1000;
/// Obstacles after which an exporter is given up.
const MAX_TRIES: usize = 64;

impl Lab {
    /// Whether a lease can have its time: a scheduled one an exporter for it, a running one its exporter until its end. Ask
    /// it of the lease as it is to become, before it is written. Whoever waits for no certain time has nothing to ask, nor
    /// has a scheduled lease that matches no exporter yet.
    ///
    /// # Errors
    ///
    /// [`Clash`], when reservations or maintenance are in the way.
    pub fn check_times(&self, lease: &Lease, now: Timestamp) -> Result<(), Box<Clash>> {
        let Some(name) = lease.metadata.name.as_deref().map(Name::from) else { return Ok(()) };
        let entry = Entry::of(&name, lease);
        if lease.is_ended() || entry.release {
            return Ok(());
        }
        if let Some(exporter) = &entry.exporter {
            return self.check_extension(&entry, exporter, now);
        }
        let (Ok(request), Some(stay)) = (&entry.request, Stay::of(&entry)) else { return Ok(()) };
        if stay.begin <= now || entry.group.is_some() {
            return Ok(());
        }
        let mut could = Vec::new();
        for exporter in self.matching(request) {
            if !self.is_reservable(request, &exporter) || self.rank_of(&entry, &exporter).is_none() {
                continue;
            }
            if self.is_open(&exporter, stay, &name, &entry.client) {
                return Ok(());
            }
            could.push(exporter);
        }
        if could.is_empty() { Ok(()) } else { Err(Box::new(self.explain_clash(&entry, stay, &could))) }
    }

    /// Somebody who runs already may stay as long as was agreed, whatever is in the way.
    fn check_extension(&self, entry: &Entry, exporter: &Name, now: Timestamp) -> Result<(), Box<Clash>> {
        let end = entry.times.end(entry.begin.unwrap_or(now));
        let known = self.leases.get(&entry.age.name).filter(|known| known.exporter.as_ref() == Some(exporter));
        let agreed = known.map_or(now, |known| known.times.end(known.begin.unwrap_or(now)));
        let stay = Stay { begin: agreed.max(now), end };
        if stay.end <= stay.begin || self.is_open(exporter, stay, &entry.age.name, &entry.client) {
            return Ok(());
        }
        let in_the_way = self.obstacle(exporter, stay, &entry.age.name, &entry.client);
        Err(Box::new(Clash {
            begin: stay.begin,
            end: stay.end,
            in_the_way: in_the_way.into_iter().collect(),
            begins: Vec::new(),
            others: Vec::new(),
        }))
    }

    /// Why a scheduled lease has nothing reserved; `None` when something else is the matter.
    pub(super) fn clash(&self, lease: &Name) -> Option<Clash> {
        let entry = self.leases.get(lease)?;
        let (Ok(request), stay) = (&entry.request, Stay::of(entry)?) else { return None };
        let could = self.matching(request).into_iter();
        let could = could.filter(|name| self.is_reservable(request, name) && self.rank_of(entry, name).is_some());
        let could = could.collect::<Vec<_>>();
        (!could.is_empty()).then(|| self.explain_clash(entry, stay, &could))
    }

    fn explain_clash(&self, entry: &Entry, stay: Stay, could: &[Name]) -> Clash {
        let name = &entry.age.name;
        let looked_at = &could[..could.len().min(MAX_LOOKED_AT)];
        let in_the_way = looked_at.iter().filter_map(|exporter| self.obstacle(exporter, stay, name, &entry.client));
        let length = stay.begin.duration_until(stay.end);
        let begins = looked_at.iter().filter_map(|exporter| {
            let end = |begin| super::later(begin, length);
            let begin = self.opens_up(exporter, stay.begin, (name, &entry.client), MAX_TRIES, end)?;
            Some((begin, exporter.to_string()))
        });
        let mut begins = begins.collect::<Vec<_>>();
        begins.sort();
        begins.truncate(NAMED);
        Clash {
            begin: stay.begin,
            end: stay.end,
            in_the_way: in_the_way.collect(),
            begins,
            others: self.others(entry, stay, could),
        }
    }

    /// Other exporters that the lease might make do with: those that have the most labels in common with one that it
    /// could have.
    fn others(&self, entry: &Entry, stay: Stay, could: &[Name]) -> Vec<String> {
        let Some(like) = could.first().and_then(|name| self.exporters.get(name)) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, bench) in self.exporters.iter().take(MAX_LOOKED_AT) {
            let common = like.seen.labels.iter().filter(|(key, value)| bench.seen.labels.get(*key) == Some(value));
            let alike = common.count();
            if alike > 0
                && bench.seen.enabled
                && could.binary_search(name).is_err()
                && self.rank_of(entry, name).is_some()
                && self.is_open(name, stay, &entry.age.name, &entry.client)
            {
                found.push((Reverse(alike), name));
            }
        }
        found.sort();
        found.into_iter().take(NAMED).map(|(_, name)| name.to_string()).collect()
    }
}
