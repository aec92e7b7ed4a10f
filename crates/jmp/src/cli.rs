//! The command tree.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    commands::{
        admin::{self, AdminArgs},
        run::Run,
        shell::Shell,
        version::{self, VersionArgs},
    },
    failure::Failure,
};

/// Jumpstarter: lease devices of a lab and work with them.
#[derive(Parser)]
#[command(
    name = "jmp",
    disable_help_subcommand = true,
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Which log lines to show.
    #[arg(long, value_enum, value_name = "LEVEL", ignore_case = true)]
    log_level: Option<LogLevel>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Work with the objects of a service.
    #[command(alias = "a")]
    Admin(AdminArgs),
    /// Run an exporter on this machine.
    Run(Run),
    /// Lease an exporter and run a shell or a command that can use it.
    #[command(visible_alias = "sh", alias = "s")]
    Shell(Box<Shell>),
    /// Print the version.
    #[command(alias = "ver", alias = "v")]
    Version(VersionArgs),
}

impl Command {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Admin(args) => admin::run(args).await.map(|()| ExitCode::SUCCESS),
            Self::Run(command) => command.run().await,
            Self::Shell(command) => command.run().await,
            Self::Version(args) => version::run(&args).map(|()| ExitCode::SUCCESS),
        }
    }
}

impl Cli {
    /// Log lines go to standard error, so that standard output holds data only.
    pub(crate) fn start_logging(&self) {
        let asked = match &self.command {
            Command::Admin(args) => args.log_level.or(self.log_level),
            Command::Run(_) | Command::Shell(_) | Command::Version(_) => self.log_level,
        };
        let level = match asked.unwrap_or(LogLevel::Info) {
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warning => LevelFilter::WARN,
            LogLevel::Error | LogLevel::Critical => LevelFilter::ERROR,
        };
        let quiet = if level == LevelFilter::DEBUG { level } else { LevelFilter::OFF };
        // What the Kubernetes client reports reaches the user as the error of the command.
        let filter = Targets::new().with_default(level).with_target("kube_client", quiet);
        let lines = tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
}
