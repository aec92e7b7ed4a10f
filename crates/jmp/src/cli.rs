//! The command tree.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer as _,
    filter::Targets,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    commands::{
        admin::{self, AdminArgs},
        auth::{self, AuthCommand},
        completion::{Completion, Man},
        config::{self, ConfigCommand},
        create::{self, CreateCommand},
        delete::{self, DeleteCommand},
        driver::{self, DriverArgs},
        elsewhere,
        get::{self, GetCommand},
        login::Login,
        run::Run,
        shell::Shell,
        update::{self, UpdateCommand},
        version::{self, VersionArgs},
        why::Why,
    },
    failure::Failure,
    j::Words,
    terminal,
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
    /// Show and renew the token of a client.
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Auth(AuthCommand),
    /// Print the script that completes commands in a shell.
    Completion(Completion),
    /// Work with configuration files on this machine.
    #[command(subcommand, alias = "conf", subcommand_required = true, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Create something.
    #[command(subcommand, alias = "c", subcommand_required = true, arg_required_else_help = true)]
    Create(CreateCommand),
    /// Delete something.
    #[command(subcommand, aliases = ["del", "d"], subcommand_required = true, arg_required_else_help = true)]
    Delete(DeleteCommand),
    /// Show what an exporter of this program can drive.
    Driver(DriverArgs),
    /// List things of the lab.
    #[command(subcommand, alias = "g", subcommand_required = true, arg_required_else_help = true)]
    Get(GetCommand),
    /// Use the drivers of the exporter that this shell has leased; the same as the program `j`.
    #[command(disable_help_flag = true)]
    J(Words),
    /// Log in to a lab.
    Login(Box<Login>),
    /// Refused: this program is no MCP server.
    #[command(hide = true, disable_help_flag = true)]
    Mcp(elsewhere::Words),
    /// Write manual pages into a directory.
    #[command(hide = true)]
    Man(Man),
    /// Run an exporter on this machine.
    Run(Run),
    /// Lease an exporter and run a shell or a command that can use it.
    #[command(aliases = ["sh", "s"])]
    Shell(Box<Shell>),
    /// Change something.
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Update(UpdateCommand),
    /// Print the version.
    #[command(aliases = ["ver", "v"])]
    Version(VersionArgs),
    /// Explain why a lease waits, when it may begin, and what would be sooner.
    Why(Why),
}

impl Command {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let done = |outcome: Result<(), Failure>| outcome.map(|()| ExitCode::SUCCESS);
        match self {
            Self::Admin(args) => done(admin::run(args).await),
            Self::Auth(command) => done(auth::run(command).await),
            Self::Completion(command) => {
                command.run();
                Ok(ExitCode::SUCCESS)
            }
            Self::Config(command) => done(config::run(command)),
            Self::Create(command) => done(create::run(command).await),
            Self::Delete(command) => done(delete::run(command).await),
            Self::Driver(args) => done(driver::run(&args)),
            Self::Get(command) => done(get::run(command).await),
            Self::J(words) => words.run().await,
            Self::Login(command) => done(command.run().await),
            Self::Man(command) => done(command.run()),
            Self::Mcp(_) => Err(elsewhere::mcp()),
            Self::Run(command) => command.run().await,
            Self::Shell(command) => command.run().await,
            Self::Update(command) => done(update::run(command).await),
            Self::Version(args) => done(version::run(&args)),
            Self::Why(command) => done(command.run().await),
        }
    }
}

impl Cli {
    /// Starts logging as the options say.
    pub(crate) fn start_logging(&self) {
        let asked = match &self.command {
            Command::Admin(args) => args.log_level.or(self.log_level),
            Command::Driver(args) => args.log_level.or(self.log_level),
            _ => self.log_level,
        };
        // Whoever watches a command knows the date; whoever reads an exporter's log does not.
        let clock = if matches!(self.command, Command::Run(_)) { Clock::Full } else { Clock::Short };
        log_lines(asked, clock);
    }
}

/// How log lines say when.
enum Clock {
    /// Date and time, UTC.
    Full,
    /// Time of day, here.
    Short,
}

impl FormatTime for Clock {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        match self {
            Self::Full => SystemTime.format_time(out),
            Self::Short => write!(out, "{}", jiff::Zoned::now().strftime("%H:%M:%S")),
        }
    }
}

/// Log lines go to standard error, so that standard output holds data only.
pub(crate) fn start_logging(asked: Option<LogLevel>) {
    log_lines(asked, Clock::Short);
}

fn log_lines(asked: Option<LogLevel>, clock: Clock) {
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
        .with_timer(clock)
        .with_ansi(terminal::stderr_colours())
        .with_writer(|| terminal::Lines);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
