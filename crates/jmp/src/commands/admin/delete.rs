//! `jmp admin delete`.

use clap::{Args, Subcommand};

use super::saved;
use crate::{
    cluster::{Kind, Place},
    commands::elsewhere,
    failure::Failure,
    output::{self, NameOnly},
    prompt,
};

/// What can be deleted.
#[derive(Debug, Subcommand)]
pub(super) enum DeleteCommand {
    /// Delete a client.
    #[command(aliases = ["clients", "c"])]
    Client(WithConfig),
    /// Delete an exporter.
    #[command(aliases = ["exporters", "e"])]
    Exporter(WithConfig),
    /// Refused: this program works on objects, not on clusters.
    #[command(alias = "clusters", hide = true, disable_help_flag = true)]
    Cluster(elsewhere::Words),
    /// Delete an access policy.
    #[command(aliases = ["policies", "exporteraccesspolicy", "exporteraccesspolicies"])]
    Policy(DeleteArgs),
    /// Delete a quota.
    #[command(aliases = ["quotas", "leasequota", "leasequotas"])]
    Quota(DeleteArgs),
    /// Delete a maintenance window.
    #[command(aliases = ["windows", "maintenancewindow", "maintenancewindows"])]
    Window(DeleteArgs),
}

/// Options of objects that have configuration files.
#[derive(Debug, Args)]
pub(super) struct WithConfig {
    #[command(flatten)]
    args: DeleteArgs,
    /// Delete the configuration file as well.
    #[arg(short, long)]
    delete: bool,
    /// Disable interactive prompts (for use in scripts).
    #[arg(long)]
    nointeractive: bool,
}

/// Options of all kinds.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// Name of the object.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<NameOnly>,
}

/// Deletes an object, and its configuration file if wanted.
pub(super) async fn run(command: &DeleteCommand) -> Result<(), Failure> {
    match command {
        DeleteCommand::Client(with) => {
            let name = object(Kind::Client, &with.args).await?;
            client_config(name, with)
        }
        DeleteCommand::Exporter(with) => {
            let name = object(Kind::Exporter, &with.args).await?;
            exporter_config(name, with)
        }
        DeleteCommand::Cluster(_) => Err(elsewhere::clusters()),
        DeleteCommand::Policy(args) => object(Kind::Policy, args).await.map(|_| ()),
        DeleteCommand::Quota(args) => object(Kind::Quota, args).await.map(|_| ()),
        DeleteCommand::Window(args) => object(Kind::Window, args).await.map(|_| ()),
    }
}

async fn object(kind: Kind, args: &DeleteArgs) -> Result<&str, Failure> {
    let name = super::required(args.name.as_ref(), kind.singular())?;
    let cluster = args.place.connect().await?;
    cluster.delete(kind, name).await?;
    output::say(&match args.output {
        Some(NameOnly::Name) => format!("{}.{}/{name}", kind.singular(), jumpstarter_model::GROUP),
        None => format!("Deleted {} '{name}' in namespace '{}'", kind.singular(), cluster.namespace()),
    });
    Ok(name)
}

fn wanted(with: &WithConfig, question: &str) -> Result<bool, Failure> {
    Ok(with.delete || (!with.nointeractive && prompt::confirm(question, false)?))
}

fn client_config(name: &str, with: &WithConfig) -> Result<(), Failure> {
    let home = saved::home()?;
    if !home.client_path(name)?.exists() || !wanted(with, "Delete client configuration?")? {
        return Ok(());
    }
    let mut user = home.load_user()?;
    if user.current_client() == Some(name) {
        user.set_current_client(None);
        home.save_user(&user)?;
    }
    home.delete_client(name)?;
    if with.args.output.is_none() {
        output::say("Client configuration successfully deleted");
    }
    Ok(())
}

fn exporter_config(name: &str, with: &WithConfig) -> Result<(), Failure> {
    let home = saved::home()?;
    if home.exporter_path(name)?.exists() {
        if wanted(with, "Delete exporter configuration?")? {
            home.delete_exporter(name)?;
            if with.args.output.is_none() {
                output::say("Exporter configuration successfully deleted");
            }
        }
        return Ok(());
    }
    let system = home.find_exporter(name)?;
    if system.exists() && with.args.output.is_none() {
        output::complain(&format!(
            "Warning: a system config at {} was not removed and may still be used by the exporter.",
            system.display()
        ));
    }
    Ok(())
}
