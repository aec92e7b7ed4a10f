//! `jmp create lease`.
use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use jumpstarter_client::{Client, ClientError, CreateLease, Lease, LeaseState};
use tokio::signal::unix::{Signal, SignalKind};

use crate::{
    client_args::ClientArgs,
    commands::run::caught,
    complete,
    failure::Failure,
    lease_wait,
    listing::{Present, deprecation, leases},
    output::{self, ListMode},
    values::{at_least_5s, duration, moment, pair},
};

mod group;
use group::CreateGroupArgs;

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
    #[command(alias = "group", verbatim_doc_comment)]
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
    /// How long: 30m, 3h30m, 1d, 01:30:00, PT1H30M, or seconds.
    #[arg(long, value_parser = duration)]
    duration: Duration,
    /// Not before this moment, in ISO 8601; without a zone it is local time. An exporter is reserved from then on.
    #[arg(long, value_name = "DATETIME", value_parser = moment)]
    begin_time: Option<Timestamp>,
    /// Name of the lease; the service chooses one otherwise.
    #[arg(long, value_name = "ID")]
    lease_id: Option<String>,
    /// Tag to set on the lease; may be given more than once.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Context that the exporter is told, for its logs; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
    /// An exporter that is switched off may be used too; needs --name.
    #[arg(long)]
    allow_disabled: bool,
    /// Should the lease be held as spot and be preempted, another one waits in its stead.
    #[arg(long)]
    requeue: bool,
    /// Wait until the lease holds an exporter; interrupted, the lease is given back.
    #[arg(long)]
    wait: bool,
    /// With --wait: how long at most.
    #[arg(long, value_name = "DURATION", value_parser = at_least_5s, requires = "wait")]
    acquisition_timeout: Option<Duration>,
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<ListMode>,
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
        duration: args.duration,
        begin_time: args.begin_time,
        lease_id: args.lease_id.clone(),
        tags: args.tags.iter().cloned().collect(),
        context: context(&args.context)?,
        allow_disabled: args.allow_disabled,
        requeue: args.requeue,
    };
    let (client, config) = args.client.connect().await?;
    // Caught before there is a lease: from then on an interruption gives it back.
    let mut signals = if args.wait { Some(Signals::catch()?) } else { None };
    let mut lease = client.create_lease(&wanted).await?;
    for (label, message) in &lease.deprecated_labels {
        output::warn(&deprecation(&format!("selector label '{label}'"), message));
    }
    if args.requeue && !lease.requeue {
        output::warn("this service does not queue preempted leases again: --requeue has no effect");
    }
    if let Some(signals) = &mut signals {
        let limit = args.acquisition_timeout.unwrap_or(Duration::from_secs(config.leases.acquisition_timeout));
        lease = waited(&client, lease, limit, signals).await?;
    }
    let view = leases::one(&lease, args.output == Some(ListMode::Wide), &Present::here());
    output::write(&output::rendered(&view, args.output)?);
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

/// Context, within the limits that services have.
fn context(entries: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    const KEY: usize = 32;
    const VALUE: usize = 64;
    const ENTRIES: usize = 8;
    for (key, value) in entries {
        if key.chars().count() > KEY {
            return Err(Failure::Usage(format!("Context key too long: '{key}' (max {KEY} characters)")));
        }
        if value.chars().count() > VALUE {
            let text = format!("Context value too long for key '{key}' (max {VALUE} characters)");
            return Err(Failure::Usage(text));
        }
    }
    let context: BTreeMap<_, _> = entries.iter().cloned().collect();
    if context.len() > ENTRIES {
        return Err(Failure::Usage(format!("Too many context entries (max {ENTRIES})")));
    }
    Ok(context)
}
