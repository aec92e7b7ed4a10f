//! Keeps the accounts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jumpstarter_model::{LeaseQuota, Timestamp};

use super::{
    AccountId, EVERYBODY_ELSE, Kept, Quotas,
    account::{Queue, Room},
    record::Record,
    rule::Rule,
};
use crate::lab::names::Name;

type Labels = BTreeMap<String, String>;

impl Quotas {
    /// Notes a quota. Returns whether it says anything new; then everything must be [counted anew](Self::reset) before
    /// anybody asks.
    pub(crate) fn put(&mut self, name: Name, quota: &LeaseQuota) -> bool {
        let rule = Rule::of(quota);
        if self.kept.get(&name).is_some_and(|known| known.rule == rule) {
            return false;
        }
        self.kept.insert(name, Kept { rule, accounts: HashMap::new() });
        self.note_weights();
        true
    }

    /// Forgets a quota, with the same consequence. Returns whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let removed = name != EVERYBODY_ELSE && self.kept.remove(name).is_some();
        self.note_weights();
        removed
    }

    /// Where anybody has a weight, everybody has one.
    fn note_weights(&mut self) {
        let weighs = |(name, kept): (&Name, &Kept)| &**name != EVERYBODY_ELSE && kept.rule.weight.is_some();
        if self.kept.iter().any(weighs) {
            let everybody_else = || Kept { rule: Rule::of_everybody_else(), accounts: HashMap::new() };
            self.kept.entry(EVERYBODY_ELSE.into()).or_insert_with(everybody_else);
        } else {
            self.kept.remove(EVERYBODY_ELSE);
        }
    }

    /// The account of a client with these labels, in one quota.
    pub(crate) fn account_of(&self, quota: &str, client: &str, labels: &Labels) -> Option<Name> {
        self.kept.get(quota)?.rule.account(client, labels)
    }

    /// Its accounts in all of them.
    pub(crate) fn accounts_of(&self, client: &str, labels: &Labels) -> HashMap<Name, Name> {
        let account = |(name, kept): (&Name, &Kept)| Some((name.clone(), kept.rule.account(client, labels)?));
        self.kept.iter().filter_map(account).collect()
    }

    /// Those of these quotas that have caps, and those that give a weight, the one for everybody else last.
    pub(crate) fn split(&self, quotas: &[Name]) -> (Vec<Name>, Vec<Name>) {
        let of = |test: fn(&Rule) -> bool| {
            let found = quotas.iter().filter(|name| self.kept.get(*name).is_some_and(|kept| test(&kept.rule)));
            found.cloned().collect::<Vec<_>>()
        };
        let (caps, mut weights) = (of(Rule::is_capped), of(|rule| rule.weight.is_some()));
        match weights.len() {
            // Nobody has a weight at these exporters.
            1 if &*weights[0] == EVERYBODY_ELSE => weights.clear(),
            // It has the first of all names.
            _ if weights.first().is_some_and(|name| &**name == EVERYBODY_ELSE) => weights.rotate_left(1),
            _ => {}
        }
        (caps, weights)
    }

    /// Notes what time it is. Returns whether everything must be counted anew.
    pub(crate) fn set_now(&mut self, now: Timestamp) -> bool {
        self.now = now;
        !self.is_empty() && self.decay.set(now)
    }

    /// Forgets what is counted, and returns the records, to be [set](Self::set_record) again.
    pub(crate) fn reset(&mut self) -> Vec<(Name, Record)> {
        for kept in self.kept.values_mut() {
            kept.accounts.clear();
        }
        self.touched.clear();
        self.timers.clear();
        self.by_exporter.clear();
        self.by_client.clear();
        self.decay.set(self.now);
        let records = std::mem::take(&mut self.records);
        records.into_iter().map(|(name, (record, _))| (name, record)).collect()
    }

    pub(crate) fn record(&self, lease: &str) -> Option<&Record> {
        self.records.get(lease).map(|(record, _)| record)
    }

    /// Leases that had an exporter.
    pub(crate) fn of_exporter(&self, exporter: &str) -> Vec<Name> {
        self.by_exporter.get(exporter).into_iter().flatten().cloned().collect()
    }

    /// Whether anything is counted for a client.
    pub(crate) fn knows_client(&self, client: &str) -> bool {
        self.by_client.contains_key(client)
    }

    /// Replaces what is known of a lease, and counts it in these accounts.
    pub(crate) fn set_record(&mut self, name: &Name, next: Option<(Record, Vec<AccountId>)>) {
        let indexed = !self.is_empty();
        if let Some((old, accounts)) = self.records.remove(name) {
            for id in &accounts {
                self.count(id, name, &old, -1);
            }
            if indexed {
                drop_from(&mut self.by_exporter, &old.exporter, name);
                drop_from(&mut self.by_client, &old.client, name);
            }
        }
        let Some((record, accounts)) = next else { return };
        for id in &accounts {
            self.count(id, name, &record, 1);
        }
        if indexed {
            self.by_exporter.entry(record.exporter.clone()).or_default().insert(name.clone());
            self.by_client.entry(record.client.clone()).or_default().insert(name.clone());
        }
        self.records.insert(name.clone(), (record, accounts));
    }

    fn count(&mut self, id: &AccountId, name: &Name, record: &Record, sign: i128) {
        self.touch(id);
        let Some(kept) = self.kept.get_mut(&id.0) else { return };
        let account = kept.accounts.entry(id.1.clone()).or_default();
        account.count(&kept.rule, &self.decay, name, record, sign);
        account.tidy(&kept.rule, self.now);
        if account.is_idle() {
            kept.accounts.remove(&id.1);
        }
    }

    /// Notes that somebody waits on these accounts, or that nobody like that does any more.
    pub(crate) fn set_queue(&mut self, accounts: &[AccountId], queue: &Queue, waits: bool) {
        for id in accounts {
            if self.kept.get(&id.0).is_some_and(|kept| kept.rule.is_capped()) {
                self.touch(id);
                self.change(id, |account| account.set_queue(queue, waits));
            }
        }
    }

    /// Counts leases that wait, or do no longer.
    pub(crate) fn count_waiting(&mut self, accounts: &[AccountId], add: usize, remove: usize) {
        for id in accounts {
            self.change(id, |account| account.waiting = (account.waiting + add).saturating_sub(remove));
        }
    }

    fn change(&mut self, id: &AccountId, change: impl FnOnce(&mut super::Account)) {
        let Some(kept) = self.kept.get_mut(&id.0) else { return };
        let account = kept.accounts.entry(id.1.clone()).or_default();
        change(account);
        if account.is_idle() {
            kept.accounts.remove(&id.1);
        }
    }

    /// Remembers what room an account had before it changes.
    fn touch(&mut self, id: &AccountId) {
        if self.touched.contains_key(id) {
            return;
        }
        if let Some(room) = self.room(id).filter(|_| self.kept.get(&id.0).is_some_and(|kept| kept.rule.is_capped())) {
            self.touched.insert(id.clone(), room);
        }
    }

    /// What an account may still take; `None` without such a quota.
    pub(crate) fn room(&self, id: &AccountId) -> Option<Room> {
        let kept = self.kept.get(&id.0)?;
        let fresh = super::Account::default();
        Some(kept.accounts.get(&id.1).unwrap_or(&fresh).room(&kept.rule, self.now))
    }

    /// Has accounts looked at whose time has come.
    pub(crate) fn fire(&mut self) {
        while let Some((at, id)) = self.timers.pop_first() {
            if at > self.now {
                self.timers.insert((at, id));
                return;
            }
            self.change(&id, |account| account.wake = None);
            let Some(room) = self.room(&id) else { continue };
            let before = self.touched.entry(id).or_insert(room);
            before.time = i128::MIN;
        }
    }

    /// The next account that changed: who fits in that did not before, and who no longer does.
    pub(crate) fn next_change(&mut self) -> Option<(Vec<Queue>, Vec<Queue>)> {
        let (id, before) = self.touched.pop_first()?;
        let (mut lifted, mut shut_out) = (Vec::new(), Vec::new());
        let now = self.now;
        if let Some((rule, account)) = self.account(&id) {
            let room = account.room(rule, now);
            lifted = account.lifted(before, room);
            shut_out = account.shut_out(before, room);
            let (old, wake) = (account.wake, account.wakes(rule, now));
            if old != wake {
                self.timers.extend(wake.map(|at| (at, id.clone())));
                if let Some(old) = old {
                    self.timers.remove(&(old, id.clone()));
                }
                self.change(&id, |account| account.wake = wake);
            }
        }
        Some((lifted, shut_out))
    }

    /// When the next account must be looked at.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }
}

fn drop_from(index: &mut HashMap<Name, BTreeSet<Name>>, key: &Name, name: &Name) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}
