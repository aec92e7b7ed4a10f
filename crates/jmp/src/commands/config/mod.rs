//! `jmp config`: configuration files on this machine.
mod client;
mod exporter;
mod new;

use clap::Subcommand;

use crate::failure::Failure;

/// Whose files.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Configuration files of clients.
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Client(client::ClientCommand),
    /// Configuration files of exporters.
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Exporter(exporter::ExporterCommand),
}

/// Works with files.
pub(crate) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Client(command) => client::run(command),
        ConfigCommand::Exporter(command) => exporter::run(command),
    }
}
