//! What quotas say to one client.

use std::cmp::Reverse;

use jumpstarter_model::{
    GoDuration, Timestamp,
    condition::lease::{DeviceTime, over_devices, over_time},
};

use super::{
    super::{
        access::{AccessBook, Scope},
        names::Name,
        times::Span,
    },
    Account, AccountId, Kept, Room,
};

/// A quota that keeps a lease from devices; those that keep it for ever come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Over {
    keeps: Reverse<Keeps>,
    pub(crate) quota: Name,
    /// What is used and what the limit is, for people.
    pub(crate) message: String,
}

/// How a quota keeps somebody from devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Keeps {
    /// Until the account has room.
    ForNow,
    /// What is asked for is more than the account can ever have.
    ForEver,
}

/// A limit of waiting leases that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Who has so many, such as `client alice`.
    pub(crate) who: String,
    pub(crate) most: usize,
    /// The quota that says so; otherwise it holds for every client.
    pub(crate) quota: Option<Name>,
}

impl AccessBook {
    /// Accounts in which a client's use of exporters of `scope` counts.
    pub(crate) fn accounts(&self, scope: Scope, client: &str) -> Vec<AccountId> {
        self.quotas_of(scope).iter().filter_map(|quota| self.account(quota, client)).collect()
    }

    /// Every account of a client.
    pub(crate) fn all_accounts(&self, client: &str) -> Vec<AccountId> {
        self.quotas.kept.keys().filter_map(|quota| self.account(quota, client)).collect()
    }

    fn kept(&self, id: &AccountId) -> Option<(&Kept, Option<&Account>)> {
        let kept = self.quotas.kept.get(&id.0)?;
        Some((kept, kept.accounts.get(&id.1)))
    }

    /// How quotas keep `client` from exporters of `scope`, if they do.
    pub(crate) fn keeps(&self, scope: Scope, client: &str, requested: GoDuration) -> Option<Keeps> {
        let ids = self.caps_of(scope).iter().filter_map(|quota| self.account(quota, client));
        ids.filter_map(|id| self.keeps_in(&id, requested)).max()
    }

    fn keeps_in(&self, id: &AccountId, requested: GoDuration) -> Option<Keeps> {
        let (kept, account) = self.kept(id)?;
        let rule = &kept.rule;
        if rule.devices == Some(0) || rule.time.is_some_and(|cap| requested > cap.most) {
            return Some(Keeps::ForEver);
        }
        let room = account.map(|account| account.room(rule, self.quotas.now))?;
        (!room.fits(requested)).then_some(Keeps::ForNow)
    }

    /// What an account of a client may still take of exporters of `scope`, at once; `None` where nothing limits it.
    pub(crate) fn rooms(&self, scope: Scope, client: &str) -> Vec<(AccountId, Room)> {
        let ids = self.caps_of(scope).iter().filter_map(|quota| self.account(quota, client));
        ids.filter_map(|id| Some((id.clone(), self.quotas.room(&id)?))).collect()
    }

    /// When an account has room for so much device time at the latest; `None` when it has it, or never will.
    pub(crate) fn has_time_from(&self, id: &AccountId, requested: GoDuration, now: Timestamp) -> Option<Timestamp> {
        let (rule, account) = self.quotas.account(id)?;
        account.fits_from(rule, Span::Fixed(requested), self.quotas.now).filter(|at| *at > now)
    }

    /// The account that could never have all of these exporters at once, as text, and how many it may have.
    pub(crate) fn too_many<'a>(&self, wanted: impl Iterator<Item = (Scope, &'a str)>) -> Option<(Name, String, usize)> {
        let mut counts = std::collections::BTreeMap::<_, usize>::new();
        for (scope, client) in wanted {
            for id in self.caps_of(scope).iter().filter_map(|quota| self.account(quota, client)) {
                *counts.entry(id).or_default() += 1;
            }
        }
        counts.into_iter().find_map(|(id, count)| {
            let (kept, _) = self.kept(&id)?;
            let most = kept.rule.devices.filter(|most| count > *most)?;
            let who = kept.rule.describe(&id.1);
            Some((id.0, who, most))
        })
    }

    /// The quota that keeps `client` from exporters of `scope`, the one for ever before others.
    pub(crate) fn over(&self, scope: Scope, client: &str, span: Span, now: Timestamp) -> Option<Over> {
        let requested = span.requested(now);
        let ids = self.caps_of(scope).iter().filter_map(|quota| self.account(quota, client));
        let over = ids.filter_map(|id| Some((Reverse(self.keeps_in(&id, requested)?), id)));
        let (keeps, id) = over.min()?;
        let (kept, account) = self.kept(&id)?;
        let fresh = Account::default();
        let (rule, account) = (&kept.rule, account.unwrap_or(&fresh));
        let who = rule.describe(&id.1);
        let message = match (rule.devices, rule.time) {
            (Some(most), _) if account.holders.len() >= most => over_devices(&id.0, &who, account.holders.len(), most),
            (_, Some(cap)) => {
                let from = account.fits_from(rule, span, self.quotas.now);
                let used = account.used(rule, self.quotas.now);
                over_time(&id.0, &who, &DeviceTime { used, most: cap.most, period: cap.period, requested, from })
            }
            (_, None) => return None,
        };
        Some(Over { keeps, quota: id.0, message })
    }

    /// The quota that has no room for so much more device time, and what it has.
    pub(crate) fn too_much_time(&self, scope: Scope, client: &str, more: GoDuration) -> Option<(Name, GoDuration)> {
        let asked = i128::from(more.as_nanos());
        let short = self.rooms(scope, client).into_iter().find(|(_, room)| asked > 0 && asked > room.time);
        short.map(|(id, room)| (id.0, GoDuration::from_nanos(i64::try_from(room.time.max(0)).unwrap_or(i64::MAX))))
    }

    /// The use of devices by which clients are ordered at exporters of `scope`, less going first; the same for all where
    /// no quota gives a weight.
    pub(crate) fn share(&self, scope: Scope, client: &str) -> i128 {
        let id = self.weights_of(scope).iter().find_map(|quota| self.account(quota, client));
        let found =
            id.and_then(|id| self.quotas.account(&id).map(|(rule, account)| account.share(rule, &self.quotas.decay)));
        found.unwrap_or(0)
    }

    /// The limit of waiting leases that a client is beyond, if `more` come to those that wait.
    pub(crate) fn full(&self, client: &str, waiting: usize, most: usize, more: usize) -> Option<Full> {
        if waiting + more > most {
            return Some(Full { who: format!("client {client}"), most, quota: None });
        }
        let mut limits = self.quotas.kept.iter().filter_map(|(name, kept)| Some((name, kept, kept.rule.waiting?)));
        limits.find_map(|(name, kept, most)| {
            let (_, account) = self.account(name, client)?;
            let waiting = kept.accounts.get(&account).map_or(0, |account| account.waiting);
            let who = || kept.rule.describe(&account);
            (waiting + more > most).then(|| Full { who: who(), most, quota: Some(name.clone()) })
        })
    }
}
