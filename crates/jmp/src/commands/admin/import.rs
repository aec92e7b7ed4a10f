//! `jmp admin import`: configuration files of objects that exist.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::saved::{self, DriverArgs, TlsArgs};
use crate::{
    cluster::{Kind, Place},
    failure::Failure,
    output::{self, PathOnly},
};

/// What can be imported.
#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Import the configuration of a client.
    Client {
        /// Name of the client.
        name: String,
        #[command(flatten)]
        args: ImportArgs,
        #[command(flatten)]
        drivers: DriverArgs,
    },
    /// Import the configuration of an exporter.
    Exporter {
        /// Name of the exporter.
        #[arg(default_value = "default")]
        name: String,
        #[command(flatten)]
        args: ImportArgs,
    },
}

/// Options of both kinds.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Where to save the configuration file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    tls: TlsArgs,
    /// Output mode; `path` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<PathOnly>,
    /// Disable interactive prompts (for use in scripts).
    #[arg(long)]
    nointeractive: bool,
}

/// Writes a configuration file.
pub(super) async fn run(command: &ImportCommand) -> Result<(), Failure> {
    let (kind, args, path) = match command {
        ImportCommand::Client { name, args, drivers } => (Kind::Client, args, client(name, args, drivers).await?),
        ImportCommand::Exporter { name, args } => (Kind::Exporter, args, exporter(name, args).await?),
    };
    output::say(&match args.output {
        Some(PathOnly::Path) => path.display().to_string(),
        None => format!("{} configuration successfully saved to {}", kind.name(), path.display()),
    });
    Ok(())
}

async fn client(name: &str, args: &ImportArgs, drivers: &DriverArgs) -> Result<PathBuf, Failure> {
    let name = super::required(Some(&name.to_owned()), "client").map(str::to_owned)?;
    if args.out.is_none() && saved::home()?.client_path(&name)?.exists() {
        return Err(Failure::new(format!("A client with the name '{name}' already exists")));
    }
    let insecure = args.tls.confirmed(args.nointeractive)?;
    let cluster = args.place.connect().await?;
    let rules = drivers.rules(args.nointeractive)?;
    progress(args, Kind::Client);
    let mut config = saved::client_config(&cluster, &name).await?;
    config.drivers = rules;
    config.tls.insecure = insecure;
    saved::save_client(&config, args.out.as_deref())
}

async fn exporter(name: &str, args: &ImportArgs) -> Result<PathBuf, Failure> {
    let name = super::required(Some(&name.to_owned()), "exporter").map(str::to_owned)?;
    if args.out.is_none() && saved::home()?.find_exporter(&name)?.exists() {
        return Err(Failure::new(format!("An exporter with the name \"{name}\" already exists")));
    }
    let insecure = args.tls.confirmed(args.nointeractive)?;
    let cluster = args.place.connect().await?;
    progress(args, Kind::Exporter);
    let mut config = saved::exporter_config(&cluster, &name).await?;
    config.tls.insecure = insecure;
    saved::save_exporter(&config, args.out.as_deref())
}

fn progress(args: &ImportArgs, kind: Kind) {
    if args.output.is_none() {
        output::say(&format!("Fetching {} credentials from cluster", kind.singular()));
    }
}
