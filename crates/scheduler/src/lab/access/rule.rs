//! Access policies as they are looked up.

use std::collections::{BTreeMap, HashMap};

use jumpstarter_model::{ExporterAccessPolicy, GoDuration, Selector};

use super::{super::names::Name, Labels};

#[derive(Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) description: Option<String>,
    pub(super) from: Vec<Selector>,
    pub(super) terms: Terms,
}

/// What a rule gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) priority: i64,
    pub(super) maximum: Option<GoDuration>,
    pub(super) spot: bool,
}

#[derive(Debug, PartialEq)]
pub(super) struct PolicyRules {
    /// `None` when the selector makes no sense: it then matches nothing.
    pub(super) exporters: Option<Selector>,
    pub(super) rules: Vec<Rule>,
}

pub(super) fn admitted(policies: &BTreeMap<Name, PolicyRules>, labels: &Labels) -> HashMap<Name, Vec<Terms>> {
    let found = policies.iter().map(|(name, policy)| (name.clone(), terms_for(policy, labels)));
    found.filter(|(_, terms)| !terms.is_empty()).collect()
}

pub(super) fn terms_for(policy: &PolicyRules, labels: &Labels) -> Vec<Terms> {
    policy.rules.iter().filter(|rule| rule.admits(labels)).map(|rule| rule.terms).collect()
}

impl PolicyRules {
    pub(super) fn of(policy: &ExporterAccessPolicy) -> Self {
        let exporters = match &policy.spec.exporter_selector {
            Some(selector) => Selector::from_label_selector(selector).ok(),
            None => Some(Selector::default()),
        };
        Self { exporters, rules: policy.spec.policies.iter().flatten().map(Rule::of).collect() }
    }
}

impl Rule {
    pub(super) fn of(policy: &jumpstarter_model::Policy) -> Self {
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

    pub(super) fn admits(&self, labels: &Labels) -> bool {
        self.from.iter().any(|selector| selector.matches(labels))
    }
}
