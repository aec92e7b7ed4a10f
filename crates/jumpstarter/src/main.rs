//! `jumpstarter`: the device-lab service in one binary.

mod arguments;
mod certificate;
mod cluster;
mod commands;
mod data_dir;
mod forward;
mod ops;
mod quarantine;
mod reload;
mod router_keys;
mod serve_metrics;
mod service;
mod settings;
mod telemetry;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Share the devices of a lab: one binary, no Kubernetes needed.
#[derive(Parser, Debug)]
#[command(name = "jumpstarter", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    log: telemetry::LogArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the whole service: controller, router and store in one process
    Serve(Box<settings::ServeArgs>),
    /// Run the controller on Kubernetes, as one of any number of replicas
    Controller(Box<cluster::ControllerArgs>),
    /// Run a router alone, beside a service that hands it out
    Router(commands::router::RouterArgs),
    /// Bring up a lab with one mock device, use it, and stay for you to play
    Demo(commands::demo::DemoArgs),
    /// Copy the store of a data directory to FILE while the service runs
    Backup(commands::backup::BackupArgs),
    /// Print all objects as YAML manifests
    Export(commands::export::ExportArgs),
    /// Take YAML manifests into the store
    Import(commands::import::ImportArgs),
    /// The keys that sign and verify tokens: list, rotate, trust those of another service for a while
    Keys(commands::keys::KeysArgs),
    /// Print the custom resource definitions
    Crds,
}

fn main() -> ExitCode {
    jumpstarter_transport::install_crypto_provider();
    let arguments::Arguments { line, ignored } = arguments::normalise(std::env::args_os());
    let cli = Cli::parse_from(line);
    let defaults = match &cli.command {
        Command::Controller(args) => args.zap.defaults("controller", telemetry::LogFormat::Json),
        Command::Router(args) => args.log_defaults(),
        _ => telemetry::LogDefaults::default(),
    };
    let outcome = start(&cli.log, &defaults, ignored, cli.command);
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            exit_code(&error)
        }
    }
}

fn start(
    log: &telemetry::LogArgs,
    defaults: &telemetry::LogDefaults,
    ignored: Vec<String>,
    command: Command,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = {
        let _inside = runtime.enter();
        let _telemetry = telemetry::start(log, defaults)?;
        for flag in ignored {
            tracing::debug!(flag, "this flag of the Go logger has no effect");
        }
        runtime.block_on(run(command))
    };
    // A look-up of a name that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => commands::serve::run(*args).await,
        Command::Controller(args) => commands::controller::run(*args).await,
        Command::Router(args) => commands::router::run(args).await,
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Backup(args) => commands::backup::run(args).await,
        Command::Export(args) => commands::export::run(args).await,
        Command::Import(args) => commands::import::run(args).await,
        Command::Keys(args) => commands::keys::run(args).await,
        Command::Crds => commands::crds::run(),
    }
}

/// 2 when nothing but a change of the configuration helps, as for a wrong flag; else 1.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let misuse = error
        .chain()
        .any(|cause| cause.is::<cluster::Misconfigured>() || cause.is::<jumpstarter_cluster_config::Faults>());
    if misuse { ExitCode::from(2) } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
fn complain(error: &anyhow::Error) {
    eprintln!("Error: {error:#}");
}
