//! Access policies (kubernetes.md §4.3), prepared so that one question costs a few look-ups.
//!
//! Exporters that the same policies are about, and that the same quotas count, share a [`Scope`]; each client knows the rules that admit it. What a
//! client may do with an exporter then depends on the scope alone, however many exporters there are.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use jumpstarter_model::{Client, ExporterAccessPolicy, GoDuration, LeaseQuota, Selector};

use super::{
    names::Name,
    quota::{AccountId, Keeps, Quotas, Rule as QuotaRule},
};
use crate::transition::MAINTENANCE_CLIENT;

/// Combinations of labels whose scope is remembered.
const REMEMBERED: usize = 1 << 16;

/// Scopes that may be handed out beside twice as many as there were when all were handed out anew: those that policies
/// have left behind are not counted.
const LEFT_BEHIND: usize = 1024;

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

#[derive(Debug, PartialEq)]
struct Rule {
    description: Option<String>,
    from: Vec<Selector>,
    terms: Terms,
}

/// What a rule gives.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Terms {
    priority: i64,
    maximum: Option<GoDuration>,
    spot: bool,
}

#[derive(Debug, PartialEq)]
struct PolicyRules {
    /// `None` when the selector makes no sense: it then matches nothing.
    exporters: Option<Selector>,
    rules: Vec<Rule>,
}

/// Exporters of which policies say something else than when they were judged.
#[derive(Debug)]
pub(crate) enum Changed {
    /// Those that one of these selects.
    Selected(Vec<Selector>),
    /// Perhaps all.
    Everything,
}

#[derive(Debug, Default)]
struct Person {
    labels: Labels,
    /// Terms of the rules that admit this client, by policy.
    admitted: HashMap<Name, Vec<Terms>>,
    /// Its accounts, by quota.
    accounts: HashMap<Name, Name>,
}

#[derive(Debug)]
struct ScopeData {
    policies: Vec<Name>,
    /// Quotas that count these exporters, those of them that can keep a lease from one, and those that give a weight:
    /// the last of these is for everybody else.
    quotas: Vec<Name>,
    caps: Vec<Name>,
    weights: Vec<Name>,
    best: Rank,
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

    /// After one policy has changed from what was `known` of it.
    fn note_change(&mut self, name: &str, known: Option<PolicyRules>) {
        let policy = self.policies.get_key_value(name);
        for person in self.clients.values_mut() {
            person.admitted.remove(name);
            if let Some((name, policy)) = policy
                && let terms = terms_for(policy, &person.labels)
                && !terms.is_empty()
            {
                person.admitted.insert(name.clone(), terms);
            }
        }
        self.by_labels.clear();
        for at in 0..self.scopes.len() {
            if self.scopes[at].policies.iter().any(|policy| **policy == *name) {
                self.scopes[at].best = self.best_of(&self.scopes[at].policies);
            }
        }
        // Without any policy everybody may have everything.
        if self.policies.keys().all(|other| **other == *name) {
            self.changed = Changed::Everything;
        } else if let Changed::Selected(selectors) = &mut self.changed {
            let before = known.and_then(|policy| policy.exporters);
            selectors.extend(before.into_iter().chain(policy.and_then(|(_, policy)| policy.exporters.clone())));
        }
    }

