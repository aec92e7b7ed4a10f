//! `jmp driver`: what an exporter of this program can drive.
use clap::{Args, Subcommand};
use jumpstarter_drivers::Registry;
use serde_json::Value;

use super::version::{self, VersionArgs};
use crate::{cli::LogLevel, failure::Failure, listing::View, output};

/// Options of the group.
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct DriverArgs {
    /// Which log lines to show.
    #[arg(long, value_enum, value_name = "LEVEL", ignore_case = true)]
    pub(crate) log_level: Option<LogLevel>,
    #[command(subcommand)]
    command: DriverCommand,
}

#[derive(Subcommand)]
enum DriverCommand {
    /// List the drivers that are built in.
    #[command(alias = "ls")]
    List,
    /// Print the version.
    #[command(aliases = ["ver", "v"])]
    Version(VersionArgs),
}

/// Shows it.
pub(crate) fn run(args: &DriverArgs) -> Result<(), Failure> {
    match &args.command {
        DriverCommand::List => {
            let registry = Registry::builtin();
            let mut classes: Vec<&str> = registry.classes().collect();
            classes.sort_unstable();
            let name = |class: &str| class.rsplit('.').next().unwrap_or(class).to_owned();
            let view = View {
                json: Value::Null,
                headings: vec!["NAME", "TYPE"],
                rows: classes.iter().map(|class| vec![name(class), (*class).to_owned()]).collect(),
                names: Vec::new(),
            };
            output::write(&output::rendered(&view, None)?);
            Ok(())
        }
        DriverCommand::Version(args) => version::run(args),
    }
}
