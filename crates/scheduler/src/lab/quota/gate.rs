//! What quotas mean to leases: who is counted, who may go on, who must wait.

use std::collections::{BTreeMap, BTreeSet};

use jumpstarter_model::{GoDuration, Timestamp, condition::lease as condition};

use super::{
    super::{
        Lab,
        access::Scope,
        lease::Entry,
        names::{Age, Name},
        times::later,
        want::{Kind, WantId},
    },
    AccountId, Full, Record, Room,
};
use crate::{Action, RefusedAs, WaitingLimit};

impl Lab {
    /// Counts the exporter that a lease holds, if it holds one.
    pub(in crate::lab) fn count_holder(&mut self, name: &Name) {
        let record = self.leases.get(name).and_then(|entry| {
            let begin = entry.begin.unwrap_or(self.book.quotas.now);
            Some(Record {
                client: entry.client.clone(),
                exporter: entry.exporter.clone()?,
                begin,
                end: entry.times.end(begin),
                runs: true,
            })
        });
        self.set_record(name, record);
    }

    /// Notes who had which exporter, and when.
    pub(in crate::lab) fn set_record(&mut self, name: &Name, record: Option<Record>) {
        if self.book.quotas.record(name) == record.as_ref() {
            return;
        }
        let before = self.book.quotas.record(name).cloned();
        for record in before.iter().chain(&record) {
            self.mark_groups_beside(record);
        }
        let counted = record.map(|record| {
            let accounts = self.accounts_of(&record);
            (record, accounts)
        });
        self.book.quotas.set_record(name, counted);
    }

    /// Has the groups looked at that share an account with a lease: they need room for several.
    fn mark_groups_beside(&mut self, record: &Record) {
        if !self.groups.any_in_line() {
            return;
        }
        let (scope, accounts) = (self.scope_of(record), self.accounts_of(record));
        if !accounts.is_empty() {
            let book = &self.book;
            self.groups
                .mark_lines_of(|client| book.accounts(scope, client).iter().any(|account| accounts.contains(account)));
        }
    }

    /// An exporter that is gone is one without labels.
    fn accounts_of(&mut self, record: &Record) -> Vec<AccountId> {
        if self.book.quotas.is_empty() {
            return Vec::new();
        }
        let scope = self.scope_of(record);
        self.book.accounts(scope, &record.client)
    }

    fn scope_of(&mut self, record: &Record) -> Scope {
        match self.exporters.get(&record.exporter) {
            Some(bench) => bench.scope,
            None => self.book.scope(&BTreeMap::new()),
        }
    }

    /// Counts the leases of an exporter anew, after its labels changed.
    pub(in crate::lab) fn recount_exporter(&mut self, exporter: &Name) {
        for lease in self.book.quotas.of_exporter(exporter) {
            let record = self.book.quotas.record(&lease).cloned();
            self.set_record(&lease, None);
            self.set_record(&lease, record);
        }
    }

    /// Counts everything anew.
    pub(in crate::lab) fn recount(&mut self) {
        let records = self.book.quotas.reset();
        for (name, record) in records {
            self.set_record(&name, Some(record));
        }
        if self.book.quotas.is_empty() {
            return;
        }
        for (id, want) in &self.wants {
            let members = want.members.iter().filter_map(|name| self.leases.get(name)).map(Entry::kind);
            for kind in want.kinds.keys().cloned().chain(members) {
                let kind = &kind;
                let accounts = self.book.all_accounts(&kind.0);
                self.book.quotas.set_queue(&accounts, &(*id, kind.clone()), true);
            }
        }
        for (client, leases) in &self.clients {
            let accounts = self.book.all_accounts(client);
            self.book.quotas.count_waiting(&accounts, leases.len(), 0);
        }
    }

    /// Notes that somebody waits with a want, or that nobody of that kind does any more.
    pub(in crate::lab) fn set_queue(&mut self, id: WantId, kind: &Kind, waits: bool) {
        if !self.book.quotas.is_empty() {
            let accounts = self.book.all_accounts(&kind.0);
            self.book.quotas.set_queue(&accounts, &(id, kind.clone()), waits);
        }
    }

    /// Notes that one more lease of a client waits, or one less.
    pub(in crate::lab) fn count_waiting(&mut self, client: &Name, waits: bool) {
        if !self.book.quotas.is_empty() {
            let accounts = self.book.all_accounts(client);
            self.book.quotas.count_waiting(&accounts, usize::from(waits), usize::from(!waits));
        }
    }