    /// Exporters to be judged anew because policies have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Changed {
        let changed = std::mem::replace(&mut self.changed, Changed::Selected(Vec::new()));
        if self.scopes.len() > self.most_scopes { Changed::Everything } else { changed }
    }

    /// Takes back all scopes: ask for all of them again, then say so with [`Self::scopes_are_known`].
    pub(crate) fn void_scopes(&mut self) {
        self.changed = Changed::Selected(Vec::new());
        self.scopes.clear();
        self.scope_ids.clear();
        self.by_labels.clear();
    }

    /// All exporters have their scopes.
    pub(crate) fn scopes_are_known(&mut self) {
        self.most_scopes = 2 * self.scopes.len() + LEFT_BEHIND;
    }

    /// Label keys that policies and quotas look at.
    fn find_keys(&self) -> BTreeSet<String> {
        let selectors = self.policies.values().filter_map(|policy| policy.exporters.as_ref());
        let selectors = selectors.chain(self.quotas.rules().filter_map(|(_, rule)| rule.exporters()));
        let requirements = selectors.flat_map(Selector::requirements);
        requirements.map(|requirement| requirement.key().to_owned()).collect()
    }

    /// The best that rules of these policies give.
    fn best_of(&self, policies: &[Name]) -> Rank {
        let rules = policies.iter().filter_map(|name| self.policies.get(name)).flat_map(|policy| &policy.rules);
        let ranks = rules.map(|rule| Rank { spot: rule.terms.spot, priority: Reverse(rule.terms.priority) });
        ranks.min().unwrap_or(Rank::full(0))
    }

    /// The scope of an exporter with these labels.
    pub(crate) fn scope(&mut self, labels: &Labels) -> Scope {
        if self.by_labels.is_empty() {
            self.keys = self.find_keys();
        }
        let seen = self.keys.iter().map(|key| labels.get(key).cloned()).collect::<Vec<_>>();
        if let Some(scope) = self.by_labels.get(&seen) {
            return *scope;
        }
        let scope = self.find_scope(labels);
        if self.by_labels.len() >= REMEMBERED {
            self.by_labels.clear();
        }
        self.by_labels.insert(seen, scope);
        scope
    }

    fn find_scope(&mut self, labels: &Labels) -> Scope {
        let policies = self.policies_for(labels);
        let counts = |rule: &QuotaRule| rule.exporters().is_some_and(|selector| selector.matches(labels));
        let quotas = self.quotas.rules().filter(|(_, rule)| counts(rule));
        let quotas = quotas.map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let key = (policies, quotas);
        if let Some(scope) = self.scope_ids.get(&key) {
            return *scope;
        }
        let (policies, quotas) = key.clone();
        let best = self.best_of(&policies);
        let scope = Scope(u32::try_from(self.scopes.len()).unwrap_or(u32::MAX));
        let (caps, weights) = self.quotas.split(&quotas);
        self.scopes.push(ScopeData { policies, quotas, caps, weights, best });
        self.scope_ids.insert(key, scope);
        scope
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

    /// Whether `client` may have exporters of `scope` for so long, and not as spot only.
    pub(crate) fn has_full_access(&self, scope: Scope, client: &str, requested: GoDuration) -> bool {
        matches!(self.access(scope, client, requested), Access::Granted(_))
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

fn admitted(policies: &BTreeMap<Name, PolicyRules>, labels: &Labels) -> HashMap<Name, Vec<Terms>> {
    let found = policies.iter().map(|(name, policy)| (name.clone(), terms_for(policy, labels)));
    found.filter(|(_, terms)| !terms.is_empty()).collect()
}

fn terms_for(policy: &PolicyRules, labels: &Labels) -> Vec<Terms> {
    policy.rules.iter().filter(|rule| rule.admits(labels)).map(|rule| rule.terms).collect()
}

impl PolicyRules {
    fn of(policy: &ExporterAccessPolicy) -> Self {
        let exporters = match &policy.spec.exporter_selector {
            Some(selector) => Selector::from_label_selector(selector).ok(),
            None => Some(Selector::default()),
        };
        Self { exporters, rules: policy.spec.policies.iter().flatten().map(Rule::of).collect() }
    }
}

impl Rule {
    fn of(policy: &jumpstarter_model::Policy) -> Self {
        let from = policy.from.iter().flatten();
        Self {
            description: policy.description.clone(),
            // A selector that makes no sense admits nobody.
            from: from.filter_map(|from| Selector::from_label_selector(&from.client_selector).ok()).collect(),
            terms: Terms {
                priority: policy.priority.unwrap_or(0),
                maximum: policy.maximum_duration,
                spot: policy.spot_access.unwrap_or(false),
            },
        }
    }

    fn admits(&self, labels: &Labels) -> bool {
        self.from.iter().any(|selector| selector.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jumpstarter_model::{ExporterAccessPolicy, ExporterAccessPolicySpec};

    use super::*;

    fn policy(board: usize) -> ExporterAccessPolicy {
        let selector = Selector::parse(&format!("board=b{board}")).unwrap().to_label_selector();
        let spec = ExporterAccessPolicySpec { exporter_selector: Some(selector), policies: None };
        ExporterAccessPolicy::new("moves", spec)
    }

    /// A policy may go from board to board for years.
    #[test]
    fn scopes_that_policies_have_left_behind_are_forgotten() {
        let mut book = AccessBook::new(Quotas::new(SignedDuration::from_hours(24)));
        book.put_policy(&"stays".into(), &policy(0));
        let mut anew = 0;
        for round in 0..3 * LEFT_BEHIND {
            let name = format!("p{round}");
            book.put_policy(&name.as_str().into(), &policy(1));
            if matches!(book.take_changed(), Changed::Everything) {
                book.void_scopes();
                book.scopes_are_known();
                anew += 1;
            }
            book.scope(&[("board".to_owned(), "b1".to_owned())].into());
            book.remove_policy(&name);
        }
        assert!((2..5).contains(&anew), "{anew}");
        assert!(book.scopes.len() <= book.most_scopes + 1, "{}", book.scopes.len());
    }
}
