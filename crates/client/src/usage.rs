//! What accounts of quotas use, where the service can tell.
use std::time::Duration;

use jumpstarter_protocol::client::v1 as pb;

/// What one account of one quota uses, and of how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountUsage {
    /// Name of the quota.
    pub quota: String,
    /// Whose account it is, in words.
    pub account: String,
    /// Devices that it holds.
    pub devices: u32,
    /// How many it may hold, where the quota limits that.
    pub max_devices: Option<u32>,
    /// Device time, where the quota limits it.
    pub device_time: Option<DeviceTimeUsage>,
    /// Leases of it that wait.
    pub waiting: u32,
    /// How many may wait, where the quota limits that.
    pub max_waiting: Option<u32>,
    /// Its share, where the quota gives a weight.
    pub share: Option<ShareUsage>,
}

/// Device time within the period that ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTimeUsage {
    /// What is used, and what running leases may still use.
    pub used: Duration,
    /// The limit.
    pub most: Duration,
    /// Length of the period.
    pub period: Duration,
}

/// What decides whose turn it is among accounts of equal priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareUsage {
    /// Weight of each account of the quota.
    pub weight: u32,
    /// Device time, faded: what was used a half-life ago counts half.
    pub counted: Duration,
    /// How much of what all accounts of the quota count that is, in thousandths.
    pub permille: u32,
}

impl AccountUsage {
    pub(crate) fn from_proto(found: pb::AccountUsage) -> Self {
        let limits = found.max_device_time.zip(found.period);
        Self {
            quota: found.quota,
            account: found.account,
            devices: found.devices,
            max_devices: found.max_devices,
            device_time: limits.map(|(most, period)| DeviceTimeUsage {
                used: found.device_time.map(span).unwrap_or_default(),
                most: span(most),
                period: span(period),
            }),
            waiting: found.waiting,
            max_waiting: found.max_waiting,
            share: found.weight.map(|weight| ShareUsage {
                weight,
                counted: found.counted_time.map(span).unwrap_or_default(),
                permille: found.share_permille.unwrap_or_default(),
            }),
        }
    }
}

/// One that makes no sense, or is negative, is none.
fn span(duration: prost_types::Duration) -> Duration {
    let parts = u64::try_from(duration.seconds).ok().zip(u32::try_from(duration.nanos).ok());
    parts.map(|(secs, nanos)| Duration::new(secs, nanos.min(999_999_999))).unwrap_or_default()
}
