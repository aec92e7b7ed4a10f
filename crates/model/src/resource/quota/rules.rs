//! The rules on quotas that an API server checks with CEL, and the same rules in Rust for a store without one.

use super::{AccountBy, LeaseQuotaSpec};
use crate::GoDuration;

/// Shortest period of a cap of device time: leases are counted in seconds.
pub const MIN_PERIOD: GoDuration = GoDuration::from_secs(60);
/// Longest one, 31 days: ended leases are kept for as long.
pub const MAX_PERIOD: GoDuration = GoDuration::from_secs(31 * 24 * 3600);
/// Highest weight of an account.
pub const MAX_WEIGHT: i64 = 1000;

pub(super) const EMPTY_CEL: &str =
    "has(self.maxDevices) || has(self.maxDeviceTime) || has(self.maxWaiting) || has(self.weight)";
pub(super) const EMPTY_MESSAGE: &str = "one of maxDevices, maxDeviceTime, maxWaiting and weight is required";
pub(super) const DEVICES_CEL: &str = "!has(self.maxDevices) || self.maxDevices >= 0";
pub(super) const DEVICES_MESSAGE: &str = "maxDevices must not be negative";
pub(super) const WAITING_CEL: &str = "!has(self.maxWaiting) || self.maxWaiting >= 0";
pub(super) const WAITING_MESSAGE: &str = "maxWaiting must not be negative";
pub(super) const WEIGHT_CEL: &str = "!has(self.weight) || (self.weight >= 1 && self.weight <= 1000)";
pub(super) const WEIGHT_MESSAGE: &str = "weight must be from 1 to 1000";
pub(super) const TOGETHER_CEL: &str = "has(self.maxDeviceTime) == has(self.period)";
pub(super) const TOGETHER_MESSAGE: &str = "maxDeviceTime and period go together";
pub(super) const TIME_CEL: &str = "!has(self.maxDeviceTime) || duration(self.maxDeviceTime) >= duration('0s')";
pub(super) const TIME_MESSAGE: &str = "maxDeviceTime must not be negative";
pub(super) const PERIOD_CEL: &str = "!has(self.period) || (duration(self.period) >= duration('1m') && \
     duration(self.period) <= duration('744h'))";
pub(super) const PERIOD_MESSAGE: &str = "period must be from 1m to 744h (31 days)";
pub(super) const LABEL_CEL: &str = "(has(self.accountLabel) && size(self.accountLabel) > 0) == \
     (has(self.accountBy) && self.accountBy == 'Label')";
pub(super) const LABEL_MESSAGE: &str = "accountLabel goes with accountBy: Label";

/// A rule that a quota breaks. The texts are those of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaRuleError {
    /// It limits nothing and gives no weight.
    #[error("{EMPTY_MESSAGE}")]
    Empty,
    /// Fewer devices than none.
    #[error("{DEVICES_MESSAGE}")]
    NegativeDevices,
    /// Fewer waiting leases than none.
    #[error("{WAITING_MESSAGE}")]
    NegativeWaiting,
    /// A weight that is none.
    #[error("{WEIGHT_MESSAGE}")]
    Weight,
    /// A time without its period, or a period without its time.
    #[error("{TOGETHER_MESSAGE}")]
    TimeWithoutPeriod,
    /// Less time than none.
    #[error("{TIME_MESSAGE}")]
    NegativeTime,
    /// A period that is too short or too long.
    #[error("{PERIOD_MESSAGE}")]
    Period,
    /// A label without its use, or the other way round.
    #[error("{LABEL_MESSAGE}")]
    Label,
}

/// Every rule that a quota breaks, in the order of the rules.
pub fn faults(spec: &LeaseQuotaSpec) -> Vec<QuotaRuleError> {
    let limits = spec.max_devices.is_some() || spec.max_device_time.is_some() || spec.max_waiting.is_some();
    let label = spec.account_label.as_ref().is_some_and(|label| !label.is_empty());
    let negative = |value: Option<i64>| value.is_some_and(|value| value < 0);
    let rules = [
        (!limits && spec.weight.is_none(), QuotaRuleError::Empty),
        (negative(spec.max_devices), QuotaRuleError::NegativeDevices),
        (negative(spec.max_waiting), QuotaRuleError::NegativeWaiting),
        (spec.weight.is_some_and(|weight| !(1..=MAX_WEIGHT).contains(&weight)), QuotaRuleError::Weight),
        (spec.max_device_time.is_some() != spec.period.is_some(), QuotaRuleError::TimeWithoutPeriod),
        (spec.max_device_time.is_some_and(|time| time < GoDuration::ZERO), QuotaRuleError::NegativeTime),
        (spec.period.is_some_and(|period| !(MIN_PERIOD..=MAX_PERIOD).contains(&period)), QuotaRuleError::Period),
        (label != (spec.account_by == Some(AccountBy::Label)), QuotaRuleError::Label),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, rule)| rule).collect()
}
