//! What accounts will use later on, as things stand: forecasts start from that.

use std::collections::{BTreeSet, HashSet};

use super::{Account, AccountId, Quotas, window::Nanos};
use crate::lab::{
    Lab,
    access::{AccessBook, Scope},
    names::Name,
    want::WantId,
};

/// One account as it stands.
#[derive(Debug)]
pub(in crate::lab) struct Outlook<'a> {
    /// How many devices it may hold.
    pub(in crate::lab) devices: usize,
    /// How much device time it may use within which period.
    pub(in crate::lab) time: Option<(Nanos, Nanos)>,
    /// Leases that hold devices.
    pub(in crate::lab) holders: Option<&'a BTreeSet<Name>>,
    account: Option<&'a Account>,
}

impl Outlook<'_> {
    /// Device time from any instant on.
    pub(in crate::lab) fn curve(&self) -> Curve {
        self.account.map(Account::curve).unwrap_or_default()
    }
}

/// Device time from any instant on, of leases whose times are known.
#[derive(Debug, Default)]
pub(in crate::lab) struct Curve {
    begins: Vec<(Nanos, Nanos)>,
    ends: Vec<(Nanos, Nanos)>,
}

impl Curve {
    /// From the begins and the ends of leases, in ascending order.
    pub(super) fn new(
        begins: impl DoubleEndedIterator<Item = Nanos>,
        ends: impl DoubleEndedIterator<Item = Nanos>,
    ) -> Self {
        Self { begins: sums(begins), ends: sums(ends) }
    }

    /// Device time after `from`.
    pub(in crate::lab) fn used(&self, from: Nanos) -> Nanos {
        beyond(&self.ends, from) - beyond(&self.begins, from)
    }

    /// The end of the last lease.
    pub(in crate::lab) fn last(&self) -> Option<Nanos> {
        self.ends.last().map(|(end, _)| *end)
    }
}

/// Each instant with the sum of it and all that follow.
fn sums(instants: impl DoubleEndedIterator<Item = Nanos>) -> Vec<(Nanos, Nanos)> {
    let mut sum = 0;
    let mut sums = instants
        .rev()
        .map(|at| {
            sum += at;
            (at, sum)
        })
        .collect::<Vec<_>>();
    sums.reverse();
    sums
}

/// By how much instants lie beyond `from`, together.
fn beyond(sums: &[(Nanos, Nanos)], from: Nanos) -> Nanos {
    let first = sums.partition_point(|(at, _)| *at <= from);
    let count = Nanos::try_from(sums.len() - first).unwrap_or(Nanos::MAX);
    sums.get(first).map_or(0, |(_, sum)| sum - from.saturating_mul(count))
}

impl Quotas {
    /// Whether any of them can keep a lease from a device.
    pub(in crate::lab) fn any_caps(&self) -> bool {
        self.kept.values().any(|kept| kept.rule.is_capped())
    }

    /// An account as it stands; `None` without such a quota.
    pub(in crate::lab) fn outlook(&self, id: &AccountId) -> Option<Outlook<'_>> {
        let kept = self.kept.get(&id.0)?;
        let account = kept.accounts.get(&id.1);
        let time = kept.rule.time.map(|cap| (Nanos::from(cap.most.as_nanos()), Nanos::from(cap.period.as_nanos())));
        Some(Outlook {
            devices: kept.rule.devices.unwrap_or(usize::MAX),
            time,
            holders: account.map(|account| &account.holders),
            account,
        })
    }
}

impl Lab {
    /// Wants of those who wait on the same accounts as those who wait with these wants: they compete for room there, if
    /// not for devices.
    pub(in crate::lab) fn account_mates<'a>(&self, wants: impl IntoIterator<Item = &'a WantId>) -> BTreeSet<WantId> {
        if !self.book.quotas.any_caps() {
            return BTreeSet::new();
        }
        let wants = wants.into_iter().filter_map(|id| self.wants.get(id));
        let pairs = wants.flat_map(|want| {
            let scopes = want.tally.keys().map(|(scope, _)| *scope).collect::<BTreeSet<_>>();
            scopes.into_iter().flat_map(|scope| want.kinds.keys().map(move |(client, _)| (scope, client)))
        });
        self.mates(pairs)
    }

    /// Wants of those who wait on accounts that count exporters of these scopes for these clients.
    pub(in crate::lab) fn mates<'a>(&self, pairs: impl Iterator<Item = (Scope, &'a Name)>) -> BTreeSet<WantId> {
        let pairs = pairs.collect::<HashSet<_>>();
        let accounts = pairs.into_iter().flat_map(|(scope, client)| self.book.capped_accounts(scope, client));
        let accounts = accounts.collect::<HashSet<_>>();
        let outlooks = accounts.iter().filter_map(|id| self.book.quotas.outlook(id));
        outlooks.flat_map(|outlook| outlook.account.into_iter().flat_map(Account::queues).map(|(id, _)| *id)).collect()
    }
}

impl AccessBook {
    /// Accounts whose caps count for a client at exporters of `scope`.
    pub(in crate::lab) fn capped_accounts(&self, scope: Scope, client: &str) -> Vec<AccountId> {
        self.caps_of(scope).iter().filter_map(|quota| self.account(quota, client)).collect()
    }
}
