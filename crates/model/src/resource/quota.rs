//! `LeaseQuota`: how much of the lab an account of clients may have, and its share when the lab is full.

#![expect(unreachable_pub, reason = "the schema derive repeats the struct inside a function")]

mod rules;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use rules::{MAX_PERIOD, MAX_WEIGHT, MIN_PERIOD, QuotaRuleError, faults};

use crate::GoDuration;

/// Caps and the weight of the accounts that it keeps.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "jumpstarter.dev",
    version = "v1alpha1",
    kind = "LeaseQuota",
    plural = "leasequotas",
    singular = "leasequota",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    doc = "How much of the lab clients may have"
)]
#[x_kube(
    validation = Rule::new(rules::EMPTY_CEL).message(rules::EMPTY_MESSAGE),
    validation = Rule::new(rules::DEVICES_CEL).message(rules::DEVICES_MESSAGE),
    validation = Rule::new(rules::WAITING_CEL).message(rules::WAITING_MESSAGE),
    validation = Rule::new(rules::WEIGHT_CEL).message(rules::WEIGHT_MESSAGE),
    validation = Rule::new(rules::TOGETHER_CEL).message(rules::TOGETHER_MESSAGE),
    validation = Rule::new(rules::TIME_CEL).message(rules::TIME_MESSAGE),
    validation = Rule::new(rules::PERIOD_CEL).message(rules::PERIOD_MESSAGE),
    validation = Rule::new(rules::LABEL_CEL).message(rules::LABEL_MESSAGE)
)]
#[serde(rename_all = "camelCase")]
pub struct LeaseQuotaSpec {
    /// Clients that it is about; empty or absent is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_selector: Option<LabelSelector>,
    /// Exporters that it counts; empty or absent is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter_selector: Option<LabelSelector>,
    /// Who shares an account; absent is `Client`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_by: Option<AccountBy>,
    /// With `accountBy: Label`, the label of clients by whose value accounts are kept, such as `team`. Clients without
    /// it share one account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 317))]
    pub account_label: Option<String>,
    /// Most devices that an account holds at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_devices: Option<i64>,
    /// Most device time that an account uses within any `period`. What running leases may still use is counted as used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 64))]
    pub max_device_time: Option<GoDuration>,
    /// Length of the sliding period of `maxDeviceTime`, from 1m to 744h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 64))]
    pub period: Option<GoDuration>,
    /// Most leases of an account that wait at once, whatever they wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_waiting: Option<i64>,
    /// Weight of each account, from 1 to 1000. One quota with a weight turns fair share on for the exporters that it
    /// counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

/// Who shares an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccountBy {
    /// Each client has its own.
    #[default]
    Client,
    /// All clients of the quota together have one.
    All,
    /// Clients with the same value of a label have one together.
    Label,
}
