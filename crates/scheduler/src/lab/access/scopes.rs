//! Which exporters the same policies and quotas are about, and what of that a changed policy touches.

use std::{cmp::Reverse, collections::BTreeSet};

use jumpstarter_model::Selector;

use super::{
    super::{names::Name, quota::Rule as QuotaRule},
    AccessBook, Labels, Rank, Scope,
    rule::{PolicyRules, terms_for},
};

/// Combinations of labels whose scope is remembered.
const REMEMBERED: usize = 1 << 16;

/// Scopes that may be handed out beside twice as many as there were when all were handed out anew: those that policies
/// have left behind are not counted.
pub(super) const LEFT_BEHIND: usize = 1024;

/// Exporters of which policies say something else than when they were judged.
#[derive(Debug)]
pub(crate) enum Changed {
    /// Those that one of these selects.
    Selected(Vec<Selector>),
    /// Perhaps all.
    Everything,
}

#[derive(Debug)]
pub(super) struct ScopeData {
    pub(super) policies: Vec<Name>,
    /// Quotas that count these exporters, those of them that can keep a lease from one, and those that give a weight:
    /// the last of these is for everybody else.
    pub(super) quotas: Vec<Name>,
    pub(super) caps: Vec<Name>,
    pub(super) weights: Vec<Name>,
    pub(super) best: Rank,
}

impl AccessBook {
    /// After one policy has changed from what was `known` of it.
    pub(super) fn note_change(&mut self, name: &str, known: Option<PolicyRules>) {
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
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jumpstarter_model::{ExporterAccessPolicy, ExporterAccessPolicySpec};

    use super::{super::super::quota::Quotas, *};

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
