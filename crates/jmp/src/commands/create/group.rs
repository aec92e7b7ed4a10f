//! `jmp create lease-group`.
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_client::{Client, CreateLease, CreateLeaseGroup, Lease};

use super::{
    options::{self, Marks, Outcome, Time},
    refused,
};
use crate::{
    client_args::ClientArgs,
    complete,
    failure::Failure,
    lease_wait,
    listing::{deprecation, leases},
    output,
};

/// Options of the command.
#[derive(Args)]
pub(crate) struct CreateGroupArgs {
    /// Name of the group; the service chooses one otherwise.
    group: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// One exporter with these labels; give it once for each exporter.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// This exporter; give it once for each exporter.
    #[arg(short = 'n', long, value_name = "EXPORTER", add = ArgValueCandidates::new(complete::exporters))]
    name: Vec<String>,
    /// A label whose value must be equal on all exporters; may be given more than once.
    #[arg(long, value_name = "KEY")]
    same: Vec<String>,
    #[command(flatten)]
    time: Time,
    #[command(flatten)]
    marks: Marks,
    #[command(flatten)]
    outcome: Outcome,
}

/// Creates a group of leases.
pub(super) async fn run(args: CreateGroupArgs) -> Result<(), Failure> {
    let wanted = wanted(&args)?;
    let (client, config) = args.client.connect().await?;
    let mut signals = args.outcome.signals()?;
    let group = client.create_lease_group(&wanted).await?;
    for (label, message) in group.leases.iter().flat_map(|lease| &lease.deprecated_labels) {
        output::warn(&deprecation(&format!("selector label '{label}'"), message));
    }
    let mut members = group.leases;
    refused(&members)?;
    if let Some(signals) = &mut signals {
        let limit = args.outcome.limit(&config);
        let outcome = tokio::select! {
            // Signals are not lost: each has its own queue of one. Waiting only looks.
            text = signals.next() => Err(Failure::Interrupted(text.to_owned())),
            granted = granted(&client, &members, limit) => granted,
        };
        members = match outcome {
            Ok(members) => members,
            Err(failure) => {
                give_back(&client, &group.name).await;
                return Err(failure);
            }
        };
    }
    args.outcome.show(|wide, present| leases::list(&members, wide, present))
}

/// One lease for each selector and each name, in this order.
fn wanted(args: &CreateGroupArgs) -> Result<CreateLeaseGroup, Failure> {
    if args.selector.is_empty() && args.name.is_empty() {
        return Err(Failure::Usage("at least one --selector/-l or --name/-n is required".to_owned()));
    }
    let alike = options::lease(&args.time, &args.marks)?;
    let selected = args.selector.iter().map(|one| CreateLease { selector: one.clone(), ..alike.clone() });
    let named = args.name.iter().map(|one| CreateLease { exporter_name: Some(one.clone()), ..alike.clone() });
    Ok(CreateLeaseGroup { name: args.group.clone(), leases: selected.chain(named).collect(), same: args.same.clone() })
}

/// The leases once all hold their exporters; they get there together.
async fn granted(client: &Client, members: &[Lease], limit: Duration) -> Result<Vec<Lease>, Failure> {
    let mut granted = Vec::with_capacity(members.len());
    for lease in members {
        granted.push(lease_wait::granted(client, &lease.name, limit).await?);
    }
    Ok(granted)
}

/// Nobody has been told of the group yet.
async fn give_back(client: &Client, group: &str) {
    if let Err(error) = client.delete_lease_group(group).await {
        output::warn(&format!("the leases of the group {group} could not be given back: {error}"));
    }
}
