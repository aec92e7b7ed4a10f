//! `jmp admin rotate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jumpstarter_config::{ClientConfig, Env};

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
    let save = args.save || args.out.is_some();
    // Read first: what cannot be saved must not be rotated.
    let stored = if save { stored(name, args)? } else { None };
    let cluster = args.place.connect().await?;
    let progress = |line: &str| {
        if args.output.is_none() {
            output::say(line);
        }
    };
    progress(&format!("Rotating token for client '{name}' in namespace '{}'", cluster.namespace()));
    let token = cluster.rotate_token(name).await?;
    progress(&format!("Token rotated for client '{name}'"));
    if save {
        let mut config = match stored {
            Some(config) => config,
            None => saved::client_config(&cluster, name).await?,
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

/// The configuration of this client that is there already: the file to be written, else the one of the user.
fn stored(name: &str, args: &RotateArgs) -> Result<Option<ClientConfig>, Failure> {
    if let Some(out) = args.out.as_deref().filter(|out| out.exists()) {
        let config = ClientConfig::from_file(out, &Env::empty())?;
        if config.metadata.name != name || config.metadata.namespace.as_ref() != Some(&args.place.namespace) {
            let message = format!("{} belongs to another client; nothing was rotated", out.display());
            return Err(Failure::new(message));
        }
        return Ok(Some(config));
    }
    let home = saved::home()?;
    if home.client_path(name)?.exists() { Ok(Some(home.load_client(name, &Env::empty())?)) } else { Ok(None) }
}
