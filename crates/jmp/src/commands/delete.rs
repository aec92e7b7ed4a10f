//! `jmp delete leases`.
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_client::{Client, LeaseQuery};

use crate::{
    client_args::ClientArgs,
    complete,
    failure::Failure,
    output::{self, NameOnly},
    selectors,
};

/// What can be deleted.
#[derive(Subcommand)]
pub(crate) enum DeleteCommand {
    /// Give leases back.
    #[command(alias = "lease")]
    Leases(DeleteLeases),
}

/// Options of the command.
#[derive(Args)]
pub(crate) struct DeleteLeases {
    /// Names of leases.
    #[arg(add = ArgValueCandidates::new(complete::leases))]
    names: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// Your leases that ask for these labels; may be given more than once.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// Your leases of this group.
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["names", "selector", "all", "all_clients"])]
    group: Option<String>,
    /// All your leases that have not ended.
    #[arg(short, long)]
    all: bool,
    /// Leases of all clients.
    #[arg(short = 'A', long)]
    all_clients: bool,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<NameOnly>,
}

/// Deletes leases.
pub(crate) async fn run(command: DeleteCommand) -> Result<(), Failure> {
    let DeleteCommand::Leases(args) = command;
    if let Some(group) = &args.group {
        let (client, _) = args.client.connect().await?;
        client.delete_lease_group(group).await?;
        output::say(&match args.output {
            Some(NameOnly::Name) => group.clone(),
            None => format!("lease group \"{group}\" deleted"),
        });
        return Ok(());
    }
    let selector = selectors::parse(&args.selector)?;
    if args.names.is_empty() && selector.is_none() && !args.all && !args.all_clients {
        return Err(Failure::new("One of NAMES, --selector, --group, --all or --all-clients must be specified"));
    }
    let (client, _) = args.client.connect().await?;
    let names = if args.names.is_empty() { found(&client, &args, selector.as_ref()).await? } else { args.names };
    if names.is_empty() {
        return Err(Failure::new("no leases found matching the criteria"));
    }
    for name in names {
        client.delete_lease(&name).await?;
        output::say(&match args.output {
            Some(NameOnly::Name) => name,
            None => format!("lease \"{name}\" deleted"),
        });
    }
    Ok(())
}

async fn found(
    client: &Client,
    args: &DeleteLeases,
    selector: Option<&jumpstarter_model::Selector>,
) -> Result<Vec<String>, Failure> {
    let query = LeaseQuery { filter: selectors::server_filter(selector), ..LeaseQuery::default() };
    let leases = client.list_leases_with(&query).await?.into_iter();
    let wanted = leases
        .filter(|lease| selectors::is_among(&lease.selector, selector))
        .filter(|lease| args.all_clients || lease.client == client.name());
    Ok(wanted.map(|lease| lease.name).collect())
}
