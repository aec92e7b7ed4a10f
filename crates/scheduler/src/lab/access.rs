//! Access policies (kubernetes.md §4.3), prepared so that one question costs a few look-ups.
//!
//! Exporters that the same policies are about, and that the same quotas count, share a [`Scope`]; each client knows the
//! rules that admit it. What a client may do with an exporter then depends on the scope alone, however many exporters
//! there are.

mod rule;
mod scopes;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use jumpstarter_model::{Client, ExporterAccessPolicy, GoDuration, LeaseQuota};

use super::{
    names::Name,
    quota::{AccountId, Keeps, Quotas},
};
use crate::transition::MAINTENANCE_CLIENT;
use rule::{PolicyRules, Terms, admitted};
pub(crate) use scopes::Changed;
use scopes::{LEFT_BEHIND, ScopeData};

/// Priority of the service's own leases: they come before everybody's.
const MAINTENANCE_PRIORITY: i64 = i32::MAX as i64;

type Labels = BTreeMap<String, String>;

/// A set of policies and quotas that are about the same exporters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope(u32);

/// What the policies and quotas say to one client about one exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Yes, with this priority.
    Granted(i64),
    /// Only as spot access, with this priority.
    Spot(i64),
    /// Policies say yes, and a quota keeps it from having one more.
    OverQuota(Rank, Keeps),
    /// Not for so long; the longest that a rule admits.
    TooLong(GoDuration),
    /// No.
    Denied,
    /// Policies exist, and the client does not.
    NoClient,
}

/// Worth of a grant; the least is the best: full access before spot access, then the higher priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) spot: bool,
    pub(crate) priority: Reverse<i64>,
}

impl Rank {
    fn full(priority: i64) -> Self {
        Self { spot: false, priority: Reverse(priority) }
    }
}

impl Access {
    /// The worth of it, if it is a grant.
    pub(crate) fn rank(self) -> Option<Rank> {
        self.rank_by_policy().filter(|_| !matches!(self, Self::OverQuota(..)))
    }

    /// The same, whatever quotas say.
    pub(crate) fn rank_by_policy(self) -> Option<Rank> {
        match self {
            Self::Granted(priority) => Some(Rank::full(priority)),
            Self::Spot(priority) => Some(Rank { spot: true, priority: Reverse(priority) }),
            Self::OverQuota(rank, _) => Some(rank),
            Self::TooLong(_) | Self::Denied | Self::NoClient => None,
        }
    }
}

#[derive(Debug, Default)]
struct Person {
    labels: Labels,
    /// Terms of the rules that admit this client, by policy.
    admitted: HashMap<Name, Vec<Terms>>,
    /// Its accounts, by quota.
    accounts: HashMap<Name, Name>,
}

/// Policies, quotas and clients.
#[derive(Debug)]
pub(crate) struct AccessBook {
    policies: BTreeMap<Name, PolicyRules>,
    clients: HashMap<Name, Person>,
    pub(super) quotas: Quotas,
    changed: Changed,
    scopes: Vec<ScopeData>,
    scope_ids: HashMap<(Vec<Name>, Vec<Name>), Scope>,
    /// How many scopes there may be before all are handed out anew.
    most_scopes: usize,
    /// Label keys that policies look at, and scopes by what exporters have there: exporters are many, and differ mostly in
    /// labels that no policy mentions. The keys are those of now unless no scope is remembered.
    keys: BTreeSet<String>,
    by_labels: HashMap<Vec<Option<String>>, Scope>,
}

