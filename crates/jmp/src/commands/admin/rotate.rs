//! `jmp admin rotate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jumpstarter_config::Env;

use super::saved;
use crate::{
    cluster::Place,
    failure::Failure,
    output::{self, NameOnly},
};

/// What can be rotated.
#[derive(Debug, Subcommand)]
pub(super) enum RotateCommand {
    /// Replace the token of a client.
    #[command(aliases = ["clients", "c"])]
    Client(RotateArgs),
}

/// Options of the command.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Name of the client.
    name: Option<String>,
    /// Save the new token in the configuration file.
    #[arg(short, long)]
    save: bool,
    /// Where to save the configuration file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<NameOnly>,
}

/// Replaces a token, and puts the new one into the configuration file if wanted. What else stands there is kept.
pub(super) async fn run(command: &RotateCommand) -> Result<(), Failure> {
    let RotateCommand::Client(args) = command;
    let name = super::required(args.name.as_ref(), "client")?;
    let cluster = args.place.connect().await?;
    let progress = |line: &str| {
        if args.output.is_none() {
            output::say(line);
        }
    };
    progress(&format!("Rotating token for client '{name}' in namespace '{}'", cluster.namespace()));
    let token = cluster.rotate_token(name).await?;
    progress(&format!("Token rotated for client '{name}'"));
    if args.save || args.out.is_some() {
        let home = saved::home()?;
        let mut config = if home.client_path(name)?.exists() {
            home.load_client(name, &Env::empty())?
        } else {
            saved::client_config(&cluster, name).await?
        };
        config.token = Some(token);
        saved::save_client(&config, args.out.as_deref())?;
        progress("Client configuration updated with new token");
    }
    if args.output.is_some() {
        output::say(&format!("client.{}/{name}", jumpstarter_model::GROUP));
    }
    Ok(())
}
