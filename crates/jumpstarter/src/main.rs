//! `jumpstarter`: the device-lab service in one binary.

mod commands;
mod data_dir;
mod ops;
mod service;
mod settings;
mod telemetry;

use std::process::ExitCode;

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
    /// Print the custom resource definitions
    Crds,
}

fn main() -> ExitCode {
    jumpstarter_transport::install_crypto_provider();
    let cli = Cli::parse();
    let outcome = telemetry::start(&cli.log).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(cli.command))
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => commands::serve::run(*args).await,
        Command::Router(args) => commands::router::run(args).await,
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Backup(args) => commands::backup::run(args).await,
        Command::Export(args) => commands::export::run(args).await,
        Command::Import(args) => commands::import::run(args).await,
        Command::Crds => commands::crds::run(),
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
fn complain(error: &anyhow::Error) {
    eprintln!("Error: {error:#}");
}
