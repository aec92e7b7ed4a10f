//! Quotas: what accounts of clients may have, and their shares.
//!
//! What an account uses follows from the leases alone, those that run and those that ended and are still kept; nothing
//! is stored elsewhere. It is counted as leases come and go, so that a question costs a few look-ups.

mod account;
mod gate;
mod keep;
mod outlook;
mod record;
mod rule;
mod share;
mod standing;
mod tally;
mod usage;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::SignedDuration;
use jumpstarter_model::Timestamp;

pub(crate) use account::Room;
pub(in crate::lab) use gate::Purse;
pub(in crate::lab) use outlook::Curve;
pub(crate) use record::Record;
pub(crate) use rule::Rule;
pub(crate) use standing::{Full, Keeps};
pub use tally::tally;
pub(in crate::lab) use window::Nanos;

use super::names::Name;
use account::Account;
use share::Decay;

/// One account: the quota, and the name of the account there.
pub(crate) type AccountId = (Name, Name);

/// Name of what holds for clients whom no quota gives a weight; no object has it.
const EVERYBODY_ELSE: &str = "";

/// One quota and its accounts, those of which something is known.
#[derive(Debug)]
struct Kept {
    rule: Rule,
    accounts: HashMap<Name, Account>,
}

/// All quotas.
#[derive(Debug)]
pub(crate) struct Quotas {
    kept: BTreeMap<Name, Kept>,
    /// Leases that had an exporter, with the accounts that each is counted in.
    records: HashMap<Name, (Record, Vec<AccountId>)>,
    /// The same by exporter and by client; empty while there are no quotas.
    by_exporter: HashMap<Name, BTreeSet<Name>>,
    by_client: HashMap<Name, BTreeSet<Name>>,
    /// Accounts that changed, with the room that they had before.
    touched: BTreeMap<AccountId, Room>,
    /// When accounts must be looked at although nothing happens.
    timers: BTreeSet<(Timestamp, AccountId)>,
    decay: Decay,
    /// The last instant that was heard of.
    now: Timestamp,
}

impl Quotas {
    pub(crate) fn new(half_life: SignedDuration) -> Self {
        Self {
            kept: BTreeMap::new(),
            records: HashMap::new(),
            by_exporter: HashMap::new(),
            by_client: HashMap::new(),
            touched: BTreeMap::new(),
            timers: BTreeSet::new(),
            decay: Decay::new(half_life),
            now: Timestamp::MIN,
        }
    }

    /// Whether there are none, so that nothing need be counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Every quota by name.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&Name, &Rule)> {
        self.kept.iter().map(|(name, kept)| (name, &kept.rule))
    }

    /// Length of the longest period of a cap of device time; ended leases count for so long.
    pub(crate) fn longest_period(&self) -> SignedDuration {
        self.kept.values().map(|kept| kept.rule.period()).max().unwrap_or_default()
    }

    /// How long past use counts for shares, more than a sixteenth of it; zero where nobody has a weight.
    pub(crate) fn fades_after(&self) -> SignedDuration {
        if self.kept.contains_key(EVERYBODY_ELSE) { self.decay.half_lives(4) } else { SignedDuration::ZERO }
    }

    fn account(&self, (quota, account): &AccountId) -> Option<(&Rule, &Account)> {
        let kept = self.kept.get(quota)?;
        Some((&kept.rule, kept.accounts.get(account)?))
    }

    /// Length of the tables that are not in proportion to stored leases.
    pub(crate) fn entries(&self) -> usize {
        self.kept.values().map(|kept| 1 + kept.accounts.len()).sum::<usize>() + self.touched.len() + self.timers.len()
    }
}
