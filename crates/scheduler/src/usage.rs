//! What accounts of quotas use.

use jumpstarter_model::{Client, Exporter, GoDuration, Lease, LeaseQuota};

/// What one account of one quota uses, and of how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountUse {
    /// Name of the quota.
    pub quota: String,
    /// Whose account it is, in words, such as `team=ci` or `client alice`.
    pub account: String,
    /// Devices that it holds.
    pub devices: usize,
    /// How many it may hold, where the quota limits that.
    pub max_devices: Option<usize>,
    /// Device time, where the quota limits it.
    pub device_time: Option<DeviceTimeUse>,
    /// Leases of it that wait, whatever they wait for.
    pub waiting: usize,
    /// How many may wait, where the quota limits that.
    pub max_waiting: Option<usize>,
    /// Its share, where the quota gives a weight.
    pub share: Option<Share>,
}

/// Device time within the period that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTimeUse {
    /// What is used, and what running leases may still use.
    pub used: GoDuration,
    /// The limit.
    pub most: GoDuration,
    /// Length of the period.
    pub period: GoDuration,
}

/// What decides whose turn it is: of accounts of equal priority the one with the least `counted` for its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Weight of each account of the quota.
    pub weight: u32,
    /// Device time, faded: what was used a half-life ago counts half. Running leases count ten minutes ahead.
    pub counted: GoDuration,
    /// How much of what all accounts of the quota count that is, in thousandths; 0 while nobody used anything.
    pub permille: u16,
}

/// Objects from which use is counted.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a> {
    /// All quotas.
    pub quotas: &'a [LeaseQuota],
    /// All clients.
    pub clients: &'a [Client],
    /// All exporters.
    pub exporters: &'a [Exporter],
    /// All leases, also those that have ended.
    pub leases: &'a [Lease],
}