    /// Marks those for whom it matters that accounts have more room, or less.
    pub(in crate::lab) fn check_quotas(&mut self, now: Timestamp) {
        while let Some((lifted, shut_out)) = self.book.quotas.next_change() {
            for (id, kind) in lifted {
                self.mark_groups_of(id);
                let Some(alike) = self.wants.get(&id).and_then(|want| want.kinds.get(&kind)) else { continue };
                // The others of its kind follow when it is served.
                self.marked.seeking.extend(self.first_of(alike, now).map(|age| age.name.clone()));
                self.marked.demand.insert(id);
                self.marked.contest = true;
            }
            for (id, kind) in shut_out {
                let Some(want) = self.wants.get(&id) else { continue };
                let Some(alike) = want.kinds.get(&kind) else { continue };
                let told = want.told_over.get(&kind).map_or(0, BTreeSet::len);
                if told < alike.len() {
                    self.marked.reasons.extend(alike.iter().map(|age| age.name.clone()));
                }
                self.marked.demand.insert(id);
                self.marked.contest = true;
            }
        }
    }

    /// Refuses new leases of clients that have too many waiting already, the youngest first.
    pub(in crate::lab) fn refuse_excess(&mut self, names: &BTreeSet<Name>, actions: &mut Vec<Action>) {
        let fresh = |name: &Name| self.waiting(name).map(|(entry, _)| entry).filter(|entry| entry.is_fresh());
        let full = |entry: &Entry| self.queue_is_full(&entry.client, 0).is_some();
        let over = names.iter().filter_map(fresh).filter(|entry| full(entry)).map(|entry| entry.age.clone());
        let over = over.collect::<BTreeSet<Age>>();
        for Age { name, .. } in over.into_iter().rev() {
            let Some(entry) = self.leases.get(&name) else { continue };
            if let Some(full) = self.queue_is_full(&entry.client, 0) {
                let message = condition::too_many_waiting(&full.who, full.most, full.quota.as_deref());
                self.refuse(&name, RefusedAs::Unsatisfiable, condition::TOO_MANY_WAITING, message, actions);
            }
        }
    }

    fn queue_is_full(&self, client: &str, more: usize) -> Option<Full> {
        let waiting = self.clients.get(client).map_or(0, BTreeSet::len);
        self.book.full(client, waiting, self.config.max_waiting, more)
    }

    /// The limit that keeps a client from having one more lease that waits, if there is one.
    pub fn waiting_limit(&self, client: &str) -> Option<WaitingLimit> {
        let Full { who, most, quota } = self.queue_is_full(client, 1)?;
        let message = condition::too_many_waiting(&who, most, quota.as_deref());
        Some(WaitingLimit { most, message })
    }

    /// What keeps a lease that holds an exporter from lasting for `wanted` in all, if a quota does.
    pub fn extension_limit(&self, lease: &str, wanted: GoDuration) -> Option<String> {
        let record = self.book.quotas.record(lease).filter(|record| record.runs)?;
        let scope = self.exporters.get(&record.exporter)?.scope;
        let more = GoDuration::between(record.end, later(record.begin, wanted.to_signed()));
        self.book.too_much_time(scope, &record.client, more).map(|(quota, left)| {
            format!("the quota {quota} leaves {left} of device time for more, and this would take {more}")
        })
    }

    /// How long ended leases count for quotas and shares; the oldest of them count little.
    pub fn counts_ended_for(&self) -> jiff::SignedDuration {
        self.book.quotas.longest_period().max(self.book.quotas.fades_after())
    }

    /// What is left to accounts while several leases are looked at together.
    pub(in crate::lab) fn purse(&self) -> Purse {
        Purse { open: !self.book.quotas.is_empty(), rooms: BTreeMap::new() }
    }
}

/// Room of accounts, from which leases that are looked at together take.
#[derive(Debug)]
pub(in crate::lab) struct Purse {
    /// Whether there are quotas at all.
    open: bool,
    rooms: BTreeMap<AccountId, Room>,
}

impl Purse {
    /// Whether quotas let a lease of `client` have an exporter of `scope` beside those that took before.
    pub(in crate::lab) fn allows(&self, lab: &Lab, scope: Scope, kind: &Kind, now: Timestamp) -> bool {
        let requested = kind.1.requested(now);
        !self.open
            || lab
                .book
                .rooms(scope, &kind.0)
                .into_iter()
                .all(|(id, room)| self.rooms.get(&id).copied().unwrap_or(room).fits(requested))
    }

    /// Takes for it.
    pub(in crate::lab) fn take(&mut self, lab: &Lab, scope: Scope, kind: &Kind, now: Timestamp) {
        if self.open {
            let requested = kind.1.requested(now);
            for (id, room) in lab.book.rooms(scope, &kind.0) {
                let left = self.rooms.entry(id).or_insert(room);
                *left = left.after(requested);
            }
        }
    }
}
