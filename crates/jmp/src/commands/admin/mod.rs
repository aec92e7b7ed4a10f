//! `jmp admin`: the objects of a service.

mod apply;
mod create;
mod create_policy;
mod create_quota;
mod create_window;
mod delete;
mod get;
mod import;
mod quarantine;
mod rotate;
pub(crate) mod saved;
mod usage;

use clap::{Args, Subcommand};

use super::version::{self, VersionArgs};
use crate::{cli::LogLevel, failure::Failure};

/// Options of the group.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct AdminArgs {
    /// Set the log level.
    #[arg(long, value_enum, value_name = "LEVEL", ignore_case = true)]
    pub(crate) log_level: Option<LogLevel>,

    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Create or change the objects of a manifest file.
    Apply(apply::ApplyArgs),
    /// Check whether an exporter works, under a lease of the service's own.
    Check(quarantine::ExporterArgs),
    /// Create objects.
    #[command(subcommand, alias = "c", subcommand_required = true, arg_required_else_help = true)]
    Create(create::CreateCommand),
    /// Delete objects.
    #[command(subcommand, aliases = ["del", "d"], subcommand_required = true, arg_required_else_help = true)]
    Delete(delete::DeleteCommand),
    /// Show objects.
    #[command(subcommand, alias = "g", subcommand_required = true, arg_required_else_help = true)]
    Get(get::GetCommand),
    /// Write the configuration of an existing object into a file.
    #[command(subcommand, alias = "i", subcommand_required = true, arg_required_else_help = true)]
    Import(import::ImportCommand),
    /// List objects; the same as `get` without a name.
    #[command(subcommand, alias = "ls", subcommand_required = true, arg_required_else_help = true)]
    List(get::GetCommand),
    /// Keep an exporter from being given out.
    Quarantine(quarantine::QuarantineArgs),
    /// Replace credentials.
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Rotate(rotate::RotateCommand),
    /// Give a quarantined exporter out again.
    Unquarantine(quarantine::ExporterArgs),
    /// Get the current Jumpstarter version.
    #[command(aliases = ["ver", "v"])]
    Version(VersionArgs),
}

/// Runs a command of the group.
pub(crate) async fn run(args: AdminArgs) -> Result<(), Failure> {
    match args.command {
        AdminCommand::Apply(args) => apply::run(&args).await,
        AdminCommand::Check(args) => quarantine::check(&args).await,
        AdminCommand::Create(command) => create::run(&command).await,
        AdminCommand::Delete(command) => delete::run(&command).await,
        AdminCommand::Get(command) | AdminCommand::List(command) => get::run(&command).await,
        AdminCommand::Import(command) => import::run(&command).await,
        AdminCommand::Quarantine(args) => quarantine::quarantine(&args).await,
        AdminCommand::Rotate(command) => rotate::run(&command).await,
        AdminCommand::Unquarantine(args) => quarantine::unquarantine(&args).await,
        AdminCommand::Version(args) => version::run(&args),
    }
}

/// The name that the parser lets people leave out, so that the message is the familiar one.
fn required<'a>(name: Option<&'a String>, kind: &'static str) -> Result<&'a str, Failure> {
    let name = name.map(|name| name.trim()).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::Usage("Missing required argument 'NAME'.".to_owned()))?;
    jumpstarter_model::name::validate_subdomain(kind, name).map_err(|error| Failure::new(error.to_string()))?;
    Ok(name)
}
