//! What one quota says, prepared.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jumpstarter_model::{AccountBy, GoDuration, LeaseQuota, Selector};

use super::super::names::Name;

type Labels = BTreeMap<String, String>;

/// One quota.
#[derive(Debug, PartialEq)]
pub(crate) struct Rule {
    /// `None` when the selector makes no sense: it then matches nothing, as in policies.
    clients: Option<Selector>,
    exporters: Option<Selector>,
    by: By,
    pub(super) devices: Option<usize>,
    pub(super) time: Option<TimeCap>,
    pub(super) waiting: Option<usize>,
    pub(super) weight: Option<i128>,
}

/// Most device time within a sliding period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TimeCap {
    pub(super) most: GoDuration,
    pub(super) period: GoDuration,
}

#[derive(Debug, PartialEq)]
enum By {
    Client,
    All,
    Label(String),
}

impl Rule {
    /// What an object says. Numbers that the rules on quotas forbid, and that an API server without those rules took all
    /// the same, count as the nearest that they allow.
    pub(super) fn of(quota: &LeaseQuota) -> Self {
        let spec = &quota.spec;
        let selector = |selector: &Option<_>| match selector {
            Some(selector) => Selector::from_label_selector(selector).ok(),
            None => Some(Selector::default()),
        };
        let cap = |most: i64| usize::try_from(most.max(0)).unwrap_or(usize::MAX);
        let time = spec.max_device_time.zip(spec.period.filter(|period| period.is_positive()));
        Self {
            clients: selector(&spec.client_selector),
            exporters: selector(&spec.exporter_selector),
            by: match (spec.account_by.unwrap_or_default(), &spec.account_label) {
                (AccountBy::Label, Some(label)) => By::Label(label.clone()),
                (AccountBy::All, _) => By::All,
                (AccountBy::Client | AccountBy::Label, _) => By::Client,
            },
            devices: spec.max_devices.map(cap),
            time: time.map(|(most, period)| TimeCap { most, period }),
            waiting: spec.max_waiting.map(cap),
            weight: spec.weight.map(|weight| i128::from(weight.max(1))),
        }
    }

    /// What holds for those whom no quota gives a weight: each client for itself, with the least.
    pub(super) fn of_everybody_else() -> Self {
        Self {
            clients: Some(Selector::default()),
            exporters: Some(Selector::default()),
            by: By::Client,
            devices: None,
            time: None,
            waiting: None,
            weight: Some(1),
        }
    }

    /// Exporters that it counts.
    pub(crate) fn exporters(&self) -> Option<&Selector> {
        self.exporters.as_ref()
    }

    /// Whether it can keep a lease from a device.
    pub(super) fn is_capped(&self) -> bool {
        self.devices.is_some() || self.time.is_some()
    }

    /// The account of a client here, if it has one.
    pub(super) fn account(&self, client: &str, labels: &Labels) -> Option<Name> {
        self.clients.as_ref().filter(|selector| selector.matches(labels))?;
        Some(match &self.by {
            By::Client => client.into(),
            By::All => "".into(),
            By::Label(label) => labels.get(label).map_or("", String::as_str).into(),
        })
    }

    /// An account in words.
    pub(super) fn describe(&self, account: &str) -> String {
        match &self.by {
            By::Client => format!("client {account}"),
            By::All => "all of its clients together".to_owned(),
            By::Label(label) if account.is_empty() => format!("clients without the label {label} together"),
            By::Label(label) => format!("{label}={account}"),
        }
    }

    /// How far back device time counts.
    pub(super) fn period(&self) -> SignedDuration {
        self.time.map_or(SignedDuration::ZERO, |cap| cap.period.to_signed())
    }
}
