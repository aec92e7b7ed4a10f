//! `jmp update lease`.
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use jumpstarter_client::UpdateLease;

use crate::{
    client_args::ClientArgs,
    complete,
    failure::Failure,
    listing::{Present, leases},
    output::{self, ListMode},
    values::{duration, moment},
};

/// What can be changed.
#[derive(Subcommand)]
pub(crate) enum UpdateCommand {
    /// Change duration, begin or owner of a lease.
    #[command(aliases = ["leases", "l"])]
    Lease(UpdateLeaseArgs),
}

/// Options of the command.
#[derive(Args)]
pub(crate) struct UpdateLeaseArgs {
    /// Name of the lease.
    #[arg(add = ArgValueCandidates::new(complete::leases))]
    name: String,
    #[command(flatten)]
    client: ClientArgs,
    /// New duration, counted from the begin of the lease: 30m, 3h30m, 1d, 01:30:00, PT1H30M, or seconds.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// New begin, in ISO 8601, of a lease that has not begun.
    #[arg(long, value_name = "DATETIME", value_parser = moment)]
    begin_time: Option<Timestamp>,
    /// Give the lease to another client of the same namespace.
    #[arg(long, value_name = "CLIENT")]
    to_client: Option<String>,
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<ListMode>,
}

/// Changes a lease.
pub(crate) async fn run(command: UpdateCommand) -> Result<(), Failure> {
    let UpdateCommand::Lease(args) = command;
    let change = UpdateLease { duration: args.duration, begin_time: args.begin_time, client: args.to_client.clone() };
    if change == UpdateLease::default() {
        let text = "At least one of --duration, --begin-time, or --to-client must be specified";
        return Err(Failure::Usage(text.to_owned()));
    }
    let (client, _) = args.client.connect().await?;
    let lease = client.update_lease(&args.name, &change).await?;
    let view = leases::one(&lease, args.output == Some(ListMode::Wide), &Present::here());
    output::write(&output::rendered(&view, args.output)?);
    Ok(())
}
