//! What accounts use, for people.

use jumpstarter_model::Timestamp;

use super::{Account, Kept, Quotas, Rule};
use crate::{
    AccountUse, DeviceTimeUse, Share,
    lab::{Lab, names::Name},
};

impl Lab {
    /// What the accounts of a client use, one for each quota that is about it, by name of the quota.
    pub fn usage(&self, client: &str, now: Timestamp) -> Vec<AccountUse> {
        let quotas = &self.book.quotas;
        let accounts = quotas.kept.keys().filter_map(|quota| self.book.account(quota, client));
        accounts.filter_map(|(quota, account)| quotas.use_of(&quota, &account, now)).collect()
    }
}

impl Quotas {
    /// What every account uses of which anything is known, by quota and account.
    pub(super) fn all_uses(&self, now: Timestamp) -> Vec<AccountUse> {
        let mut found = Vec::new();
        for (quota, kept) in &self.kept {
            let mut accounts = kept.accounts.keys().collect::<Vec<_>>();
            accounts.sort_unstable();
            found.extend(accounts.into_iter().filter_map(|account| self.use_of(quota, account, now)));
        }
        found
    }

    /// `None` for what no object says.
    fn use_of(&self, quota: &Name, account: &Name, now: Timestamp) -> Option<AccountUse> {
        let Kept { rule, accounts } = self.kept.get(quota).filter(|_| **quota != *super::EVERYBODY_ELSE)?;
        let fresh = Account::default();
        let used = accounts.get(account).unwrap_or(&fresh);
        Some(AccountUse {
            quota: quota.to_string(),
            account: rule.describe(account),
            devices: used.holders.len(),
            max_devices: rule.devices,
            device_time: rule.time.map(|cap| DeviceTimeUse {
                used: used.used(rule, now),
                most: cap.most,
                period: cap.period,
            }),
            waiting: used.waiting,
            max_waiting: rule.waiting,
            share: self.share_of(rule, used, accounts.values(), now),
        })
    }

    fn share_of<'a>(
        &self,
        rule: &Rule,
        account: &Account,
        all: impl Iterator<Item = &'a Account>,
        now: Timestamp,
    ) -> Option<Share> {
        let weight = rule.weight?;
        let decay = self.decay.at(now);
        let amount = account.amount(&decay);
        let total = all.map(|account| account.amount(&decay)).sum::<i128>().max(1);
        Some(Share {
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            counted: decay.as_time(amount, now),
            permille: u16::try_from(amount.saturating_mul(1000) / total).unwrap_or(1000),
        })
    }
}
