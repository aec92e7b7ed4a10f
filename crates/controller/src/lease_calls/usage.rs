//! What the accounts of a client use. Of others it is told no more than what they use of an account that it shares.

use jumpstarter_protocol::client::v1 as client;
use jumpstarter_scheduler::AccountUse;
use tonic::Status;

use super::LeaseCalls;
use crate::{convert, status};

impl LeaseCalls {
    /// Answers `GetUsage`.
    pub(crate) async fn usage(&self, client: &str) -> Result<client::GetUsageResponse, Status> {
        let accounts = self.lab.usage(client.to_owned()).await.ok_or_else(status::stopping)?;
        Ok(client::GetUsageResponse { accounts: accounts.into_iter().map(to_proto).collect() })
    }
}

fn to_proto(from: AccountUse) -> client::AccountUsage {
    let AccountUse { quota, account, devices, max_devices, device_time, waiting, max_waiting, share } = from;
    client::AccountUsage {
        quota,
        account,
        devices: count(devices),
        max_devices: max_devices.map(count),
        device_time: device_time.map(|time| convert::duration(time.used)),
        max_device_time: device_time.map(|time| convert::duration(time.most)),
        period: device_time.map(|time| convert::duration(time.period)),
        waiting: count(waiting),
        max_waiting: max_waiting.map(count),
        weight: share.map(|share| share.weight),
        counted_time: share.map(|share| convert::duration(share.counted)),
        share_permille: share.map(|share| share.permille.into()),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
