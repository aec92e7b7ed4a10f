//! `jmp config client`.
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_config::{ClientConfig, ConfigHome, DriverRules, Env};

use super::new::{Listed, New};
use crate::{
    commands::admin::saved,
    complete,
    failure::Failure,
    listing::configs,
    output::{self, OutputMode, PathArgs},
    prompt,
};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum ClientCommand {
    /// Create a client config.
    Create(Box<Create>),
    /// Delete a client config.
    Delete(Named),
    /// List the client configs; `*` is the one in use.
    List(Listed),
    /// Choose the client config to use from now on.
    Use(Named),
}

/// A client config, by its alias.
#[derive(Args)]
pub(crate) struct Named {
    /// Alias of the client config.
    #[arg(add = ArgValueCandidates::new(complete::clients))]
    name: String,
    #[command(flatten)]
    shown: PathArgs,
}

/// Options of `create`. What is left out is asked for.
#[derive(Args)]
pub(crate) struct Create {
    /// Alias of the new client config.
    alias: String,
    /// Where to save it; it then gets no alias.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A comma-separated list of driver client packages to load.
    #[arg(short, long, value_name = "CSV")]
    allow: Option<String>,
    /// Allow all driver client packages to load (UNSAFE!).
    #[arg(long)]
    r#unsafe: bool,
    #[command(flatten)]
    new: New,
}

/// Does it.
pub(super) fn run(command: ClientCommand) -> Result<(), Failure> {
    let home = saved::home()?;
    match command {
        ClientCommand::Create(args) => create(&home, *args),
        ClientCommand::Delete(Named { name, shown }) => delete(&home, &name, shown),
        ClientCommand::List(Listed { output }) => list(&home, output),
        ClientCommand::Use(Named { name, shown }) => {
            let path = home.client_path(&name)?;
            home.load_client(&name, &Env::empty())?;
            let mut user = home.load_user()?;
            user.set_current_client(Some(name));
            home.save_user(&user)?;
            shown.say(&path);
            Ok(())
        }
    }
}

fn create(home: &ConfigHome, args: Create) -> Result<(), Failure> {
    if args.out.is_none() && home.client_path(&args.alias)?.exists() {
        return Err(Failure::new(format!("A client with the name '{}' already exists.", args.alias)));
    }
    let answers = args.new.answers("client")?;
    let allow = match args.allow {
        Some(allow) => allow,
        // Everything is allowed: there is nothing to ask.
        None if args.r#unsafe => String::new(),
        None => prompt::ask("Enter a comma-separated list of allowed driver packages (optional)")?,
    };
    let insecure = args.new.insecure()?;
    let mut config = ClientConfig::new(args.alias, answers.metadata, answers.endpoint, answers.token);
    config.drivers = DriverRules { allow: saved::list(&allow), r#unsafe: args.r#unsafe };
    config.tls.insecure = insecure;
    let path = saved::save_client(&config, args.out.as_deref())?;
    args.new.shown.say(&path);
    Ok(())
}

fn delete(home: &ConfigHome, name: &str, shown: PathArgs) -> Result<(), Failure> {
    let path = home.client_path(name)?;
    if !path.exists() {
        return Err(missing(home, name, &path));
    }
    let mut user = home.load_user()?;
    if user.current_client() == Some(name) {
        let next = home.client_aliases()?.into_iter().find(|alias| alias != name);
        user.set_current_client(next);
        home.save_user(&user)?;
    }
    home.delete_client(name)?;
    shown.say(&path);
    Ok(())
}

fn missing(home: &ConfigHome, name: &str, path: &std::path::Path) -> Failure {
    let known = home.client_aliases().unwrap_or_default().join(", ");
    let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are: {known}") };
    Failure::new(format!("Client config '{}' does not exist for '{name}'; {known}", path.display()))
}

fn list(home: &ConfigHome, mode: Option<OutputMode>) -> Result<(), Failure> {
    let env = Env::empty();
    let aliases = home.client_aliases()?;
    let mut found = Vec::new();
    for alias in &aliases {
        match home.load_client(alias, &env) {
            Ok(config) => found.push(config),
            // One bad file must not hide the others.
            Err(error) => output::warn(&crate::failure::chain(&error)),
        }
    }
    let user = home.load_user()?;
    let current = user.current_client().filter(|current| aliases.iter().any(|alias| alias == current));
    let view = configs::clients(&found, current)?;
    output::write(&output::rendered(&view, mode.map(Into::into))?);
    Ok(())
}
