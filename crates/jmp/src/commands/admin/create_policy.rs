//! `jmp admin create policy`: one rule; richer policies are written as manifests and applied.

use clap::Args;
use jumpstarter_model::{ExporterAccessPolicy, ExporterAccessPolicySpec, From, GoDuration, Policy, Selector};

use crate::{
    cluster::{Kind, Place},
    failure::Failure,
    output::{self, OutputMode},
    view::{self, Options},
};

/// Options of the command.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// Name of the policy.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Exporters that the policy is about, as a label selector; all when left out.
    #[arg(long, value_name = "SELECTOR", value_parser = selector, default_value = "")]
    exporters: Selector,
    /// Clients that it admits, as a label selector; may be given more than once. `''` admits all.
    #[arg(long, value_name = "SELECTOR", value_parser = selector, required = true)]
    clients: Vec<Selector>,
    /// Higher wins.
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Longest lease that it admits, such as 24h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    maximum_duration: Option<GoDuration>,
    /// Only while nobody with full access needs the device: leases that it admits make way then.
    #[arg(long)]
    spot_access: bool,
    /// Shown to clients that it refuses.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<OutputMode>,
}

pub(super) fn selector(text: &str) -> Result<Selector, String> {
    Selector::parse(text).map_err(|error| error.to_string())
}

pub(super) fn duration(text: &str) -> Result<GoDuration, String> {
    let duration = text.parse::<GoDuration>().map_err(|error| error.to_string())?;
    if duration.is_positive() { Ok(duration) } else { Err(format!("'{text}' is not longer than nothing")) }
}

/// Creates a policy.
pub(super) async fn run(args: &PolicyArgs) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), "policy")?;
    let cluster = args.place.connect().await?;
    if args.output.is_none() {
        output::say(&format!("Creating policy '{name}' in namespace '{}'", cluster.namespace()));
    }
    let manifest = serde_json::to_value(ExporterAccessPolicy::new(name, spec(args)))
        .map_err(|error| Failure::from_error("write the manifest", &error))?;
    let created = cluster.create(Kind::Policy, manifest).await?;
    output::print(&view::one(Kind::Policy, &created, Options::now()), args.output, cluster.namespace())
}

fn spec(args: &PolicyArgs) -> ExporterAccessPolicySpec {
    let from = args.clients.iter().map(|clients| From { client_selector: clients.to_label_selector() });
    let rule = Policy {
        description: args.description.clone(),
        priority: args.priority,
        from: Some(from.collect()),
        maximum_duration: args.maximum_duration,
        spot_access: args.spot_access.then_some(true),
    };
    ExporterAccessPolicySpec { exporter_selector: Some(args.exporters.to_label_selector()), policies: Some(vec![rule]) }
}
