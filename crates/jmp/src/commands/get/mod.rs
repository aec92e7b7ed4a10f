//! `jmp get`.
mod exporters;
mod leases;
mod usage;
mod watch;

use clap::Subcommand;

use crate::failure::Failure;

/// What can be listed.
#[derive(Subcommand)]
pub(crate) enum GetCommand {
    /// Show exporters, and who holds them.
    #[command(alias = "exporter")]
    Exporters(exporters::GetExporters),
    /// Show leases.
    #[command(alias = "lease")]
    Leases(leases::GetLeases),
    /// Show what your accounts use, of what quotas let them have.
    Usage(usage::GetUsage),
}

/// Lists.
pub(crate) async fn run(command: GetCommand) -> Result<(), Failure> {
    match command {
        GetCommand::Exporters(args) => args.run().await,
        GetCommand::Leases(args) => args.run().await,
        GetCommand::Usage(args) => args.run().await,
    }
}
