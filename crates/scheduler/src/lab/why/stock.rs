//! Accounts of quotas in a forecast: what they use as the game goes on, and when they have room again.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use jumpstarter_model::Timestamp;

use crate::lab::{
    Lab,
    access::Scope,
    names::Name,
    quota::{AccountId, Curve, Nanos},
    times::Span,
};

const SECOND: Nanos = 1_000_000_000;

/// Device time of accounts as it stands, looked up once for all forecasts of an answer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    curves: RefCell<HashMap<AccountId, Rc<Curve>>>,
}

/// The accounts that take part in a game; each comes in when somebody of it is looked at first.
pub(super) struct Stock<'a> {
    lab: &'a Lab,
    ledger: &'a Ledger,
    accounts: Vec<Account<'a>>,
    ids: HashMap<AccountId, usize>,
    of: HashMap<(Scope, Name), Rc<[usize]>>,
    /// Those that came in and whose holders nobody has asked for.
    fresh: Vec<usize>,
}

struct Account<'a> {
    devices: usize,
    time: Option<(Nanos, Nanos)>,
    held: usize,
    holders: Option<&'a BTreeSet<Name>>,
    curve: Rc<Curve>,
    /// Stretches of device time that the game has added, or taken away.
    changes: Vec<(Nanos, Nanos, Nanos)>,
    /// The end of the last lease.
    last: Nanos,
    /// Number of the last change, and with which change somebody was told when there is room.
    version: u32,
    told: BTreeMap<Span, u32>,
}

/// Whether accounts have room for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    /// Not before somebody lets a device go, or never.
    Full,
    /// Not before less device time lies within the period of this account.
    Short(usize),
}

impl<'a> Stock<'a> {
    /// `None` where no quota can keep anybody from a device.
    pub(super) fn new(lab: &'a Lab, ledger: &'a Ledger) -> Option<Self> {
        lab.book.quotas.any_caps().then(|| Self {
            lab,
            ledger,
            accounts: Vec::new(),
            ids: HashMap::new(),
            of: HashMap::new(),
            fresh: Vec::new(),
        })
    }

    /// Accounts whose caps count for a client at exporters of a scope.
    pub(super) fn accounts(&mut self, scope: Scope, client: &Name) -> Rc<[usize]> {
        let key = (scope, client.clone());
        if let Some(found) = self.of.get(&key) {
            return found.clone();
        }
        let ids = self.lab.book.capped_accounts(scope, client);
        let found = ids.into_iter().filter_map(|id| self.index(id)).collect::<Rc<[_]>>();
        self.of.insert(key, found.clone());
        found
    }

    fn index(&mut self, id: AccountId) -> Option<usize> {
        if let Some(index) = self.ids.get(&id) {
            return Some(*index);
        }
        let outlook = self.lab.book.quotas.outlook(&id)?;
        let mut curves = self.ledger.curves.borrow_mut();
        let curve = curves.entry(id.clone()).or_insert_with(|| Rc::new(outlook.curve())).clone();
        let index = self.accounts.len();
        self.accounts.push(Account {
            devices: outlook.devices,
            time: outlook.time,
            held: outlook.holders.map_or(0, BTreeSet::len),
            holders: outlook.holders,
            last: curve.last().unwrap_or_default(),
            curve,
            changes: Vec::new(),
            version: 0,
            told: BTreeMap::new(),
        });
        self.ids.insert(id, index);
        self.fresh.push(index);
        Some(index)
    }

    /// An account that came in since this was asked last, with the leases that hold its devices.
    pub(super) fn next_fresh(&mut self) -> Option<(usize, impl Iterator<Item = &'a Name> + use<'a>)> {
        let index = self.fresh.pop()?;
        Some((index, self.accounts[index].holders.into_iter().flatten()))
    }

    /// Whether all of these accounts have room at `at` for a lease of that length.
    pub(super) fn fits(&self, accounts: &[usize], span: Span, at: Timestamp) -> Fit {
        let asked = Nanos::from(span.requested(at).as_nanos());
        let mut fit = Fit::Yes;
        for index in accounts {
            let account = &self.accounts[*index];
            if account.held >= account.devices {
                return Fit::Full;
            }
            if let Some((most, period)) = account.time
                && account.used(at.as_nanosecond() - period) + asked > most
            {
                fit = Fit::Short(*index);
            }
        }
        fit
    }

    /// Counts a lease in these accounts.
    pub(super) fn take(&mut self, accounts: &[usize], begin: Timestamp, end: Timestamp) {
        for index in accounts {
            let account = &mut self.accounts[*index];
            account.held += 1;
            account.change(begin.as_nanosecond(), end.as_nanosecond(), 1);
        }
    }

    /// Lets a device of an account go at `at`, which might have been held until `end`.
    pub(super) fn let_go(&mut self, account: usize, at: Timestamp, end: Timestamp) {
        let account = &mut self.accounts[account];
        account.held = account.held.saturating_sub(1);
        account.change(at.as_nanosecond(), end.as_nanosecond(), -1);
    }

    /// The first whole second, so many from `now`, after `at` from which on an account has device time for a lease,
    /// if nobody takes any meanwhile. `None` where there is none, or where this was said already.
    pub(super) fn has_time_from(&mut self, account: usize, span: Span, at: i64, now: Timestamp) -> Option<i64> {
        let account = &mut self.accounts[account];
        let (most, period) = account.time?;
        if account.told.insert(span, account.version) == Some(account.version) {
            return None;
        }
        let instant = |secs: i64| now.as_nanosecond() + Nanos::from(secs) * SECOND;
        let fits = |secs: i64| {
            let at = Timestamp::from_nanosecond(instant(secs)).unwrap_or(Timestamp::MAX);
            account.used(instant(secs) - period) + Nanos::from(span.requested(at).as_nanos()) <= most
        };
        // By then nothing of what is granted lies within the period any more.
        let clear = (account.last + period - now.as_nanosecond()) / SECOND + 1;
        let (mut low, mut high) = (at, i64::try_from(clear).unwrap_or(i64::MAX / 2).max(at + 1));
        if !fits(high) {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// How much work one look at these accounts is, in steps.
    pub(super) fn effort(&self, accounts: &[usize]) -> usize {
        accounts.iter().map(|index| self.accounts[*index].changes.len() / 16).sum()
    }

    /// Whether a client has one of the accounts that took part.
    pub(super) fn knows(&self, client: &str) -> bool {
        self.ids.keys().any(|(quota, account)| {
            self.lab.book.account(quota, client).is_some_and(|(_, of_client)| of_client == *account)
        })
    }
}

impl Account<'_> {
    fn change(&mut self, begin: Nanos, end: Nanos, sign: Nanos) {
        self.version += 1;
        if self.time.is_some() && begin < end {
            self.changes.push((begin, end, sign));
            self.last = self.last.max(end);
        }
    }

    fn used(&self, from: Nanos) -> Nanos {
        let changed = self.changes.iter().map(|(begin, end, sign)| sign * (from.max(*end) - from.max(*begin)));
        self.curve.used(from) + changed.sum::<Nanos>()
    }
}
