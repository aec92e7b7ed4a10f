//! `jmp admin get usage`: counted here, from the objects. What accounts use is stored nowhere, and whoever may read the
//! objects comes to the same as the service, on Kubernetes too.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jumpstarter_client::{AccountUsage, DeviceTimeUsage, ShareUsage};
use jumpstarter_model::GoDuration;
use jumpstarter_scheduler::{AccountUse, Objects, tally};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::create_policy::duration;
use crate::{
    cluster::{Cluster, Kind, Place},
    failure::Failure,
    listing::usage,
    output::{self, DataMode},
};

/// Options of the command.
#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// Name of a quota; without it the accounts of all are shown.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// After how long use counts half for shares; the service's `--share-half-life`.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
    share_half_life: GoDuration,
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<DataMode>,
}

/// Shows accounts that hold devices, wait, or used something.
pub(super) async fn run(args: &UsageArgs) -> Result<(), Failure> {
    let cluster = args.place.connect().await?;
    let quotas = match &args.name {
        Some(name) => {
            let name = super::required(Some(name), Kind::Quota.singular())?;
            decode(Kind::Quota, vec![cluster.get(Kind::Quota, name).await?])
        }
        None => all(&cluster, Kind::Quota).await?,
    };
    if quotas.is_empty() && args.output.is_none() {
        output::say(&format!("No quotas in {} namespace.", cluster.namespace()));
        return Ok(());
    }
    let (clients, exporters) = (all(&cluster, Kind::Client).await?, all(&cluster, Kind::Exporter).await?);
    let leases = all(&cluster, Kind::Lease).await?;
    let objects = Objects { quotas: &quotas, clients: &clients, exporters: &exporters, leases: &leases };
    let found = tally(objects, args.share_half_life.to_signed(), Timestamp::now());
    if found.is_empty() && args.output.is_none() {
        output::say("No account uses anything.");
        return Ok(());
    }
    let found = found.into_iter().map(shown).collect::<Vec<_>>();
    output::write(&output::rendered(&usage::list(&found), args.output.map(Into::into))?);
    Ok(())
}

async fn all<T: DeserializeOwned>(cluster: &Cluster, kind: Kind) -> Result<Vec<T>, Failure> {
    Ok(decode(kind, cluster.list(kind).await?))
}

/// What cannot be read is named and left out, as the service does.
fn decode<T: DeserializeOwned>(kind: Kind, objects: Vec<Value>) -> Vec<T> {
    let read = |object: Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        serde_json::from_value(object)
            .inspect_err(|error| {
                output::warn(&format!("{} {name} cannot be read, and is left out: {error}", kind.singular()));
            })
            .ok()
    };
    objects.into_iter().filter_map(read).collect()
}

fn shown(from: AccountUse) -> AccountUsage {
    let AccountUse { quota, account, devices, max_devices, device_time, waiting, max_waiting, share } = from;
    AccountUsage {
        quota,
        account,
        devices: count(devices),
        max_devices: max_devices.map(count),
        device_time: device_time.map(|time| DeviceTimeUsage {
            used: span(time.used),
            most: span(time.most),
            period: span(time.period),
        }),
        waiting: count(waiting),
        max_waiting: max_waiting.map(count),
        share: share.map(|share| ShareUsage {
            weight: share.weight,
            counted: span(share.counted),
            permille: share.permille.into(),
        }),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn span(duration: GoDuration) -> Duration {
    duration.to_std().unwrap_or_default()
}
