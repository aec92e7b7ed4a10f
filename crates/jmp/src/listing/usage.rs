//! What accounts of quotas use.
use std::time::Duration;

use jiff::SignedDuration;
use jumpstarter_client::{AccountUsage, DeviceTimeUsage, ShareUsage};
use serde_json::{Value, json};

use super::View;

/// A list. A cell says what is used and, where there is a limit, of how much.
pub(crate) fn list(accounts: &[AccountUsage]) -> View {
    View {
        json: json!({ "usage": accounts.iter().map(to_json).collect::<Vec<_>>() }),
        headings: vec!["QUOTA", "ACCOUNT", "DEVICES", "DEVICE-TIME", "WAITING", "SHARE"],
        rows: accounts.iter().map(row).collect(),
        names: accounts.iter().map(|account| account.quota.clone()).collect(),
    }
}

fn row(found: &AccountUsage) -> Vec<String> {
    let count = |used: u32, most: Option<u32>| match most {
        Some(most) => format!("{used} of {most}"),
        None => used.to_string(),
    };
    let none = || "-".to_owned();
    vec![
        found.quota.clone(),
        found.account.clone(),
        count(found.devices, found.max_devices),
        found.device_time.map_or_else(none, time),
        count(found.waiting, found.max_waiting),
        found.share.map_or_else(none, share),
    ]
}

fn time(DeviceTimeUsage { used, most, period }: DeviceTimeUsage) -> String {
    format!("{} of {} in {}", span(used), span(most), span(period))
}

fn share(ShareUsage { weight, counted, permille }: ShareUsage) -> String {
    let weight = if weight == 1 { String::new() } else { format!(", weight {weight}") };
    format!("{}.{} % ({}{weight})", permille / 10, permille % 10, span(counted))
}

/// Hours, minutes and seconds, so that limits read as they were written.
fn span(duration: Duration) -> String {
    let whole = Duration::from_secs(duration.as_secs());
    format!("{:#}", SignedDuration::try_from(whole).unwrap_or(SignedDuration::MAX))
}

/// The fields are those of `AccountUsage` on the wire; times are in seconds, and what there is not is null.
fn to_json(found: &AccountUsage) -> Value {
    let time = |part: fn(&DeviceTimeUsage) -> Duration| found.device_time.as_ref().map(|time| part(time).as_secs_f64());
    json!({
        "quota": found.quota,
        "account": found.account,
        "devices": found.devices,
        "max_devices": found.max_devices,
        "device_time": time(|time| time.used),
        "max_device_time": time(|time| time.most),
        "period": time(|time| time.period),
        "waiting": found.waiting,
        "max_waiting": found.max_waiting,
        "weight": found.share.map(|share| share.weight),
        "counted_time": found.share.map(|share| share.counted.as_secs_f64()),
        "share_permille": found.share.map(|share| share.permille),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{ListMode, rendered};

    fn account(quota: &str) -> AccountUsage {
        AccountUsage {
            quota: quota.to_owned(),
            account: "team=ci".to_owned(),
            devices: 4,
            max_devices: None,
            device_time: None,
            waiting: 2,
            max_waiting: None,
            share: None,
        }
    }

    #[test]
    fn what_is_used_of_which_limit() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let full = AccountUsage {
            max_devices: Some(5),
            device_time: Some(DeviceTimeUsage { used: hours(33), most: hours(40), period: hours(168) }),
            max_waiting: Some(50),
            share: Some(ShareUsage { weight: 1, counted: Duration::from_millis(5_400_900), permille: 305 }),
            ..account("boards")
        };
        let heavy = ShareUsage { weight: 2, counted: hours(0), permille: 0 };
        let view = list(&[full, AccountUsage { share: Some(heavy), ..account("even") }, account("other")]);
        insta::assert_snapshot!(rendered(&view, None).unwrap());
        insta::assert_snapshot!(rendered(&view, Some(ListMode::Json)).unwrap());
    }
}
