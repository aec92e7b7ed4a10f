//! `jmp admin create quota`.

use clap::Args;
use jumpstarter_model::{AccountBy, GoDuration, LeaseQuota, LeaseQuotaSpec, Selector, resource::quota};

use crate::{
    cluster::{Kind, Place},
    failure::Failure,
    output::{self, OutputMode},
    view::{self, Options},
};

/// Options of the command.
#[derive(Debug, Args)]
pub(super) struct QuotaArgs {
    /// Name of the quota.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Clients that the quota is about, as a label selector; all when left out.
    #[arg(long, value_name = "SELECTOR", value_parser = selector, default_value = "")]
    clients: Selector,
    /// Exporters that it counts, as a label selector; all when left out.
    #[arg(long, value_name = "SELECTOR", value_parser = selector, default_value = "")]
    exporters: Selector,
    /// One account for all clients with the same value of this label, such as `team`; otherwise each client has its own.
    #[arg(long, value_name = "LABEL", conflicts_with = "together")]
    account_label: Option<String>,
    /// One account for all clients together.
    #[arg(long)]
    together: bool,
    /// Most devices that an account holds at once.
    #[arg(long, value_name = "N")]
    max_devices: Option<u32>,
    /// Most device time that an account uses within a period, such as 40h.
    #[arg(long, value_name = "DURATION", requires = "period")]
    max_device_time: Option<GoDuration>,
    /// Length of that sliding period, such as 168h.
    #[arg(long, value_name = "DURATION", requires = "max_device_time")]
    period: Option<GoDuration>,
    /// Most leases of an account that wait at once.
    #[arg(long, value_name = "N")]
    max_waiting: Option<u32>,
    /// Weight of each account for fair share, from 1 to 1000.
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<OutputMode>,
}

fn selector(text: &str) -> Result<Selector, String> {
    Selector::parse(text).map_err(|error| error.to_string())
}

/// Creates a quota.
pub(super) async fn run(args: &QuotaArgs) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), "quota")?;
    let spec = spec(args);
    if let Some(fault) = quota::faults(&spec).first() {
        return Err(Failure::Usage(format!("The quota makes no sense: {fault}.")));
    }
    let cluster = args.place.connect().await?;
    if args.output.is_none() {
        output::say(&format!("Creating quota '{name}' in namespace '{}'", cluster.namespace()));
    }
    let manifest = serde_json::to_value(LeaseQuota::new(name, spec))
        .map_err(|error| Failure::from_error("write the manifest", &error))?;
    let created = cluster.create(Kind::Quota, manifest).await?;
    output::print(&view::one(Kind::Quota, &created, Options::now()), args.output, cluster.namespace())
}

fn spec(args: &QuotaArgs) -> LeaseQuotaSpec {
    let chosen = |selector: &Selector| (!selector.is_empty()).then(|| selector.to_label_selector());
    LeaseQuotaSpec {
        client_selector: chosen(&args.clients),
        exporter_selector: chosen(&args.exporters),
        account_by: match (&args.account_label, args.together) {
            (Some(_), _) => Some(AccountBy::Label),
            (None, true) => Some(AccountBy::All),
            (None, false) => None,
        },
        account_label: args.account_label.clone(),
        max_devices: args.max_devices.map(i64::from),
        max_device_time: args.max_device_time,
        period: args.period,
        max_waiting: args.max_waiting.map(i64::from),
        weight: args.weight.map(i64::from),
    }
}
