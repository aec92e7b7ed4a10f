//! `jmp admin get`.

use clap::{Args, Subcommand};

use super::usage;
use crate::{
    cluster::{Kind, Place},
    commands::elsewhere,
    failure::Failure,
    output::{self, OutputMode},
    view::{self, Options},
};

/// What can be shown.
#[derive(Debug, Subcommand)]
pub(super) enum GetCommand {
    /// Show clients.
    #[command(aliases = ["clients", "c"])]
    Client(GetArgs),
    /// Show exporters.
    #[command(aliases = ["exporters", "e"])]
    Exporter {
        #[command(flatten)]
        args: GetArgs,
        /// Show the devices of each exporter.
        #[arg(short, long)]
        devices: bool,
    },
    /// Show leases.
    #[command(aliases = ["leases", "l"])]
    Lease(GetArgs),
    /// Refused: this program works on objects, not on clusters.
    #[command(alias = "clusters", hide = true, disable_help_flag = true)]
    Cluster(elsewhere::Words),
    /// Show access policies.
    #[command(aliases = ["policies", "exporteraccesspolicy", "exporteraccesspolicies"])]
    Policy(GetArgs),
    /// Show quotas.
    #[command(aliases = ["quotas", "leasequota", "leasequotas"])]
    Quota(GetArgs),
    /// Show what accounts use, of what quotas let them have.
    Usage(usage::UsageArgs),
    /// Show maintenance windows.
    #[command(aliases = ["windows", "maintenancewindow", "maintenancewindows"])]
    Window(GetArgs),
}

/// Options of all kinds.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// Name of the object; without it all are shown.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<OutputMode>,
}

/// Shows one object or all.
pub(super) async fn run(command: &GetCommand) -> Result<(), Failure> {
    let (kind, args, devices) = match command {
        GetCommand::Client(args) => (Kind::Client, args, false),
        GetCommand::Exporter { args, devices } => (Kind::Exporter, args, *devices),
        GetCommand::Lease(args) => (Kind::Lease, args, false),
        GetCommand::Policy(args) => (Kind::Policy, args, false),
        GetCommand::Quota(args) => (Kind::Quota, args, false),
        GetCommand::Window(args) => (Kind::Window, args, false),
        GetCommand::Usage(args) => return usage::run(args).await,
        GetCommand::Cluster(_) => return Err(elsewhere::clusters()),
    };
    let cluster = args.place.connect().await?;
    let options = Options { devices, ..Options::now() };
    let view = match &args.name {
        Some(name) => {
            let name = super::required(Some(name), kind.singular())?;
            view::one(kind, &cluster.get(kind, name).await?, options)
        }
        None => view::list(kind, &cluster.list(kind).await?, options),
    };
    output::print(&view, args.output, cluster.namespace())
}
