//! `jmp create lease`.
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_client::{Client, ClientError, CreateLease, Lease, LeaseState};
use tokio::signal::unix::{Signal, SignalKind};

use crate::{
    client_args::ClientArgs,
    commands::run::caught,
    complete,
    failure::Failure,
    lease_wait,
    listing::{deprecation, leases},
    output,
};

mod group;
mod options;

use group::CreateGroupArgs;
use options::{Marks, Outcome, Time};

/// What can be created.
#[derive(Subcommand)]
pub(crate) enum CreateCommand {
    /// Ask for a lease of an exporter.
    ///
    /// The lease stays when the command has ended: use it with `jmp shell --lease NAME`, and give it back with
    /// `jmp delete leases NAME`. With `-o name` the name alone is printed, ready for a variable:
    ///
    ///   JMP_LEASE=$(jmp create lease -l board=qemu --duration 1d -o name)
    #[command(aliases = ["leases", "l"], verbatim_doc_comment)]
    Lease(CreateLeaseArgs),
    /// Ask for several leases that are served together or not at all.
    ///
    /// Each --selector and each --name is one lease, of an exporter of its own. Each is then used like any other: with
    /// `-o name` their names are printed, in that order. `jmp delete leases --group NAME` gives all of them back:
    ///
    ///   jmp create lease-group bench -l board=rpi4 -l board=psu --same rack --duration 1h --wait
    ///   jmp shell --lease bench-0
    #[command(
        alias = "group",
        verbatim_doc_comment,
        mut_arg("begin_time", |arg| arg.help(
            "Not before this moment, in ISO 8601; without a zone it is local time. Nothing is reserved for it"
        )),
        mut_arg("tags", |arg| arg.help("Tag to set on the leases; may be given more than once")),
        mut_arg("context", |arg| arg.help("Context that the exporters are told, for their logs; may be given more than once")),
        mut_arg("wait", |arg| arg.help("Wait until all hold their exporters; interrupted, the group is given back")),
    )]
    LeaseGroup(CreateGroupArgs),
}

/// Options of the command.
#[derive(Args)]
pub(crate) struct CreateLeaseArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// An exporter with these labels; may be given more than once.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// This exporter.
    #[arg(short = 'n', long, value_name = "EXPORTER", add = ArgValueCandidates::new(complete::exporters))]
    name: Option<String>,
    #[command(flatten)]
    time: Time,
    /// Name of the lease; the service chooses one otherwise.
    #[arg(long, value_name = "ID")]
    lease_id: Option<String>,
    #[command(flatten)]
    marks: Marks,
    /// An exporter that is switched off may be used too; needs --name.
    #[arg(long)]
    allow_disabled: bool,
    /// Should the lease be held as spot and be preempted, another one waits in its stead.
    #[arg(long)]
    requeue: bool,
    #[command(flatten)]
    outcome: Outcome,
}

/// Creates a lease.
pub(crate) async fn run(command: CreateCommand) -> Result<(), Failure> {
    let args = match command {
        CreateCommand::Lease(args) => args,
        CreateCommand::LeaseGroup(args) => return group::run(args).await,
    };
    if args.selector.iter().all(|part| part.trim().is_empty()) && args.name.is_none() {
        return Err(Failure::Usage("one of --selector/-l or --name/-n is required".to_owned()));
    }
    let wanted = CreateLease {
        selector: args.selector.join(","),
        exporter_name: args.name.clone(),
        lease_id: args.lease_id.clone(),
        allow_disabled: args.allow_disabled,
        requeue: args.requeue,
        ..options::lease(&args.time, &args.marks)?
    };
    let (client, config) = args.client.connect().await?;
    let mut signals = args.outcome.signals()?;
    let mut lease = client.create_lease(&wanted).await?;
    for (label, message) in &lease.deprecated_labels {
        output::warn(&deprecation(&format!("selector label '{label}'"), message));
    }
    if args.requeue && !lease.requeue {
        output::warn("this service does not queue preempted leases again: --requeue has no effect");
    }
    if let Some(signals) = &mut signals {
        lease = waited(&client, lease, args.outcome.limit(&config), signals).await?;
    }
    args.outcome.show(|wide, present| leases::one(&lease, wide, present))?;
    refused(std::slice::from_ref(&lease))
}

/// What was refused as soon as it was made is no success.
fn refused(leases: &[Lease]) -> Result<(), Failure> {
    let over = leases.iter().find_map(|lease| match lease.state() {
        LeaseState::Over(problem) => Some(ClientError::Lease { lease: lease.name.clone(), problem }),
        LeaseState::Ready(_) | LeaseState::Waiting(_) => None,
    });
    over.map_or(Ok(()), |error| Err(error.into()))
}

/// The lease once it holds an exporter. Nobody has been told its name yet, so it is given back when that fails.
async fn waited(client: &Client, lease: Lease, limit: Duration, signals: &mut Signals) -> Result<Lease, Failure> {
    let outcome = tokio::select! {
        // Signals are not lost: each has its own queue of one. Waiting only looks.
        text = signals.next() => Err(Failure::Interrupted(text.to_owned())),
        granted = lease_wait::granted(client, &lease.name, limit) => granted,
    };
    if outcome.is_err() {
        lease_wait::release(client, &lease.name).await;
    }
    outcome
}

/// What interrupts a wait.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hangup: caught(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            // Each is cancel safe by its docs.
            _ = self.interrupt.recv() => "SIGINT pressed, terminating",
            _ = self.terminate.recv() => "SIGTERM received, terminating",
            _ = self.hangup.recv() => "SIGHUP received, terminating",
        }
    }
}