impl AccessBook {
    /// Without policies and clients, and with what quotas there are.
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            policies: BTreeMap::new(),
            clients: HashMap::new(),
            quotas,
            changed: Changed::Selected(Vec::new()),
            scopes: Vec::new(),
            scope_ids: HashMap::new(),
            most_scopes: LEFT_BEHIND,
            keys: BTreeSet::new(),
            by_labels: HashMap::new(),
        }
    }

    /// Notes a quota. Scopes handed out before are void: ask for all of them again, then count everything anew.
    /// Returns whether it says anything new.
    pub(crate) fn put_quota(&mut self, name: &Name, quota: &LeaseQuota) -> bool {
        let changed = self.quotas.put(name.clone(), quota);
        if changed {
            self.forget_accounts();
        }
        changed
    }

    /// Forgets a quota, with the same consequence. Returns whether there was one.
    pub(crate) fn remove_quota(&mut self, name: &str) -> bool {
        let removed = self.quotas.remove(name);
        if removed {
            self.forget_accounts();
        }
        removed
    }

    /// After one quota has changed.
    fn forget_accounts(&mut self) {
        self.void_scopes();
        for (client, person) in &mut self.clients {
            person.accounts = self.quotas.accounts_of(client, &person.labels);
        }
    }

    /// Notes a policy. What has [changed](Self::take_changed) by it must be judged anew.
    pub(crate) fn put_policy(&mut self, name: &Name, policy: &ExporterAccessPolicy) {
        let rules = PolicyRules::of(policy);
        if self.policies.get(name) == Some(&rules) {
            return;
        }
        let known = self.policies.insert(name.clone(), rules);
        self.note_change(name, known);
    }

    /// Forgets a policy, with the same consequence.
    pub(crate) fn remove_policy(&mut self, name: &str) {
        if let Some(known) = self.policies.remove(name) {
            self.note_change(name, Some(known));
        }
    }

    /// Notes a client. Returns whether anything changed that policies look at.
    pub(crate) fn put_client(&mut self, name: Name, client: &Client) -> bool {
        let labels = client.metadata.labels.clone().unwrap_or_default();
        if self.clients.get(&name).is_some_and(|known| known.labels == labels) {
            return false;
        }
        let admitted = admitted(&self.policies, &labels);
        let accounts = self.quotas.accounts_of(&name, &labels);
        self.clients.insert(name, Person { labels, admitted, accounts });
        true
    }

    /// Labels of a client that exists.
    pub(crate) fn labels_of(&self, client: &str) -> Option<&Labels> {
        self.clients.get(client).map(|person| &person.labels)
    }

    /// Forgets a client. Returns whether there was one.
    pub(crate) fn remove_client(&mut self, name: &str) -> bool {
        self.clients.remove(name).is_some()
    }

    fn policies_for(&self, labels: &Labels) -> Vec<Name> {
        let about = |policy: &PolicyRules| policy.exporters.as_ref().is_some_and(|selector| selector.matches(labels));
        self.policies.iter().filter(|(_, policy)| about(policy)).map(|(name, _)| name.clone()).collect()
    }

    /// The best that any client can have there.
    pub(crate) fn best_rank(&self, scope: Scope) -> Rank {
        self.scopes.get(scope.0 as usize).map_or(Rank::full(0), |data| data.best)
    }

    /// What `client` may do with exporters of `scope`.
    pub(crate) fn access(&self, scope: Scope, client: &str, requested: GoDuration) -> Access {
        let Some(data) = self.scopes.get(scope.0 as usize) else { return self.judge(&[], client, requested) };
        let access = self.judge(&data.policies, client, requested);
        if data.caps.is_empty() {
            return access;
        }
        match access.rank().zip(self.keeps(scope, client, requested)) {
            Some((rank, keeps)) => Access::OverQuota(rank, keeps),
            None => access,
        }
    }

    /// Quotas that count exporters of a scope.
    pub(super) fn quotas_of(&self, scope: Scope) -> &[Name] {
        self.scopes.get(scope.0 as usize).map_or(&[], |data| &data.quotas)
    }

    /// Those of them that can keep a lease from one.
    pub(super) fn caps_of(&self, scope: Scope) -> &[Name] {
        self.scopes.get(scope.0 as usize).map_or(&[], |data| &data.caps)
    }

    /// Those of them that give a weight, the one for everybody else last. None: leases go by age there.
    pub(super) fn weights_of(&self, scope: Scope) -> &[Name] {
        self.scopes.get(scope.0 as usize).map_or(&[], |data| &data.weights)
    }

    /// The account of a client in a quota, if it has one. A client that does not exist is one without labels.
    pub(super) fn account(&self, quota: &Name, client: &str) -> Option<AccountId> {
        if client == MAINTENANCE_CLIENT {
            return None;
        }
        let account = match self.clients.get(client) {
            Some(person) => person.accounts.get(quota).cloned(),
            None => self.quotas.account_of(quota, client, &Labels::new()),
        };
        Some((quota.clone(), account?))
    }

    /// Whether `client` may have exporters of `scope` for so long, and not as spot only, so that holders of spot make way
    /// for it. Checks of the service's own wait until a device is idle.
    pub(crate) fn has_full_access(&self, scope: Scope, client: &str, requested: GoDuration) -> bool {
        client != MAINTENANCE_CLIENT && matches!(self.access(scope, client, requested), Access::Granted(_))
    }

    /// What `client` may do with an exporter of these labels.
    pub(crate) fn access_by_labels(&self, labels: &Labels, client: &str, requested: GoDuration) -> Access {
        self.judge(&self.policies_for(labels), client, requested)
    }

    fn judge(&self, policies: &[Name], client: &str, requested: GoDuration) -> Access {
        if client == MAINTENANCE_CLIENT {
            return Access::Granted(MAINTENANCE_PRIORITY);
        }
        if self.policies.is_empty() {
            return Access::Granted(0);
        }
        let Some(person) = self.clients.get(client) else { return Access::NoClient };
        let (mut granted, mut spot, mut too_long) = (None, None, None);
        for terms in policies.iter().filter_map(|name| person.admitted.get(name)).flatten() {
            match terms.maximum {
                Some(maximum) if requested > maximum => too_long = too_long.max(Some(maximum)),
                _ if terms.spot => spot = spot.max(Some(terms.priority)),
                _ => granted = granted.max(Some(terms.priority)),
            }
        }
        granted
            .map(Access::Granted)
            .or(spot.map(Access::Spot))
            .or(too_long.map(Access::TooLong))
            .unwrap_or(Access::Denied)
    }

    /// Descriptions of the rules of these scopes that do not admit `client`, each once.
    pub(crate) fn refusals(&self, scopes: impl Iterator<Item = Scope>, client: &str) -> Vec<&str> {
        let Some(person) = self.clients.get(client) else { return Vec::new() };
        let mut found = Vec::new();
        let names = scopes.filter_map(|scope| self.scopes.get(scope.0 as usize)).flat_map(|data| &data.policies);
        for policy in names.filter_map(|name| self.policies.get(name)) {
            for rule in policy.rules.iter().filter(|rule| !rule.admits(&person.labels)) {
                if let Some(text) = rule.description.as_deref().filter(|text| !text.is_empty())
                    && !found.contains(&text)
                {
                    found.push(text);
                }
            }
        }
        found
    }
}
